r"""Any folder of real videos, or a set of records made of one.

    python -m vdm_jax train --config=experiments/video_folder.py --config.data.path=DIR --workdir=RUN
    python -m vdm_jax sample --workdir=RUN

Each file of a folder is a class of its own, so that a small folder can be memorised clip by clip.

Memorising four clips (8 frames of 32x32), each from its first frame:

    python -m vdm_jax train --config=experiments/video_folder.py:memorise --config.data.path=DIR --workdir=RUN
    python -m vdm_jax evaluate --workdir=RUN     # PSNR of each sample against the clip of its label

From records, selected by their scores, and conditioned on their captions with text=WIDTH (here by an encoder without
weights, which hashes words and knows no meanings; embeddings of an encoder of your own: docs/data.md):

    python -m data_pipelines build --source=DIR --out=SET
    python -m vdm_jax train --config=experiments/video_folder.py:records --config.data.path=SET \
        --config.data.filters='motion>=0.02' --workdir=RUN

    python -m data_pipelines cache-text --records=SET --encoder=hashing:width=64 --out=TEXTS
    python -m vdm_jax train --config=experiments/video_folder.py:records,text=64 --config.data.path=SET \
        --config.data.text=TEXTS --workdir=RUN
    python -m vdm_jax sample --workdir=RUN --prompt='a dog runs over the grass' --guidance=3

Larger, on one GPU: :size=S,pixels=64,frames=16 (not yet run on one).

Paper: none.
Table: none.
Topology: cpu:1 --config.model.classes=4
Hardware: 2 CPU cores, 3 min 17 s for 1,200 steps of memorising.
Expected: PSNR of the worst of four clips 40.0 to 45.5 dB over three seeds (recall4_8f).
Status: measured.
"""

from vdm_jax.config import ConfigDict, parse_arg
from vdm_jax.config.frame_size import FrameSize, height_width


def get_config(arg: str | None = None) -> ConfigDict:
    """Return the config; `arg` is the text behind the colon of --config=FILE:ARG, explained above."""
    known = {'size': 'tiny', 'pixels': 32, 'frames': 8, 'memorise': False, 'records': False, 'text': 0}
    args = parse_arg(arg, {'pixels': FrameSize}, **known)
    config = ConfigDict()
    config.data = ConfigDict(
        {
            'source': 'records' if args.records else 'video_folder',
            'pixels': args.pixels,
            'frames': args.frames,
            'stride': 2,
            'label': 'none' if args.records and not args.memorise else 'index',
            'start': 'first' if args.memorise else 'random',
        }
    )
    config.model = ConfigDict(
        {
            'size': args.size,
            'patch': 4 if min(height_width(args.pixels)) <= 32 else 8,
            'time_patch': 2,
            'qk_norm': True,
        }
    )
    # Prompts of `sample` are encoded as the captions are: the two widths must be the same.
    if args.text:
        config.model.text_width = args.text
        config.text = ConfigDict({'name': 'hashing', 'width': args.text})
    # Memorising is tested by label: without dropout every example has its own.
    config.diffusion = ConfigDict(
        {
            'process': 'rectified_flow',
            'time': {'name': 'logit_normal', 'mean': 0.8, 'std': 1.3},
            'prediction': 'x0',
            'weighting': 'velocity',
            'condition_dropout': 0.0 if args.memorise else 0.1,
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
