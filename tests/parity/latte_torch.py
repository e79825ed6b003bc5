"""Latte's interleaved network in plain PyTorch, written from the papers, and its weights to and from our tree."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def fused_attention(x, qkv, out, heads):
    """Self-attention (S, L, D) -> (S, L, D) through PyTorch's fused kernel."""
    q, k, v = qkv(x).unflatten(-1, (heads, 3, -1)).permute(3, 0, 2, 1, 4)
    return out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        return fused_attention(x, self.qkv, self.out, self.heads)


class MLP(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x):
        return self.down(functional.gelu(self.up(x), approximate='tanh'))


class Block(nn.Module):
    """adaLN-zero block (DiT, section 3.2) over space or over time (Latte, variant 1)."""

    def __init__(self, width, heads, over_time):
        super().__init__()
        self.over_time = over_time
        self.attention = Attention(width, heads)
        self.mlp = MLP(width, 4 * width)
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x, c):
        batch, frames, tokens, width = x.shape
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(functional.silu(c))[:, None, None].chunk(6, -1)
        h = functional.layer_norm(x, (width,), eps=1e-6) * (1 + scale1) + shift1
        if self.over_time:
            h = self.attention(h.transpose(1, 2).reshape(batch * tokens, frames, width))
            h = h.view(batch, tokens, frames, width).transpose(1, 2)
        else:
            h = self.attention(h.view(batch * frames, tokens, width)).view(x.shape)
        x = x + gate1 * h
        h = functional.layer_norm(x, (width,), eps=1e-6) * (1 + scale2) + shift2
        return x + gate2 * self.mlp(h)


class TimeEmbedding(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up = nn.Linear(256, width)
        self.down = nn.Linear(width, width)

    def forward(self, t):
        angles = t[:, None] * torch.exp(-math.log(10_000) * torch.arange(128) / 128)
        return self.down(functional.silu(self.up(torch.cat([angles.cos(), angles.sin()], -1))))


class Head(nn.Module):
    def __init__(self, width, out):
        super().__init__()
        self.modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, out)

    def forward(self, x, c):
        shift, scale = self.modulation(functional.silu(c))[:, None, None].chunk(2, -1)
        return self.out(functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift)


class Latte(nn.Module):
    """(x (B, T, H, W, C), t (B,), label (B,)) -> (B, T, H, W, C), learned variance off; modules named as in vdm_jax."""

    def __init__(self, width, depth, heads, patch, channels, classes):
        super().__init__()
        self.width = width
        self.patch = patch
        self.patch_embed = nn.Linear(patch * patch * channels, width)
        self.time_embed = TimeEmbedding(width)
        self.label_embed = nn.Embedding(classes + 1, width)

        def pair():
            return nn.ModuleDict({'space': Block(width, heads, False), 'time': Block(width, heads, True)})

        self.layers = nn.ModuleList(pair() for _ in range(depth // 2))
        self.head = Head(width, patch * patch * channels)
        self.positions = {}  # computed once for each shape of clip, as buffers would be

    def forward(self, x, t, label):
        batch, frames, height, width, channels = x.shape
        p = self.patch
        rows = height // p
        columns = width // p
        if (frames, rows, columns) not in self.positions:
            column, row = (torch.arange(side) for side in (columns, rows))
            column, row = column.repeat(rows), row.repeat_interleave(columns)
            space = torch.cat([sincos(column, self.width // 2), sincos(row, self.width // 2)], -1)
            self.positions[frames, rows, columns] = space, sincos(torch.arange(frames), self.width)[:, None]
        space, time = self.positions[frames, rows, columns]
        x = (
            x.view(batch, frames, rows, p, columns, p, channels)
            .transpose(3, 4)
            .reshape(batch, frames, rows * columns, -1)
        )
        x = self.patch_embed(x) + space
        c = self.time_embed(t) + self.label_embed(label)
        for index, layer in enumerate(self.layers):
            x = layer['space'](x, c)
            x = layer['time'](x + time if index == 0 else x, c)
        x = self.head(x, c).view(batch, frames, rows, columns, p, p, channels)
        return x.transpose(3, 4).reshape(batch, frames, height, width, channels)


def sincos(positions, width):
    frequencies = 10_000 ** (-torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angles = positions.double()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1).float()


def _places(model):
    """Each parameter of the model as (its path in our tree, its layer or None, the parameter, whether transposed)."""
    for name, parameter in model.named_parameters():
        parts = name.split('.')
        layer = None
        if parts[0] == 'layers':
            layer = int(parts.pop(1))
        is_table = parts[0] == 'label_embed'
        parts[-1] = {'weight': 'table' if is_table else 'kernel'}.get(parts[-1], parts[-1])
        yield '/'.join(parts), layer, parameter, parts[-1] == 'kernel'


def load(model, arrays):
    """Copy our parameters, {path: array}, into the model; every one of them must find its place."""
    used = set()
    with torch.no_grad():
        for path, layer, parameter, transposed in _places(model):
            array = arrays[path] if layer is None else arrays[path][layer]
            parameter.copy_(torch.from_numpy(np.array(array.T if transposed else array)))
            used.add(path)
    if used != set(arrays):
        raise ValueError(f'not copied: {sorted(set(arrays) - used)}')


def gradients(model):
    """The gradients of the model as {path: array}, laid out as our parameters are."""
    by_path = {}
    for path, layer, parameter, transposed in _places(model):
        grad = (parameter.grad.T if transposed else parameter.grad).numpy().copy()
        if layer is None:
            by_path[path] = grad
        else:
            by_path.setdefault(path, []).append(grad)
    return {path: np.stack(grads) if isinstance(grads, list) else grads for path, grads in by_path.items()}
