r"""Video Diffusion Models' recipes, 16 frames of 64x64 pixels, on a transformer: not the paper's U-Net.

    python -m vdm_jax train --config=experiments/vdm.py --config.data.clips.path=DIR \
        --config.data.images.path=DIR --workdir=RUN
    python -m vdm_jax train --config=experiments/vdm.py:dataset=bair --config.data.clips.path=DIR \
        --config.data.images.path=DIR --workdir=RUN
    python -m vdm_jax benchmark --config=experiments/vdm.py:data=synthetic

Arguments, as in vdm.py:dataset=k600,size=B:

    dataset  ucf101 (default; all videos of a folder, no classes), bair (TFDS's bair_robot_pushing_small, prepared as
             ArrayRecord) or k600 (a folder of videos)
    size     S, B, L or XL
    patch    4, 8 or 2
    images   single frames of the same data beside each clip, 8 by default, 0 for none
    data     videos (default), or synthetic: noise in their place, for timing

From the paper's appendix A: log-SNR cosine in [-20, 20], fed to the network as log-SNR; eps for UCF-101 and v for the
others; Adam's rate, b2 and weight decay, batch, steps, EMA; images beside clips, which no attention over time mixes;
ancestral sampling in 256 steps.

Differences: the network, a VideoDiT with factorised attention and no relative positions; the EMA warms up; every frame
and image has the same weight in the loss, which the paper does not say. Left out: dropout of 0.1, which our networks do
not have; the variance between the two bounds (gamma = 0.1 of the way in logs for UCF-101), here the lower bound;
Langevin corrector steps. BAIR and Kinetics-600 are predicted by reconstruction guidance in the paper, on networks
trained without context frames; here the network is trained with 1 and 5 context frames.

Paper: Video Diffusion Models (Ho et al. 2022, arXiv:2204.03458).
Table: 1 to 3, recipes in appendix A.
Topology: v5p:4x4x4
Hardware: 64 chips of TPU v5p for L, in docs/plans.md, never run (the paper: 128 to 256 chips of v4).
Expected: of the paper's U-Net, not of this network: UCF-101 unconditional, 10,000 samples, C3D: FID 295, IS 57; BAIR
1 to 15, FVD of 100 samples for each of 256 clips 68.2 ancestral, 66.9 with Langevin steps; Kinetics-600 5 to 11, FVD
of 50,000 clips 18.6 ancestral, 16.2 with Langevin steps.
Status: untested.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from vdm_jax.config import ConfigDict, parse_arg

FRAMES = 16
PIXELS = 64


@dataclass(frozen=True)
class Recipe:
    """A column of the paper's appendix A, and the context of its task.

    Attributes:
      prediction: What the network predicts.
      learning_rate: Of Adam.
      b2: Of Adam.
      weight_decay: Of Adam.
      batch: Clips a step.
      steps: Of training.
      ema: Decay of the average.
      context: Context frames of a clip.
      flip: Whether clips are mirrored at random.
    """

    prediction: str
    learning_rate: float
    b2: float
    weight_decay: float
    batch: int
    steps: int
    ema: float
    context: int
    flip: bool


RECIPES = {
    'ucf101': Recipe('eps', 3e-4, 0.99, 0.0, 128, 60_000, 0.9999, 0, False),
    'bair': Recipe('v', 2e-4, 0.999, 0.01, 128, 660_000, 0.999, 1, True),
    'k600': Recipe('v', 2e-4, 0.99, 0.0, 256, 220_000, 0.9999, 5, False),
}


def get_config(arg: str | None = None) -> ConfigDict:
    """Return the config; `arg` is the text behind the colon of --config=FILE:ARG, explained above."""
    args = parse_arg(
        arg,
        dataset=tuple(RECIPES),
        size=('L', 'XL', 'B', 'S'),
        patch=(4, 8, 2),
        images=8,
        data=('videos', 'synthetic'),
        batch=0,
        steps=0,
        fsdp=1,
    )
    recipe = RECIPES[args.dataset]
    config = ConfigDict()
    config.data = ConfigDict(
        {
            'source': 'joint_images',
            'clips': source_config(args, FRAMES),
            'images': source_config(args, 1),
            'count': args.images,
        }
    )
    config.model = ConfigDict(
        {'size': args.size, 'patch': args.patch, 'layout': 'interleaved', 'classes': 0, 'dtype': 'bfloat16'}
    )
    config.diffusion = ConfigDict(
        {
            'process': {'name': 'logsnr_cosine', 'logsnr_min': -20.0, 'logsnr_max': 20.0},
            'prediction': recipe.prediction,
            'context': recipe.context,
            # There is no condition to drop.
            'condition_dropout': 0.0,
            # Context frames have no loss.
            'image_weight': args.images / (FRAMES - recipe.context),
        }
    )
    # At log-SNR -20 an error of eps is one of x0 e^10 times as large: x0 is kept to what pixels can be.
    config.sampler = ConfigDict({'name': 'ancestral', 'steps': 256, 'variance': 'small', 'clip': 1.0})
    config.optim = ConfigDict(optim_config(recipe))
    # 0 steps or clips a step: those of the paper's recipe.
    config.train = ConfigDict(
        {
            'steps': args.steps or recipe.steps,
            'batch_size': args.batch or recipe.batch,
            'checkpoint_every': 5000,
        }
    )
    config.ema = ConfigDict({'decays': (recipe.ema,)})
    config.mesh = ConfigDict({'data': -1, 'fsdp': args.fsdp})
    config.evaluate = ConfigDict({'batch_size': 64})
    if recipe.context:
        config.evaluate.protocol = ConfigDict({'name': 'frame_prediction', 'context': recipe.context, 'per_clip': 100})
    return config


def source_config(args: SimpleNamespace, frames: int) -> dict[str, Any]:
    """Return the config of clips of so many frames, one for what images are drawn from."""
    shape = {'frames': frames, 'pixels': PIXELS}
    if args.data == 'synthetic':
        return {'source': 'synthetic', 'channels': 3, 'classes': 0, **shape}
    flip = RECIPES[args.dataset].flip
    if args.dataset == 'bair':
        return {'source': 'tfds', 'video': 'image_main', 'flip': flip, **shape}
    return {'source': 'video_folder', 'label': 'none', 'flip': flip, **shape}


def optim_config(recipe: Recipe) -> dict[str, Any]:
    """Return the config of the optimizer."""
    return {
        'name': 'adamw',
        'learning_rate': recipe.learning_rate,
        'b2': recipe.b2,
        'weight_decay': recipe.weight_decay,
        'clip': None,
    }
