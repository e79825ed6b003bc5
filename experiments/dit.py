r"""DiT on ImageNet, 256x256 pixels as 32x32x4 latents: an image is a video of one frame.

    python -m vdm_jax train --config=experiments/dit.py --workdir=RUN
    python -m vdm_jax train --config=experiments/dit.py:size=B,patch=4,steps=400000 --workdir=RUN
    python -m vdm_jax train --config=experiments/dit.py:data=images --config.data.path=DIR \
        --config.codec.path=VAE --workdir=RUN

Arguments, as in dit.py:size=B,patch=4:

    size     S, B, L or XL
    patch    2, 4 or 8
    data     latents (default): synthetic noise of the latents' shape, to plan and time a run; it trains nothing.
             images: ImageNet as TFDS prepares it (DIR/imagenet2012/5.1.0, in ArrayRecord), with the image VAE: VAE is a
             run directory made by `python -m vdm_jax convert --source=sd_vae`

From the official code (facebookresearch/DiT): the network, DDPM of 1,000 linear steps with learned variance, AdamW 1e-4
constant without decay, warm-up or clipping, 256 images a step, EMA 0.9999 without warm-up, label dropout of 0.1,
mirrored images, 250 ancestral steps, guidance on three of the four channels of the latents.

Differences: bfloat16 products; bicubic resizing where the official code halves with a box filter first. The published
figures without guidance are sampled with --config.guidance.scale=1.

Paper: DiT (Peebles & Xie 2023, arXiv:2212.09748).
Table: 2, and training results in the official README.
Topology: v5p:2x2x4
Hardware: 16 chips of TPU v5p for XL, in docs/plans.md, never run.
Expected: FID-50K by ADM's evaluator, 250 DDPM steps: XL/2 after 7M steps 2.27 with guidance 1.5 and 9.62 without;
after 400,000 steps, without guidance, mse decoder: XL/2 19.5, B/4 68.4.
Status: loss-parity: network, conversion, loss and gradients are the official code's, on random weights
(docs/baselines.md); nothing is trained.
"""

from vdm_jax.config import ConfigDict, parse_arg

CLASSES = 1000


def get_config(arg: str | None = None) -> ConfigDict:
    """Return the config; `arg` is the text behind the colon of --config=FILE:ARG, explained above."""
    args = parse_arg(
        arg,
        size=('XL', 'L', 'B', 'S'),
        patch=(2, 4, 8),
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
            'learn_variance': True,
            # Set here, so that the network is built and planned without the images.
            'classes': CLASSES,
            'dtype': 'bfloat16',
        }
    )
    config.diffusion = ConfigDict(
        {
            'process': {'name': 'ddpm', 'schedule': 'linear', 'steps': 1000},
            'prediction': 'eps',
            'variance': 'learned_range',
            'condition_dropout': 0.1,
        }
    )
    config.sampler = ConfigDict({'name': 'ancestral', 'steps': 250, 'spacing': 'linear', 'variance': 'learned'})
    # The official code does not guide the fourth channel.
    config.guidance = ConfigDict({'scale': 1.5, 'channels': 3})
    config.optim = ConfigDict({'name': 'adamw', 'learning_rate': 1e-4, 'clip': None})
    config.train = ConfigDict({'steps': args.steps, 'batch_size': args.batch, 'checkpoint_every': 50_000})
    # The official code has no warm-up: after 10,000 steps 37% of the average is still the random start. Short runs want
    # warmup=true.
    config.ema = ConfigDict({'decays': (0.9999,), 'warmup': False})
    config.mesh = ConfigDict({'data': -1, 'fsdp': args.fsdp})
    config.evaluate = ConfigDict({'batch_size': 256})
    return config
