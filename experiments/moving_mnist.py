"""Moving MNIST: ten frames of two wandering digits are given, the next ten are sampled (OpenSTL's task, 10 to 10).

    python -m vdm_jax train --config=experiments/moving_mnist.py --config.data.path=DIR --workdir=RUN
    python -m vdm_jax evaluate --workdir=RUN     # MSE, MAE, SSIM, PSNR of one sample, of the mean and the best of ten

DIR holds MNIST's IDX files. With both train-images-idx3-ubyte and t10k-images-idx3-ubyte the digits are the published
task's; with t10k alone 8,000 of its digits train and the other 2,000 test, and results are called
openstl_mmnist_t10k_split: OpenSTL's test clips are other ones, so that its numbers are context and no comparison.
Stochastic Moving MNIST, 5 to 10 frames: :stochastic. Larger: :size=S,patch=4 on one GPU (not yet run on one).

The opponents predict one future, the one of least squared error: :regressor=same is this very network, shown noise that
says nothing, and :regressor=conv_lstm is ConvLSTM-S (Shi et al. 2015, in OpenSTL's sizes, 11.7 million weights).

Paper: OpenSTL (Tan et al. 2023), arXiv:2306.11249
Table: model zoo, Moving MNIST, 200 epochs
Topology: cpu:1
Hardware: 1 CPU core; :steps=5000 takes 63 minutes of one.
Expected: MSE 121.9 of the mean of ten samples with :steps=5000, where the regressor of the same network has 89.1,
ConvLSTM-S 151.7 after as long and the last frame held 283.6 (openstl_mmnist_t10k_split_10to10_n10_256). Published, on
other clips: 22.06 (PredRNN++) to 35.15 after 200 epochs of 10,000 clips.
Status: measured
"""

from vdm_jax.config import ConfigDict, parse_arg
from vdm_jax.errors import UserError


def get_config(arg=None):
    arg = parse_arg(
        arg, size='tiny', patch=8, steps=6000, batch=8, stochastic=False, regressor=('none', 'same', 'conv_lstm')
    )
    if arg.regressor == 'conv_lstm' and (arg.size, arg.patch) != ('tiny', 8):
        raise UserError('--config=FILE:regressor=conv_lstm: it has one size and no patches; leave size and patch out')
    context, frames = (5, 15) if arg.stochastic else (10, 20)
    config = ConfigDict()
    if arg.regressor == 'none':
        time, weighting = {'name': 'logit_normal', 'mean': 1.0, 'std': 1.3}, {'name': 'velocity', 'floor': 0.1}
        sampler, samples = {'name': 'ddim', 'steps': 10, 'eta': 0.0}, 10
    else:  # of x0 from noise alone: the mean of all futures
        time, weighting, sampler, samples = 'noise', 'constant', {'name': 'euler', 'steps': 1}, 1
    config.data = ConfigDict(
        {'source': 'moving_mnist', 'frames': frames, 'motion': 'stochastic' if arg.stochastic else 'bounce'}
    )
    config.model = ConfigDict(
        {
            'size': arg.size,
            'patch': arg.patch,
            'time_patch': 1 if arg.stochastic else 2,
            'layout': 'interleaved',
            'position': 'sincos_rope',
            'qk_norm': True,
        }
    )
    config.diffusion = ConfigDict(
        {
            'process': 'rectified_flow',
            'time': time,
            'prediction': 'x0',
            'weighting': weighting,
            'context': context,
        }
    )
    config.optim = ConfigDict(
        {
            'name': 'muon',
            'learning_rate': 0.02,
            'adam_learning_rate': 4e-3,
            'b2': 0.95,
            'warmup_steps': 50,
            'schedule': 'cosine',
        }
    )
    config.train = ConfigDict({'steps': arg.steps, 'batch_size': arg.batch, 'checkpoint_every': 500})
    config.ema = ConfigDict({'decays': (0.99, 0.999)})
    config.sampler = ConfigDict(sampler)
    protocol = {'name': 'frame_prediction', 'context': context, 'per_clip': samples}
    config.evaluate = ConfigDict({'real': 256, 'protocol': protocol})
    if arg.regressor == 'conv_lstm':
        config.model = ConfigDict({'name': 'conv_lstm'})
        config.optim = ConfigDict(
            {'name': 'adamw', 'learning_rate': 5e-4, 'b2': 0.999, 'warmup_steps': 10, 'schedule': 'cosine'}
        )
        config.train.checkpoint_every = 50
    return config
