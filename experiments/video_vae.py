"""A causal video VAE of our own, on the bouncing balls or a folder of videos: the codec of latent_video.py.

    python -m vdm_jax train --config=experiments/video_vae.py --workdir=runs/vae
    python -m vdm_jax evaluate --workdir=runs/vae     # PSNR, SSIM and errors of held-out clips given back
    python -m vdm_jax sample --workdir=runs/vae       # held-out clips as it gives them back

Clips of 1 + 4n frames become 1 + n latent frames, the first frame alone, and no frame sees a later one (MAGVIT-v2,
W.A.L.T). The default is the small world of the balls at 32x32 pixels, with 4x4 pixels to a latent. Real videos:
:data=folder with --config.data.path=DIR. In the papers' size, 17 frames of 128x128 to 5x16x16 latents:
:size=paper,data=folder, on a GPU or a TPU (not yet run on one).
:lpips=0.1 adds LPIPS with VGG-16 to the loss, by that weight; its network comes by `python -m vdm_jax weights fetch
lpips`. A step of it takes a CPU 50 times as long, so add it at the end of a training: --from=RUN, a few hundred steps.

Paper: none; the architecture follows MAGVIT-v2 (Yu et al. 2023), arXiv:2310.05737, section 3.2
Table: none
Topology: cpu:1
Hardware: 1 CPU core, about 21 minutes, for the default.
Expected: PSNR 33.0 dB, of the worst clip 28.1 dB (reconstruction256_9f). 150 steps with :lpips=0.1 after 1,500 without:
LPIPS 0.046, and 0.072 after as many more without; PSNR 29.9 and 30.8 dB (paired64_9f).
Status: measured; the default, and :lpips=0.1 for 150 steps.
"""

from vdm_jax.config import ConfigDict, parse_arg

# Of config.model here and of config.codec.model in latent_video.py, which must be the same.
MODELS = {
    'balls': {'channels': (32, 32, 64), 'patch': 4, 'blocks': 1, 'groups': 8, 'latent': 8, 'space': 4, 'time': 4},
    'paper': {'channels': (128, 256, 256, 512), 'blocks': 2, 'latent': 8, 'space': 8, 'time': 4, 'dtype': 'bfloat16'},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """Return the config; `arg` is the text behind the colon of --config=FILE:ARG, explained above."""
    args = parse_arg(arg, size=tuple(MODELS), data=('balls', 'folder'), steps=5000, lpips=0.0)
    config = ConfigDict()
    if args.data == 'balls':
        config.data = ConfigDict({'source': 'bouncing_balls', 'frames': 9, 'pixels': 32})
    else:
        frames, pixels = (17, 128) if args.size == 'paper' else (9, 32)
        config.data = ConfigDict({'source': 'video_folder', 'frames': frames, 'pixels': pixels, 'flip': True})
    config.model = ConfigDict({'name': 'video_vae', **MODELS[args.size]})
    # Squared errors: the balls are small before a black ground, where absolute ones are content with black alone.
    config.reconstruction = ConfigDict({'kind': 'l2', 'kl_weight': 1e-5})
    if args.lpips:
        config.reconstruction.lpips_weight = args.lpips
        config.reconstruction.lpips_path = 'lpips'
    # Muon, each convolution one matrix: 27.1 dB after 500 steps, where Adam had 22 to 25 after 800.
    config.optim = ConfigDict(
        {'name': 'muon', 'learning_rate': 0.01, 'adam_learning_rate': 1e-3, 'b2': 0.95, 'warmup_steps': 100}
        | {'schedule': 'cosine', 'clip': 1.0}
    )
    config.train = ConfigDict(
        {'steps': args.steps, 'batch_size': 8 if args.size == 'balls' else 64, 'checkpoint_every': 500}
        | {'validate_every': 500, 'sample_every': 2000}
    )
    config.ema = ConfigDict({'decays': (0.999,)})
    config.evaluate = ConfigDict({'real': 256})
    return config
