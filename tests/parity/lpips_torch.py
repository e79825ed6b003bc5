"""LPIPS in PyTorch, by the paper's equation 1 on VGG-16 (Simonyan & Zisserman 2015, table 1, D), whose layers have
torchvision's numbers: what ours is compared with. Version 0.1 of the package lpips scales pixels first."""

import numpy as np
import torch
from torch.nn.functional import conv2d

from tests.parity.lpips_cases import DEPTHS

ENDS = 3, 8, 15, 22, 29  # the last ReLU of each level, in torchvision's numbers


def network(drawn) -> torch.nn.Sequential:
    """The network of these tensors, as narrow as they are."""
    layers = []
    before = 3
    for depth in DEPTHS:
        for _ in range(depth):
            width = len(drawn[f'features.{len(layers)}.bias'])
            layers += [torch.nn.Conv2d(before, width, 3, padding=1), torch.nn.ReLU()]
            before = width
        layers.append(torch.nn.MaxPool2d(2))
    features = torch.nn.Sequential(*layers[:-1])  # nothing looks at the last pooling
    state = {name: torch.from_numpy(array) for name, array in drawn.items() if name.startswith('features.')}
    features.load_state_dict({name.removeprefix('features.'): array for name, array in state.items()})
    return features


def distances(drawn, x, y, grad=False):
    """LPIPS of pictures (N, H, W, 3): (N,), and the gradient of their sum by x with `grad`."""
    features = network(drawn)
    shift = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]
    a, b = (torch.from_numpy(np.ascontiguousarray(each.transpose(0, 3, 1, 2))) for each in (x, y))
    a.requires_grad_(grad)
    total = 0
    of_a = (a - shift) / scale
    of_b = (b - shift) / scale
    for number, layer in enumerate(features):
        of_a, of_b = layer(of_a), layer(of_b)
        if number in ENDS:
            unit = [each / (each.square().sum(1, keepdim=True).sqrt() + 1e-10) for each in (of_a, of_b)]
            line = torch.from_numpy(drawn[f'lin{ENDS.index(number)}.model.1.weight'])
            total = total + conv2d((unit[0] - unit[1]).square(), line).mean((1, 2, 3))
    if not grad:
        return total.numpy(force=True)
    total.sum().backward()
    return total.numpy(force=True), a.grad.numpy().transpose(0, 2, 3, 1)
