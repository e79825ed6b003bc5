"""I3D, InceptionV3 as in FID, and C3D in PyTorch, from the published architectures: what ours are compared with.

They are functions of tensors by the published names, batch norms included, on videos (B, C, T, H, W) in 0..255.
"""

import numpy as np
import torch
import torch.nn.functional as F

MIXED = ('3b', '3c', '4b', '4c', '4d', '4e', '4f', '5b', '5c')
EPSILON = 1e-3


def to_torch(arrays):
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def to_channels_first(clips):
    """Clips (B, T, H, W, C) as floats (B, C, T, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(clips)).permute(0, 4, 1, 2, 3).float()


def resize(x, side, **options):
    """Every frame of (B, C, T, H, W)."""
    frames = x.transpose(1, 2).flatten(0, 1)
    frames = F.interpolate(frames, size=(side, side), mode='bilinear', **options)
    return frames.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


def pad_same(x, kernel, stride, value=0.0):
    """TensorFlow's SAME, written out."""
    pads = []
    for size, side, step in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max(side - step, 0) if size % step == 0 else max(side - size % step, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value) if any(pads) else x


class I3D:
    """Logits of I3D. `fold` multiplies norms into kernels once, as a trained network is run."""

    def __init__(self, arrays, side=224, fold=False, memory_format=torch.contiguous_format):
        self.arrays = to_torch(arrays)
        self.side = side
        self.folded = {}
        self.memory_format = memory_format
        if fold:
            self.folded = {name[7:-14]: self.fold(name[7:-14]) for name in arrays if name.endswith('Conv_0/kernel')}

    def fold(self, name):
        weight = self.arrays[f'params/{name}/Conv_0/kernel'].permute(4, 3, 0, 1, 2)
        if name.startswith('Logits'):
            return weight, self.arrays[f'params/{name}/Conv_0/bias']
        scale = (self.arrays[f'batch_stats/{name}/BatchNorm_0/var'].flatten() + EPSILON).rsqrt()
        bias = self.arrays[f'params/{name}/BatchNorm_0/bias']
        bias = bias - self.arrays[f'batch_stats/{name}/BatchNorm_0/mean'].flatten() * scale
        return (weight * scale[:, None, None, None, None]).contiguous(memory_format=self.memory_format), bias

    def unit(self, x, name, stride=1):
        weight = self.arrays[f'params/{name}/Conv_0/kernel'].permute(4, 3, 0, 1, 2)
        padded = pad_same(x, weight.shape[2:], (stride,) * 3)
        if self.folded:
            return F.relu(F.conv3d(padded, *self.folded[name], stride=stride), inplace=True)
        mean, var = (self.arrays[f'batch_stats/{name}/BatchNorm_0/{each}'].flatten() for each in ('mean', 'var'))
        y = F.conv3d(padded, weight, stride=stride)
        return F.relu(F.batch_norm(y, mean, var, None, self.arrays[f'params/{name}/BatchNorm_0/bias'], eps=EPSILON))

    def pool(self, x, kernel, stride):
        return F.max_pool3d(pad_same(x, kernel, stride, -torch.inf), kernel, stride)

    def mix(self, x, name):
        y0 = self.unit(x, f'{name}/Branch_0/Conv3d_0a_1x1')
        y1 = self.unit(self.unit(x, f'{name}/Branch_1/Conv3d_0a_1x1'), f'{name}/Branch_1/Conv3d_0b_3x3')
        y2 = self.unit(self.unit(x, f'{name}/Branch_2/Conv3d_0a_1x1'), f'{name}/Branch_2/Conv3d_0b_3x3')
        y3 = self.unit(self.pool(x, (3, 3, 3), (1, 1, 1)), f'{name}/Branch_3/Conv3d_0b_1x1')
        return torch.cat([y0, y1, y2, y3], 1)

    def __call__(self, clips):
        x = resize(to_channels_first(clips), self.side, align_corners=False) * (2 / 255) - 1
        x = self.unit(x.contiguous(memory_format=self.memory_format), 'Conv3d_1a_7x7', 2)
        x = self.unit(self.pool(x, (1, 3, 3), (1, 2, 2)), 'Conv3d_2b_1x1')
        x = self.pool(self.unit(x, 'Conv3d_2c_3x3'), (1, 3, 3), (1, 2, 2))
        for number in MIXED:
            x = self.mix(x, f'Mixed_{number}')
            if number == '3c':
                x = self.pool(x, (3, 3, 3), (2, 2, 2))
            elif number == '4f':
                x = self.pool(x, (2, 2, 2), (2, 2, 2))
        x = F.avg_pool3d(x, (2, *x.shape[3:]), 1)
        weight = self.arrays['params/Logits/Conv3d_0c_1x1/Conv_0/kernel'].permute(4, 3, 0, 1, 2)
        logits = F.conv3d(x, weight, self.arrays['params/Logits/Conv3d_0c_1x1/Conv_0/bias'])
        return logits.squeeze((3, 4)).mean(2)


