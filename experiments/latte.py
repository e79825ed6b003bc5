r"""Latte on its four data sets: 16 frames of 256x256 pixels as 32x32x4 latents.

    python -m vdm_jax plan --config=experiments/latte.py:dataset=ucf101,size=XL --topology=v5p:4x4x4
    python -m vdm_jax train --config=experiments/latte.py:dataset=ucf101,size=XL --workdir=RUN
    python -m vdm_jax train --config=experiments/latte.py:data=videos --config.data.path=DIR \
        --config.codec.path=VAE --workdir=RUN
    python -m vdm_jax train --config=experiments/latte.py:size=S,batch=2,steps=10 --workdir=RUN     # on a laptop

Arguments, as in latte.py:dataset=sky,size=L:

    dataset  ucf101 (default; 101 classes, guidance 7), sky, taichi or ffs (no classes)
    size     S, B, L or XL
    patch    2, 4 or 8
    variant  1 to 4, Latte's own numbers; 1 is the one whose code and weights are public
    images   8: train on as many single images beside each clip, as the *_img configs do
    fsdp     16: split weights, moments and average over 16 chips; 1: replicate them. It must divide the width and the
             number of chips
    data     latents (default): synthetic noise of the latents' shape and number of classes, to plan and time a run; it
             trains nothing. videos: a folder of videos, for ucf101 with a folder a class, with the image VAE: VAE is a
             run directory made by `convert --source=sd_vae`

Sky Time-lapse comes as folders of frames, which have to be made into videos first. Latents are encoded as clips come,
or once and read from a cache (--config.latents=DIR, docs/data.md). With images=8 the folder is set twice,
config.data.clips.path and config.data.images.path.

From the official code and configs (Vchitect/Latte): the network, DDPM of 1,000 linear steps with learned variance,
AdamW 1e-4 constant, clipping at 0.1 from a late step on, a step 0 without an update, EMA 0.9999 without warm-up, seed
3407, 250 ancestral steps. Images have their clip's time and skip the blocks over time.

Differences: bfloat16 products, not float32 with TF32; 256 clips a step, not 40 (:batch=40 for 8 chips, 32 with images,
and :steps=1000000 for the official length), so that clipping begins after as many clips; frames exactly 3 apart and
resized bicubically, not 16 spread over 48 and resized bilinearly; a video shorter than that repeats its last frame,
where the official code takes frames that are closer; a clip's label is dropped together with those of its images, not
independently. Variants 2 to 4 have the depth of variant 1; how deep the paper's are is not in its code.

Paper: Latte (Ma et al. 2024, arXiv:2401.03048).
Table: its comparison on four data sets, as cited by others.
Topology: v5p:4x4x4
Hardware: 64 chips of TPU v5p for XL, in docs/plans.md, never run; 156,250 steps of 256 clips are as many clips as the
paper's.
Expected: FVD of 2,048 videos of 16 frames at 256 px, XL/2: UCF-101 478, SkyTimelapse 59.8; not checked: FaceForensics
34.0 and Taichi-HD 159.6, and with images 333.6, 42.7, 27.1 and 97.1. The papers that cite 478 call it unconditional;
the code has classes and guidance 7.
Status: loss-parity: network, conversion, loss and gradients of variant 1 are the official code's, on random weights
(docs/baselines.md); nothing is trained.
"""

from types import SimpleNamespace
from typing import Any

from vdm_jax.config import ConfigDict, parse_arg
from vdm_jax.errors import UserError

CLASSES = {'ucf101': 101, 'sky': 0, 'taichi': 0, 'ffs': 0}
CLIP_FROM = {'ucf101': 100_000, 'sky': 20_000, 'taichi': 500_000, 'ffs': 20_000}  # steps of the official batch
LAYOUTS = {1: 'interleaved', 2: 'late_fusion', 3: 'sequential', 4: 'split_heads'}
FRAMES = 16


