"""Moving MNIST: ten frames of two wandering digits are given, the next ten are sampled (OpenSTL's task, 10 to 10).

    python -m vdm_jax train --config=experiments/moving_mnist.py --config.data.path=DIR --workdir=RUN
    python -m vdm_jax evaluate --workdir=RUN     # MSE, MAE, SSIM, PSNR of one sample, of the mean and the best of ten

DIR holds MNIST's IDX files. With both train-images-idx3-ubyte and t10k-images-idx3-ubyte the digits are those of the
published task. With t10k alone, 8,000 of its digits train and the other 2,000 test, and results are called
openstl_mmnist_t10k_split: OpenSTL's test clips are others, so that its numbers are context and no comparison.

Arguments, as in moving_mnist.py:size=S,patch=4:

    stochastic  Stochastic Moving MNIST, 5 to 10 frames
    regressor   a model that predicts one future, the one of least squared error. same: the same network, whose input
                is noise without information. conv_lstm: ConvLSTM-S (Shi et al. 2015, in OpenSTL's sizes, 11.7 million
                weights)
    size, patch larger networks: size=S,patch=4 on one GPU (not yet run on one)

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


def get_config(arg: str | None = None) -> ConfigDict:
    """Return the config; `arg` is the text behind the colon of --config=FILE:ARG, explained above."""
    args = parse_arg(
        arg, size='tiny', patch=8, steps=6000, batch=8, stochastic=False, regressor=('none', 'same', 'conv_lstm')
    )
    if args.regressor == 'conv_lstm' and (args.size, args.patch) != ('tiny', 8):
        raise UserError('--config=FILE:regressor=conv_lstm: it has one size and no patches; leave size and patch out')
    context, frames = (5, 15) if args.stochastic else (10, 20)
    config = ConfigDict()
    config.data = ConfigDict(
        {'source': 'moving_mnist', 'frames': frames, 'motion': 'stochastic' if args.stochastic else 'bounce'}
    )
    config.model = ConfigDict(
        {
            'size': args.size,
            'patch': args.patch,
            'time_patch': 1 if args.stochastic else 2,
            'layout': 'interleaved',
            'position': 'sincos_rope',
            'qk_norm': True,
        }
    )
    config.diffusion = ConfigDict(
        {
            'process': 'rectified_flow',
            'time': {'name': 'logit_normal', 'mean': 1.0, 'std': 1.3},
            'prediction': 'x0',
            'weighting': {'name': 'velocity', 'floor': 0.1},
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
    config.train = ConfigDict({'steps': args.steps, 'batch_size': args.batch, 'checkpoint_every': 500})
    config.ema = ConfigDict({'decays': (0.99, 0.999)})
    config.sampler = ConfigDict({'name': 'ddim', 'steps': 10, 'eta': 0.0})
    protocol = {'name': 'frame_prediction', 'context': context, 'per_clip': 10}
    config.evaluate = ConfigDict({'real': 256, 'protocol': protocol})
    if args.regressor != 'none':
        use_regression(config)
    if args.regressor == 'conv_lstm':
        use_conv_lstm(config)
    return config


def use_regression(config: ConfigDict) -> None:
    """Make a config that of a regressor: x0 from noise alone and the context, the mean of all futures, in one step."""
    config.diffusion.time = {'name': 'noise'}
    config.diffusion.weighting = {'name': 'constant'}
    config.sampler = ConfigDict({'name': 'euler', 'steps': 1})
    # All samples of a clip would be the same.
    config.evaluate.protocol['per_clip'] = 1


def use_conv_lstm(config: ConfigDict) -> None:
    """Put ConvLSTM-S in the place of the transformer."""
    config.model = ConfigDict({'name': 'conv_lstm'})
    config.optim = ConfigDict(
        {'name': 'adamw', 'learning_rate': 5e-4, 'b2': 0.999, 'warmup_steps': 10, 'schedule': 'cosine'}
    )
    # Its steps take many times as long as those of the transformer.
    config.train.checkpoint_every = 50
