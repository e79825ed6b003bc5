"""PhyWorld: does a network learn the law, or the clips? Three frames are given, the others are sampled.

python -m vdm_jax train --config=experiments/phyworld.py --workdir=RUN
"""

from vdm_jax.config import ConfigDict, parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    """Return the config; `arg` is the text behind the colon of --config=FILE:ARG, explained above."""
    args = parse_arg(
        arg,
        world=('uniform', 'parabola', 'collision'),
        patch=4,
        tpatch=1,
        width=144,
        depth=6,
        frames=32,
        steps=4000,
        batch=8,
    )
    config = ConfigDict()
    config.data = ConfigDict({'source': 'phyworld', 'world': args.world, 'pixels': 32, 'frames': args.frames})
    config.model = ConfigDict(
        {
            'size': 'tiny',
            'width': args.width,
            'heads': 4,
            'depth': args.depth,
            'patch': args.patch,
            'time_patch': args.tpatch,
            'layout': 'interleaved',
            'position': 'sincos_rope',
            'qk_norm': True,
            'classes': 0,
        }
    )
    config.diffusion = ConfigDict(
        {
            'process': 'rectified_flow',
            'time': {'name': 'logit_normal', 'mean': 1.0, 'std': 1.3},
            'prediction': 'x0',
            'weighting': {'name': 'velocity', 'floor': 0.1},
            'context': 3,
            'condition_dropout': 0.0,
        }
    )
    config.optim = ConfigDict(
        {'name': 'muon', 'learning_rate': 0.02, 'adam_learning_rate': 4e-3, 'b2': 0.95, 'warmup_steps': 50}
        | {'schedule': 'cosine'}
    )
    config.train = ConfigDict({'steps': args.steps, 'batch_size': args.batch, 'checkpoint_every': 250})
    config.ema = ConfigDict({'decays': (0.99, 0.999)})
    config.sampler = ConfigDict({'name': 'ddim', 'steps': 20, 'eta': 0.0})
    config.evaluate = ConfigDict({'real': 300})
    return config
