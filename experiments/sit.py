r"""SiT on ImageNet, 256x256 pixels as 32x32x4 latents: DiT's network on a straight path between noise and data.

    python -m vdm_jax train --config=experiments/sit.py --workdir=RUN
    python -m vdm_jax train --config=experiments/sit.py:data=images --config.data.path=DIR \
        --config.codec.path=VAE --workdir=RUN

Arguments, as in sit.py:sampler=euler:

    size     S, B, L or XL
    patch    2, 4 or 8
    sampler  heun (default; 125 steps) or euler (250 steps); both evaluate the network 250 times
    data     as in dit.py

From the official code (willisma/SiT): the network, whose head keeps the channels of DiT's variance though nothing is
learned in them; the velocity of the linear path in the paper's time, uniform and unweighted; DiT's optimizer, EMA and
batch; guidance on three of the four channels of the latents.

Differences: bfloat16 products; bicubic resizing where the official code halves with a box filter first. Not
implemented: the adaptive solver (dopri5), which the official code samples with by default, and the stochastic sampler
of the published figure.

Paper: SiT (Ma et al. 2024, arXiv:2401.08740).
Table: of models in the official README.
Topology: v5p:2x2x4
Hardware: 16 chips of TPU v5p for XL, in docs/plans.md, never run.
Expected: FID-50K by ADM's evaluator: XL/2 after 7M steps with guidance 1.5 and their stochastic sampler 2.06 (2.15
when sampled on TPU).
Status: loss-parity: network, conversion, loss and gradients are the official code's, on random weights
(docs/baselines.md); nothing is trained.
"""

from vdm_jax.config import ConfigDict, parse_arg

CLASSES = 1000
STEPS = {'heun': 125, 'euler': 250}


def get_config(arg: str | None = None) -> ConfigDict:
    """Return the config; `arg` is the text behind the colon of --config=FILE:ARG, explained above."""
    args = parse_arg(
        arg,
        size=('XL', 'L', 'B', 'S'),
        patch=(2, 4, 8),
        sampler=tuple(STEPS),
        data=('latents', 'images'),
        batch=256,
        steps=7_000_000,
        fsdp=1,
    )
    config = ConfigDict()
    # Noise in the shape of latents is enough to plan and time a run: no images and no VAE have to be there.
    if args.data == 'latents':
        config.data = ConfigDict({'source': 'synthetic', 'frames': 1, 'pixels': 32, 'channels': 4, 'classes': CLASSES})
    else:
        config.data = ConfigDict(
            {
                'source': 'tfds',
                'video': 'image',
                'label': 'label',
                'test': 'validation',
                'frames': 1,
                'pixels': 256,
                'flip': True,
            }
        )
        # The official code draws latents, it does not take the mean.
        config.codec = ConfigDict({'name': 'sd_vae', 'sample': True})
    config.model = ConfigDict(
        {
            'size': args.size,
            'patch': args.patch,
            'layout': 'frames',
            # For the channels alone: the official head has them, and nothing is learned in them.
            'learn_variance': True,
            # Set here, so that the network is built and planned without the images.
            'classes': CLASSES,
            'dtype': 'bfloat16',
        }
    )
    config.diffusion = ConfigDict(
        {
            'process': {'name': 'rectified_flow', 'path': 'linear', 'numbering': 'sit'},
            'prediction': 'velocity',
            'condition_dropout': 0.1,
        }
    )
    config.sampler = ConfigDict({'name': args.sampler, 'steps': STEPS[args.sampler]})
    # The official code does not guide the fourth channel.
    config.guidance = ConfigDict({'scale': 1.5, 'channels': 3})
    config.optim = ConfigDict({'name': 'adamw', 'learning_rate': 1e-4, 'clip': None})
    config.train = ConfigDict({'steps': args.steps, 'batch_size': args.batch, 'checkpoint_every': 50_000})
    # The official code has no warm-up.
    config.ema = ConfigDict({'decays': (0.9999,), 'warmup': False})
    config.mesh = ConfigDict({'data': -1, 'fsdp': args.fsdp})
    config.evaluate = ConfigDict({'batch_size': 256})
    return config
