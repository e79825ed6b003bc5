"""BAIR robot pushing, 64x64: one frame is given, the next fifteen are sampled.

    python -m vdm_jax train --config=experiments/bair.py --config.data.path=DIR --workdir=RUN
    python -m vdm_jax evaluate --workdir=RUN

DIR holds TFDS's bair_robot_pushing_small/2.0.0, prepared as ArrayRecord (43,264 videos of 30 frames, 256 held out).

Arguments, as in bair.py:given=2,size=B:

    given    context frames, 1 by default
    frames   frames of a clip, context frames included; 30 is a whole video (given=2,frames=30 is the task 2 to 28)
    size     S, B or L
    patch    4 or 8

The task is that of the literature, the recipe our own: a VideoDiT in pixels, v-prediction with min-SNR weights on the
cosine process, AdamW 2e-4, EMA 0.9999, 50 DDIM steps. `evaluate` draws 100 samples for each of the 256 held-out clips
from its first frame, and reports MSE, MAE, SSIM and PSNR of one sample, the mean and the best; FVD is not implemented
yet. Protocols are named by context and predicted frames, as numbers differ between them: some papers train on 5 frames
and roll out (MCVD), some take the best of 100 samples, and FVD may or may not include the context frames.

Paper: none; the data are Ebert et al. 2017 (arXiv:1710.05268).
Table: none.
Topology: v5p:2x2x1
Hardware: 4 chips of TPU v5p, in docs/plans.md, never run.
Expected: no number of ours. FVD of 100 samples for each of 256 clips, by others: 1 to 15 MAGVIT 62, VDM 66.9, MCVD
89.5; 2 to 14 FAR-B 99.3, MCVD 87.8, ExtDM 81.6; 2 to 28 FAR-B 144.3, MCVD 119.0, ExtDM 102.8.
Status: untested.
"""

from vdm_jax.config import ConfigDict, parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    """Return the config; `arg` is the text behind the colon of --config=FILE:ARG, explained above."""
    args = parse_arg(arg, given=1, frames=16, size=('S', 'B', 'L'), patch=(4, 8), batch=64, steps=100_000)
    config = ConfigDict()
    config.data = ConfigDict({'source': 'tfds', 'video': 'image_main', 'frames': args.frames, 'pixels': 64})
    config.model = ConfigDict(
        {
            'size': args.size,
            'patch': args.patch,
            'layout': 'interleaved',
            'position': 'sincos_rope',
            'qk_norm': True,
            'classes': 0,
            'dtype': 'bfloat16',
        }
    )
    config.diffusion = ConfigDict(
        {
            'process': 'logsnr_cosine',
            'prediction': 'v',
            'weighting': {'name': 'min_snr', 'gamma': 5.0},
            'context': args.given,
            # Context frames are the only condition, and they are never dropped.
            'condition_dropout': 0.0,
        }
    )
    # Pixels are in [-1, 1], and so is every estimate of them.
    config.sampler = ConfigDict({'name': 'ddim', 'steps': 50, 'clip': 1.0})
    config.optim = ConfigDict({'name': 'adamw', 'learning_rate': 2e-4, 'warmup_steps': 1000})
    config.train = ConfigDict({'steps': args.steps, 'batch_size': args.batch, 'checkpoint_every': 5000})
    config.ema = ConfigDict({'decays': (0.9999,)})
    # All held-out videos, with as many samples of each as published numbers have.
    protocol = {'name': 'frame_prediction', 'context': args.given, 'per_clip': 100}
    config.evaluate = ConfigDict({'real': 256, 'protocol': protocol})
    return config