def get_config(arg: str | None = None) -> ConfigDict:
    """Return the config; `arg` is the text behind the colon of --config=FILE:ARG, explained above."""
    args = parse_arg(
        arg,
        dataset=tuple(CLASSES),
        size=('XL', 'L', 'B', 'S'),
        patch=(2, 4, 8),
        variant=tuple(LAYOUTS),
        images=0,
        data=('latents', 'videos'),
        batch=256,
        steps=156_250,
        fsdp=1,
    )
    if args.batch < 1:
        raise UserError(f'--config=FILE:batch={args.batch}: want 1 or more')
    classes = CLASSES[args.dataset]
    config = ConfigDict()
    config.seed = 3407
    config.data = ConfigDict(source_config(args, FRAMES))
    if args.images:
        config.data = ConfigDict(
            {
                'source': 'joint_images',
                'clips': source_config(args, FRAMES),
                'images': source_config(args, 1),
                'count': args.images,
            }
        )
    if args.data == 'videos':
        # The official code draws latents, it does not take the mean.
        config.codec = ConfigDict({'name': 'sd_vae', 'sample': True})
    config.model = ConfigDict(model_config(args))
    config.diffusion = ConfigDict(
        {
            'process': {'name': 'ddpm', 'schedule': 'linear', 'steps': 1000},
            'prediction': 'eps',
            'variance': 'learned_range',
            'condition_dropout': 0.1,
            # The official loss is the mean over frames and images alike.
            'image_weight': args.images / FRAMES,
            'image_time': 'clip',
        }
    )
    config.sampler = ConfigDict({'name': 'ancestral', 'steps': 250, 'spacing': 'linear', 'variance': 'learned'})
    config.guidance = ConfigDict({'scale': 7.0 if classes else 1.0})
    config.optim = ConfigDict(optim_config(args))
    config.train = ConfigDict({'steps': args.steps, 'batch_size': args.batch, 'checkpoint_every': 5000})
    # The official code has no warm-up: after 10,000 steps 37% of the average is still the random start. Short runs want
    # warmup=true.
    config.ema = ConfigDict({'decays': (0.9999,), 'warmup': False})
    config.mesh = ConfigDict({'data': -1, 'fsdp': args.fsdp})
    config.evaluate = ConfigDict({'batch_size': 64})
    return config


def model_config(args: SimpleNamespace) -> dict[str, Any]:
    """Return the config of the network."""
    return {
        'size': args.size,
        'patch': args.patch,
        'layout': LAYOUTS[args.variant],
        # In the official code they do not enter the blocks over time.
        'images': 'aside',
        'learn_variance': True,
        # Set here, so that the network is built and planned without the videos.
        'classes': CLASSES[args.dataset],
        'dtype': 'bfloat16',
    }


def source_config(args: SimpleNamespace, frames: int) -> dict[str, Any]:
    """Return the config of clips of so many frames: noise in the shape of latents, or videos of the data set."""
    if args.data == 'latents':
        classes = CLASSES[args.dataset]
        return {'source': 'synthetic', 'frames': frames, 'pixels': 32, 'channels': 4, 'classes': classes}
    return {
        'source': 'video_folder',
        'frames': frames,
        'pixels': 256,
        'stride': 3,
        # As in the official code's transforms: only Sky is not mirrored.
        'flip': args.dataset != 'sky',
        'label': 'folder' if CLASSES[args.dataset] else 'none',
    }


def optim_config(args: SimpleNamespace) -> dict[str, Any]:
    """Return the config of the optimizer, with clipping at as many clips as in the official code."""
    official_batch = 32 if args.images else 40
    official_clips = CLIP_FROM[args.dataset] * official_batch
    return {
        'name': 'adamw',
        'learning_rate': 1e-4,
        # Our loss is the clip's mean plus that of the images: larger by this than the official one, the mean over both.
        'clip': 0.1 * (1 + args.images / FRAMES),
        # The official step 1 is our update 0: see join_first.
        'clip_from': max(0, official_clips // args.batch - 1),
        # The official step 0 goes backward without an update, and its gradients stay for step 1.
        'join_first': True,
    }
