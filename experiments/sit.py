"""SiT on ImageNet, 256x256 pixels as 32x32x4 latents: DiT's network on a straight path between noise and data.

    python -m vdm_jax train --config=experiments/sit.py --workdir=RUN
    python -m vdm_jax train --config=experiments/sit.py:data=images --config.data.path=DIR \
        --config.codec.path=VAE --workdir=RUN

size=S, B, L or XL; patch=2, 4 or 8; sampler=heun (125 steps) or euler (250), which both ask the network 250 times.
data as in dit.py.

Theirs, from the code of willisma/SiT: the network, with the channels of DiT's variance in its head though nothing is
learned in them; the velocity of the linear path in their own time, uniform and unweighted; DiT's optimizer, EMA and
batch; guidance on three of the four channels of the latents. Ours: bfloat16 products; bicubic resizing where theirs
halves with a box filter first. Not here: the adaptive solver (dopri5) that their code samples by unless told, and the
stochastic sampler of the published figure.

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


def get_config(arg=None):
    arg = parse_arg(
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
    if arg.data == 'latents':
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
        config.codec = ConfigDict({'name': 'sd_vae', 'sample': True})  # theirs draws latents, it does not take the mean
    config.model = ConfigDict(
        {
            'size': arg.size,
            'patch': arg.patch,
            'layout': 'frames',
            'learn_variance': True,  # the channels alone: their head has them, and leaves them aside
            'classes': CLASSES,  # said here, it builds and plans without the images
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
    config.sampler = ConfigDict({'name': arg.sampler, 'steps': STEPS[arg.sampler]})
    config.guidance = ConfigDict({'scale': 1.5, 'channels': 3})  # theirs leaves the fourth alone
    config.optim = ConfigDict({'name': 'adamw', 'learning_rate': 1e-4, 'clip': None})
    config.train = ConfigDict({'steps': arg.steps, 'batch_size': arg.batch, 'checkpoint_every': 50_000})
    config.ema = ConfigDict({'decays': (0.9999,), 'warmup': False})  # theirs has none
    config.mesh = ConfigDict({'data': -1, 'fsdp': arg.fsdp})
    config.evaluate = ConfigDict({'batch_size': 256})
    return config
