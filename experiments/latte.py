"""Latte on its four data sets (Ma et al. 2024, arXiv:2401.03048): 16 frames of 256x256 pixels as 32x32x4 latents.

    python -m vdm_jax plan --config=experiments/latte.py:dataset=ucf101,size=XL --topology=v5p:4x4x4
    python -m vdm_jax train --config=experiments/latte.py:dataset=ucf101,size=XL --workdir=RUN
    python -m vdm_jax train --config=experiments/latte.py:size=S,batch=2,steps=10 --workdir=RUN     # on a laptop

dataset=ucf101 (101 classes, guidance 7), sky, taichi or ffs (no classes); size=S, B, L or XL; fsdp=16 splits weights,
moments and average over 16 chips, 1 keeps them whole on each; it must divide the width and the number of chips.
The network, the objective and the optimizer are those of the paper's code (Vchitect/Latte): patches of 2, interleaved
blocks, DDPM of 1,000 linear steps, learned variance, AdamW 1e-4 constant, EMA 0.9999, 250 ancestral steps.
Not theirs: bfloat16 compute, 256 clips a step where they have 40 (:batch=40 for 8 chips, :steps=1000000 for their
length), the EMA's warm-up, and no clipping of gradients, where theirs begins at step 20,000 to 500,000.

There is no codec yet: the latents are synthetic noise of the right shape and number of classes. So it plans and times a
run of this size; what it trains is nothing, and its samples are no videos.

Topology: v5p:4x4x4
Hardware: 64 chips of TPU v5p for XL; docs/plans.md has its memory and the least time of a step, there and on other
slices. 156,250 steps of 256 clips are as many clips as the paper's: 6.5 hours at that least time.
Expected: FVD of 2,048 videos 478 (UCF-101), 59.8 (SkyTimelapse), 34.0 (FaceForensics), 159.6 (Taichi-HD), as cited by
others from the paper's tables, the last two from memory.
Status: untested.
"""

from vdm_jax.config import ConfigDict, parse_arg
from vdm_jax.errors import UserError

CLASSES = {'ucf101': 101, 'sky': 0, 'taichi': 0, 'ffs': 0}
SIZES = ('S', 'B', 'L', 'XL')


def get_config(arg=None):
    arg = parse_arg(arg, dataset='ucf101', size='XL', batch=256, steps=156_250, fsdp=1)
    for name, known in (('dataset', CLASSES), ('size', SIZES)):
        if getattr(arg, name) not in known:
            raise UserError(f'--config=FILE:{name}={getattr(arg, name)}: want one of {", ".join(known)}')
    classes = CLASSES[arg.dataset]
    config = ConfigDict()
    config.data = ConfigDict({'source': 'synthetic', 'frames': 16, 'pixels': 32, 'channels': 4, 'classes': classes})
    config.model = ConfigDict(
        {'size': arg.size, 'patch': 2, 'layout': 'interleaved', 'learn_variance': True, 'dtype': 'bfloat16'}
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
    config.guidance = ConfigDict({'scale': 7.0 if classes else 1.0})
    config.optim = ConfigDict({'name': 'adamw', 'learning_rate': 1e-4, 'clip': None})
    config.train = ConfigDict({'steps': arg.steps, 'batch_size': arg.batch, 'checkpoint_every': 5000})
    config.ema = ConfigDict({'decays': (0.9999,)})
    config.mesh = ConfigDict({'data': -1, 'fsdp': arg.fsdp})
    config.evaluate = ConfigDict({'batch_size': 64})
    return config
