"""Real videos from a set of records: chosen by their scores, and told their captions where text=WIDTH is said.

    python -m data_pipelines build --source=DIR --out=SET
    python -m vdm_jax train --config=experiments/records.py --config.data.path=SET --workdir=RUN
    python -m vdm_jax sample --workdir=RUN

With captions, here as an encoder without weights hashes their words, which knows no meanings (embeddings of an encoder
of your own: docs/data.md):

    python -m data_pipelines cache-text --records=SET --encoder=hashing --out=TEXTS
    python -m vdm_jax train --config=experiments/records.py:text=64 --config.data.path=SET \
        --config.data.text=TEXTS --workdir=RUN
    python -m vdm_jax sample --workdir=RUN --prompt='a dog runs over the grass' --guidance=3

Clips to leave out: --config.data.filters='motion>=0.02,height>=256'. Larger, on one GPU: :size=S,pixels=64,frames=16.

Paper: none.
Table: none.
Topology: cpu:1
Hardware: 2 CPU cores for the default.
Expected: unknown: it depends on the set.
Status: untested.
"""

from vdm_jax.config import ConfigDict, parse_arg


def get_config(arg=None):
    arg = parse_arg(arg, size='tiny', pixels=32, frames=8, text=0)
    config = ConfigDict()
    config.data = ConfigDict(
        {'source': 'records', 'pixels': arg.pixels, 'frames': arg.frames, 'stride': 2, 'split': 'train'}
    )
    config.model = ConfigDict(
        {'size': arg.size, 'patch': 4 if arg.pixels <= 32 else 8, 'time_patch': 2, 'qk_norm': True}
    )
    if arg.text:
        config.model.text_width = arg.text
        config.text = ConfigDict({'name': 'hashing', 'width': arg.text})
    config.diffusion = ConfigDict(
        {
            'process': 'rectified_flow',
            'time': {'name': 'logit_normal', 'mean': 0.8, 'std': 1.3},
            'prediction': 'x0',
            'weighting': 'velocity',
            'condition_dropout': 0.1,
        }
    )
    config.optim = ConfigDict(
        {
            'name': 'muon',
            'learning_rate': 0.02,
            'adam_learning_rate': 3e-3,
            'b2': 0.95,
            'warmup_steps': 20,
            'schedule': 'cosine',
        }
    )
    config.train = ConfigDict({'steps': 1200, 'batch_size': 8, 'checkpoint_every': 200, 'sample_every': 400})
    config.ema = ConfigDict({'decays': (0.99,)})
    config.sampler = ConfigDict({'name': 'euler', 'steps': 50})
    return config
