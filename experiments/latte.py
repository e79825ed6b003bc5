"""Latte on its four data sets: 16 frames of 256x256 pixels as 32x32x4 latents.

    python -m vdm_jax plan --config=experiments/latte.py:dataset=ucf101,size=XL --topology=v5p:4x4x4
    python -m vdm_jax train --config=experiments/latte.py:dataset=ucf101,size=XL --workdir=RUN
    python -m vdm_jax train --config=experiments/latte.py:data=videos --config.data.path=DIR \
        --config.codec.path=VAE --workdir=RUN
    python -m vdm_jax train --config=experiments/latte.py:size=S,batch=2,steps=10 --workdir=RUN     # on a laptop

dataset=ucf101 (101 classes, guidance 7), sky, taichi or ffs (no classes); size=S, B, L or XL; patch=2, 4 or 8;
variant=1 to 4 (Latte's own numbers; 1 is the one whose code and weights are public); images=8 trains on as many
single images beside each clip, as their *_img configs do. fsdp=16 splits weights, moments and average over 16 chips,
1 keeps them whole on each; it must divide the width and the number of chips.

data=latents, the default, is synthetic noise of the latents' shape and number of classes: it plans and times a run,
and what it trains is nothing. data=videos reads a folder of videos (for ucf101 with a folder a class; Sky Time-lapse
comes as folders of frames, to be made videos of first) and needs the image VAE: VAE is a run directory made by
`convert --source=sd_vae`. Latents are made as clips come, or once and read from a cache (--config.latents=DIR,
docs/data.md). With images=8 the folder is named twice, config.data.clips.path and config.data.images.path.

Theirs, from the code and configs of Vchitect/Latte: the network, DDPM of 1,000 linear steps with learned variance,
AdamW 1e-4 constant, clipping at 0.1 from a late step on, a step 0 that does not step, EMA 0.9999 without warm-up,
seed 3407, 250 ancestral steps. Ours: bfloat16 products where they have float32 with TF32; 256 clips a step where they
have 40 (:batch=40 for 8 chips, 32 with images, and :steps=1000000 for their length), so that clipping begins after as
many clips as theirs; frames exactly 3 apart and resized bicubically, where theirs spread 16 over 48 and are resized
bilinearly; a video shorter than that holds its last frame, where theirs takes frames that are closer; a clip's label is
dropped together with those of its images, where theirs have one coin for each of the two. Images have their clip's
time and go around the blocks over time, as theirs do. Variants 2 to 4 have the depth of variant 1; how deep the
paper's are is not in its code.

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

from vdm_jax.config import ConfigDict, parse_arg
from vdm_jax.errors import UserError

CLASSES = {'ucf101': 101, 'sky': 0, 'taichi': 0, 'ffs': 0}
CLIP_FROM = {'ucf101': 100_000, 'sky': 20_000, 'taichi': 500_000, 'ffs': 20_000}  # steps of their batch
LAYOUTS = {1: 'interleaved', 2: 'late_fusion', 3: 'sequential', 4: 'split_heads'}
FRAMES = 16


def get_config(arg=None):
    arg = parse_arg(
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
    if arg.batch < 1:
        raise UserError(f'--config=FILE:batch={arg.batch}: want 1 or more')
    classes, official_batch = CLASSES[arg.dataset], 32 if arg.images else 40
    config = ConfigDict()
    config.seed = 3407
    config.data = ConfigDict(source(arg, FRAMES))
    if arg.images:
        config.data = ConfigDict(
            {'source': 'joint_images', 'clips': source(arg, FRAMES), 'images': source(arg, 1), 'count': arg.images}
        )
    if arg.data == 'videos':
        config.codec = ConfigDict({'name': 'sd_vae', 'sample': True})  # theirs draws latents, it does not take the mean
    config.model = ConfigDict(
        {
            'size': arg.size,
            'patch': arg.patch,
            'layout': LAYOUTS[arg.variant],
            'images': 'aside',  # theirs do not enter the blocks over time
            'learn_variance': True,
            'classes': classes,  # said here, it builds and plans without the videos
            'dtype': 'bfloat16',
        }
    )
    config.diffusion = ConfigDict(
        {
            'process': {'name': 'ddpm', 'schedule': 'linear', 'steps': 1000},
            'prediction': 'eps',
            'variance': 'learned_range',
            'condition_dropout': 0.1,
            'image_weight': arg.images / FRAMES,  # theirs is the mean over frames and images alike
            'image_time': 'clip',
        }
    )
    config.sampler = ConfigDict({'name': 'ancestral', 'steps': 250, 'spacing': 'linear', 'variance': 'learned'})
    config.guidance = ConfigDict({'scale': 7.0 if classes else 1.0})
    config.optim = ConfigDict(
        {
            'name': 'adamw',
            'learning_rate': 1e-4,
            # Our loss is the clip's mean plus that of the images: larger by this than theirs, the mean over both.
            'clip': 0.1 * (1 + arg.images / FRAMES),
            # As many clips have been seen by then as in theirs. Their step 1 is our update 0: see join_first.
            'clip_from': max(0, CLIP_FROM[arg.dataset] * official_batch // arg.batch - 1),
            'join_first': True,  # their step 0 goes backward without stepping, and its gradients stay for step 1
        }
    )
    config.train = ConfigDict({'steps': arg.steps, 'batch_size': arg.batch, 'checkpoint_every': 5000})
    # Theirs has none: after 10,000 steps 37% of the average is still the random start. Short runs want warmup=true.
    config.ema = ConfigDict({'decays': (0.9999,), 'warmup': False})
    config.mesh = ConfigDict({'data': -1, 'fsdp': arg.fsdp})
    config.evaluate = ConfigDict({'batch_size': 64})
    return config


def source(arg, frames):
    """Clips of so many frames: latents that are none, or videos of the data set."""
    if arg.data == 'latents':
        classes = CLASSES[arg.dataset]
        return {'source': 'synthetic', 'frames': frames, 'pixels': 32, 'channels': 4, 'classes': classes}
    return {
        'source': 'video_folder',
        'frames': frames,
        'pixels': 256,
        'stride': 3,
        'flip': arg.dataset != 'sky',  # as in their data sets' transforms
        'label': 'folder' if CLASSES[arg.dataset] else 'none',
    }
