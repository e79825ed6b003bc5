"""FAR on UCF-101 and BAIR: frames of 8x8x32 latents, each denoised in view of the ones before it.

    python -m vdm_jax train --config=experiments/far.py --workdir=RUN
    python -m vdm_jax train --config=experiments/far.py:size=XL,conditional --workdir=RUN
    python -m vdm_jax train --config=experiments/far.py:dataset=bair,size=B --workdir=RUN
    python -m vdm_jax evaluate --workdir=RUN --config.diffusion.context=2     # bair: 2 frames given, as it is published

Arguments, as in far.py:size=XL,conditional:

    dataset      ucf101 (default; 16 frames of 128 or 256 pixels) or bair (30 frames of 64 pixels)
    size         B, M, L or XL
    conditional  with the 101 classes of UCF-101, and guidance 2

The latents are synthetic noise of the right shape, to plan and time a run; it trains nothing. The paper's image codec
(DC-AE, trained on each set) is not part of this project.

From the official code and configs (showlab/FAR): full attention in which no frame sees a later one, rotary positions,
qk-norm, an adaLN in every block (which that code calls single, and is DiT's), heads of 64; the straight path with
logit-normal times (0, 1), one a frame; a frame is clean with a probability of 0.1 and then has no loss; AdamW 1e-4
constant, 32 clips a step, clipping at 1, EMA 0.9999, 50 Euler steps.

Differences: a clean frame has t = 0, where the official code gives it a time of its own, -1; heads split their
dimensions among time, rows and columns as 24, 20, 20, not 16, 24, 24; times are not rounded to thousandths; the EMA
warms up. Sampling draws all frames at once: rolling out frame by frame, each from clean ones, is not implemented yet.

Paper: FAR (Gu et al. 2025, arXiv:2503.19325).
Table: of models in the official README.
Topology: v5p:2x2x2
Hardware: 8 chips of TPU v5p, in docs/plans.md, never run (the paper: 12 to 15 H100 days for UCF-101 with L).
Expected: UCF-101, FVD of 2,048 videos, mean of 4 seeds: L 280 at 128 px and 303 at 256, with classes and guidance 2
99 and 113; XL at 256 px 279 and 108 (the README has XL at 657M parameters; its code, and ours, at 674M). BAIR 2 to 28
at 64 px, best of 100 samples of 256 clips, FVD of all: B PSNR 19.40, SSIM 0.819, LPIPS 0.049, FVD 144.3 (all with the
paper's codecs).
Status: untested.
"""

from vdm_jax.config import ConfigDict, parse_arg
from vdm_jax.errors import UserError

SIZES = {'L': (24, 1024, 16), 'B': (12, 768, 12), 'M': (12, 1024, 16), 'XL': (28, 1152, 18)}  # depth, width, heads
FRAMES = {'ucf101': 16, 'bair': 30}
STEPS = {'ucf101': 400_000, 'bair': 200_000}


def get_config(arg: str | None = None) -> ConfigDict:
    """Return the config; `arg` is the text behind the colon of --config=FILE:ARG, explained above."""
    args = parse_arg(arg, dataset=tuple(FRAMES), size=tuple(SIZES), conditional=False, batch=32, steps=0, fsdp=1)
    if args.conditional and args.dataset == 'bair':
        raise UserError('--config=FILE:dataset=bair,conditional: it has no classes; leave conditional out')

    classes = 101 if args.conditional else 0
    depth, width, heads = SIZES[args.size]
    config = ConfigDict()
    config.data = ConfigDict(
        {'source': 'synthetic', 'frames': FRAMES[args.dataset], 'pixels': 8, 'channels': 32, 'classes': classes}
    )
    config.model = ConfigDict(
        {
            'depth': depth,
            'width': width,
            # XL has 18 heads of 64, not DiT's 16 of 72: no name of a size stands for it.
            'heads': heads,
            'patch': 1,
            'layout': 'full_causal',
            'position': 'rope',
            'qk_norm': True,
            'classes': classes,
            'dtype': 'bfloat16',
        }
    )
    config.diffusion = ConfigDict(
        {
            'process': 'rectified_flow',
            'time': {'name': 'logit_normal', 'mean': 0.0, 'std': 1.0},
            'prediction': 'velocity',
            'per_frame': True,
            # Otherwise the clean context of sampling is new to the network: FVD 399 in place of 347.
            'clean_context': 0.1,
            'condition_dropout': 0.1 if classes else 0.0,
        }
    )
    config.sampler = ConfigDict({'name': 'euler', 'steps': 50})
    config.guidance = ConfigDict({'scale': 2.0 if classes else 1.0})
    config.optim = ConfigDict({'name': 'adamw', 'learning_rate': 1e-4, 'clip': 1.0})
    config.train = ConfigDict(
        {'steps': args.steps or STEPS[args.dataset], 'batch_size': args.batch, 'checkpoint_every': 10_000}
    )
    config.ema = ConfigDict({'decays': (0.9999,)})
    config.mesh = ConfigDict({'data': -1, 'fsdp': args.fsdp})
    config.evaluate = ConfigDict({'batch_size': 64})
    # UCF-101 is generated from noise alone; BAIR's published task begins with two frames.
    if args.dataset == 'bair':
        config.evaluate.protocol = ConfigDict({'name': 'frame_prediction', 'context': 2})
    return config
