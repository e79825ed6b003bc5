"""Bouncing balls: one or two coloured balls fall, bounce, and pass behind a grey bar in some clips.

    python -m vdm_jax train --config=experiments/bouncing_balls.py --workdir=RUN
    python -m vdm_jax evaluate --workdir=RUN

Larger worlds, on one GPU: :size=S,pixels=64,frames=16 (not yet run on one).
Harder worlds, 16 frames of 32x32 pixels: :world=collide, :world=shadow, :world=pan (not yet trained).

Paper: none.
Table: none.
Topology: cpu:1
Hardware: 2 CPU cores, 2 to 4 minutes; the starter weights beside this file took 73 on one core (:steps=26000).
Expected: kept 0.86, residual 0.15 px (balls128_8f) from the starter weights; figures in experiments/README.md.
Status: measured; the starter weights reach the protocol's bar, the default 1,200 steps do not.
"""

from types import SimpleNamespace
from typing import Any

from vdm_jax.config import ConfigDict, parse_arg
from vdm_jax.config.frame_size import FrameSize, height_width
from vdm_jax.errors import UserError

HARDER = {'collide': 'colliding_balls', 'shadow': 'shadowed_balls', 'pan': 'panned_balls'}


def get_config(arg: str | None = None) -> ConfigDict:
    """Return the config; `arg` is the text behind the colon of --config=FILE:ARG, explained above."""
    # 0 pixels or frames: the size that is usual for the world.
    args = parse_arg(arg, {'pixels': FrameSize}, world='plain', size='tiny', pixels=0, frames=0, steps=1200)
    if args.world not in ('plain', *HARDER):
        raise UserError(f'--config=FILE:world={args.world}: want plain or one of {", ".join(HARDER)}')
    plain = args.world == 'plain'
    args.pixels = args.pixels or (16 if plain else 32)
    args.frames = args.frames or (8 if plain else 16)

    config = ConfigDict()
    config.data = ConfigDict(world_config(args))
    config.model = ConfigDict(
        {
            'size': args.size,
            'patch': 4 if min(height_width(args.pixels)) <= 32 else 8,
            'time_patch': 4,
            'layout': 'interleaved',
            'position': 'sincos_rope',
            'qk_norm': True,
        }
    )
    if args.size == 'tiny':
        config.model.width = 144
        config.model.heads = 4

    # What a ball is and where it goes is decided at high noise: times are drawn from there more often.
    config.diffusion = ConfigDict(
        {
            'process': 'rectified_flow',
            'time': {'name': 'logit_normal', 'mean': 1.2, 'std': 1.3},
            'prediction': 'x0',
            'weighting': {'name': 'velocity', 'floor': 0.1},
        }
    )
    config.optim = ConfigDict(
        {
            'name': 'muon',
            'learning_rate': 0.02,
            'adam_learning_rate': 4e-3,
            'b2': 0.95,
            'warmup_steps': 20,
            'schedule': 'cosine',
        }
    )
    config.train = ConfigDict({'steps': args.steps, 'batch_size': 32, 'checkpoint_every': 200})
    config.ema = ConfigDict({'decays': (0.99, 0.999)})
    config.sampler = ConfigDict({'name': 'ddim', 'steps': 100, 'eta': 1.0})
    config.evaluate = ConfigDict({'samples': 128, 'real': 256, 'train': 50_000})
    return config


def world_config(args: SimpleNamespace) -> dict[str, Any]:
    """Return the config of the clips."""
    world = {'pixels': args.pixels, 'frames': args.frames, 'size': 50_000, 'colours': 4, 'label': 'count'}
    if args.world == 'plain':
        return world | {'source': 'bouncing_balls', 'radius': 0.145, 'gravity': 0.015, 'speed': 0.065}
    # The harder worlds have a tempo of their own.
    return world | {'source': HARDER[args.world]}
