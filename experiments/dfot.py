r"""Diffusion Forcing Transformer on Kinetics-600: 17 frames of 128x128 pixels as latents of 5x16x16x16.

    python -m vdm_jax train --config=experiments/dfot.py --workdir=RUN
    python -m vdm_jax train --config=experiments/dfot.py:data=videos --config.data.path=DIR \
        --config.codec.path=VAE --workdir=RUN
    python -m vdm_jax sample --workdir=RUN --config.diffusion.context=2     # 5 context frames are 2 of latents
    python -m vdm_jax evaluate --workdir=RUN --config.diffusion.context=2

Arguments, as in dfot.py:size=B:

    size     S, B, L or XL
    data     latents (default): synthetic noise of the latents' shape, to plan and time a run; it trains nothing.
             videos: a folder of videos

The paper's video VAE is not part of this project: VAE is the run directory of one of our own
(video_vae.py:size=paper,data=folder with --config.model.latent=16). Set config.codec.mean and std, of each channel of
its latents: the paper's code normalises them too.

From the paper and its configs: one noise level for each frame, full attention over space and time, rotary positions in
three axes, patches of 1, 1,000 cosine steps, v-prediction, fused min-SNR weights (gamma 5, decay 0.96, the same in both
directions of time), AdamW 2e-4 with b2 0.99, no weight decay, 10,000 steps of warm-up and clipping at 1, 192 clips a
step, EMA 0.9999, DDIM of 50 steps.

Differences: bfloat16 where the paper has float16; the EMA warms up; no bound of 20 on the noise. Sampling holds context
frames at t = 0, the paper's conditional sampling. Not implemented yet: history guidance (weighing several noise levels
of the history), and rolling out longer videos.

Paper: Diffusion Forcing Transformer (Song et al. 2025, arXiv:2502.06764).
Table: its Kinetics-600 comparison, recipe in 2 and appendix C.
Topology: v5p:2x4x4
Hardware: 32 chips of TPU v5p, in docs/plans.md, never run (the paper: 12 H100, about 5 days).
Expected: FVD of 50,000 videos, Kinetics-600 5 to 11 at 128 px, XL: 4.3 (the paper's VAE).
Status: untested.
"""

from vdm_jax.config import ConfigDict, parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    """Return the config; `arg` is the text behind the colon of --config=FILE:ARG, explained above."""
    args = parse_arg(arg, size=('XL', 'L', 'B', 'S'), data=('latents', 'videos'), batch=192, steps=640_000, fsdp=1)
    videos = args.data == 'videos'
    config = ConfigDict()
    if videos:
        config.data = ConfigDict({'source': 'video_folder', 'frames': 17, 'pixels': 128})
        # As video_vae.py makes it.
        vae = {'latent': 16, 'time': 4, 'space': 8, 'dtype': 'bfloat16'}
        config.codec = ConfigDict({'name': 'video_vae', 'model': vae, 'sample': True})
    else:
        config.data = ConfigDict({'source': 'synthetic', 'frames': 5, 'pixels': 16, 'channels': 16, 'classes': 0})
    config.model = ConfigDict(
        {
            'size': args.size,
            'patch': 1,
            'layout': 'full',
            'position': 'rope',
            'classes': 0,
            'dtype': 'bfloat16',
        }
    )
    config.diffusion = ConfigDict(
        {
            'process': {'name': 'ddpm', 'schedule': 'cosine', 'steps': 1000},
            'prediction': 'v',
            'per_frame': True,
            # Min-SNR by the frame's own noise alone forgets what its neighbours show of it.
            'weighting': {'name': 'fused_min_snr', 'gamma': 5.0, 'decay': 0.96, 'causal': False},
            # Context frames are the only condition, and they are never dropped.
            'condition_dropout': 0.0,
        }
    )
    config.sampler = ConfigDict({'name': 'ddim', 'steps': 50, 'eta': 0.0})
    config.optim = ConfigDict({'name': 'adamw', 'learning_rate': 2e-4, 'b2': 0.99, 'warmup_steps': 10_000, 'clip': 1.0})
    config.train = ConfigDict({'steps': args.steps, 'batch_size': args.batch, 'checkpoint_every': 10_000})
    config.ema = ConfigDict({'decays': (0.9999,)})
    config.mesh = ConfigDict({'data': -1, 'fsdp': args.fsdp})
    protocol = {'name': 'frame_prediction', 'context': 5 if videos else 2}
    config.evaluate = ConfigDict({'batch_size': 64, 'protocol': protocol})
    return config