def inception(arrays, clips, side=299):
    """(features, logits with bias) of every frame."""
    w = to_torch(arrays)

    def unit(x, name, stride=1, padding=0):
        y = F.conv2d(x, w[f'{name}.conv.weight'], None, stride, padding)
        mean, var = w[f'{name}.bn.running_mean'], w[f'{name}.bn.running_var']
        return F.relu(F.batch_norm(y, mean, var, w[f'{name}.bn.weight'], w[f'{name}.bn.bias'], eps=EPSILON))

    def mean(x):
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    def block_a(x, name):
        y5 = unit(unit(x, f'{name}.branch5x5_1'), f'{name}.branch5x5_2', padding=2)
        y3 = unit(unit(x, f'{name}.branch3x3dbl_1'), f'{name}.branch3x3dbl_2', padding=1)
        y3 = unit(y3, f'{name}.branch3x3dbl_3', padding=1)
        return torch.cat([unit(x, f'{name}.branch1x1'), y5, y3, unit(mean(x), f'{name}.branch_pool')], 1)

    def block_c(x, name):
        y = unit(x, f'{name}.branch7x7_1')
        y = unit(unit(y, f'{name}.branch7x7_2', padding=(0, 3)), f'{name}.branch7x7_3', padding=(3, 0))
        z = unit(x, f'{name}.branch7x7dbl_1')
        z = unit(unit(z, f'{name}.branch7x7dbl_2', padding=(3, 0)), f'{name}.branch7x7dbl_3', padding=(0, 3))
        z = unit(unit(z, f'{name}.branch7x7dbl_4', padding=(3, 0)), f'{name}.branch7x7dbl_5', padding=(0, 3))
        return torch.cat([unit(x, f'{name}.branch1x1'), y, z, unit(mean(x), f'{name}.branch_pool')], 1)

    def block_e(x, name, pool):
        y = unit(x, f'{name}.branch3x3_1')
        y = [unit(y, f'{name}.branch3x3_2a', padding=(0, 1)), unit(y, f'{name}.branch3x3_2b', padding=(1, 0))]
        z = unit(unit(x, f'{name}.branch3x3dbl_1'), f'{name}.branch3x3dbl_2', padding=1)
        z = [unit(z, f'{name}.branch3x3dbl_3a', padding=(0, 1)), unit(z, f'{name}.branch3x3dbl_3b', padding=(1, 0))]
        return torch.cat([unit(x, f'{name}.branch1x1'), *y, *z, unit(pool(x), f'{name}.branch_pool')], 1)

    # [0, 1], then resized, then [-1, 1]: pytorch-fid's order.
    x = to_channels_first(clips).transpose(1, 2).flatten(0, 1) / 255
    x = 2 * F.interpolate(x, size=(side, side), mode='bilinear', align_corners=False) - 1
    x = unit(unit(unit(x, 'Conv2d_1a_3x3', 2), 'Conv2d_2a_3x3'), 'Conv2d_2b_3x3', padding=1)
    x = unit(unit(F.max_pool2d(x, 3, 2), 'Conv2d_3b_1x1'), 'Conv2d_4a_3x3')
    x = F.max_pool2d(x, 3, 2)
    for letter in 'bcd':
        x = block_a(x, f'Mixed_5{letter}')
    y = unit(unit(x, 'Mixed_6a.branch3x3dbl_1'), 'Mixed_6a.branch3x3dbl_2', padding=1)
    y = unit(y, 'Mixed_6a.branch3x3dbl_3', 2)
    x = torch.cat([unit(x, 'Mixed_6a.branch3x3', 2), y, F.max_pool2d(x, 3, 2)], 1)
    for letter in 'bcde':
        x = block_c(x, f'Mixed_6{letter}')
    y = unit(unit(x, 'Mixed_7a.branch3x3_1'), 'Mixed_7a.branch3x3_2', 2)
    z = unit(unit(x, 'Mixed_7a.branch7x7x3_1'), 'Mixed_7a.branch7x7x3_2', padding=(0, 3))
    z = unit(unit(z, 'Mixed_7a.branch7x7x3_3', padding=(3, 0)), 'Mixed_7a.branch7x7x3_4', 2)
    x = torch.cat([y, z, F.max_pool2d(x, 3, 2)], 1)
    x = block_e(x, 'Mixed_7b', mean)
    x = block_e(x, 'Mixed_7c', lambda x: F.max_pool2d(x, 3, 1, 1))
    features = x.mean((2, 3))
    return features, F.linear(features, w['fc.weight'], w['fc.bias'])


def c3d(arrays, clips, side=112):
    """(features, logits)."""
    w = to_torch(arrays)
    x = to_channels_first(clips).flip(1)
    x = resize(x, side, align_corners=True) - w['mean'][None]
    for number, (names, window) in enumerate(zip(('a', 'a', 'ab', 'ab', 'ab'), (1, 2, 2, 2, 2), strict=True), 1):
        for letter in names:
            x = F.relu(F.conv3d(x, w[f'conv{number}{letter}.weight'], w[f'conv{number}{letter}.bias'], padding=1))
        x = F.max_pool3d(x, (window, 2, 2), ceil_mode=True)
    x = x.flatten(1)
    for name in ('fc6', 'fc7'):
        x = F.relu(F.linear(x, w[f'{name}.weight'], w[f'{name}.bias']))
    return x, F.linear(x, w['fc8.weight'], w['fc8.bias'])
