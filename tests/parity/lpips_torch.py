"""LPIPS in PyTorch, by the paper's equation 1 on VGG-16 (Simonyan & Zisserman 2015, table 1, D) or AlexNet (Krizhevsky
2014), whose layers have torchvision's numbers: what ours is compared with. Version 0.1 of the package lpips scales
pixels first. `package` is that package itself, where it is installed."""

import contextlib
import io
import sys
import types

import numpy as np
import torch
from torch.nn.functional import conv2d

from tests.parity.lpips_cases import ENDS, LAYERS, POOLING


def bare_network(network, widths) -> torch.nn.Sequential:
    """torchvision's features of a network, as wide as `widths`, with weights of chance."""
    layers = []
    before = 3
    for number, layer in enumerate(LAYERS[network]):
        if layer == 'relu':
            layers.append(torch.nn.ReLU())
        elif layer == 'pool':
            layers.append(torch.nn.MaxPool2d(POOLING[network], 2))
        else:
            side, stride, padding = layer
            width = widths[next(level for level, end in enumerate(ENDS[network]) if number <= end)]
            layers.append(torch.nn.Conv2d(before, width, side, stride, padding))
            before = width
    return torch.nn.Sequential(*layers)


def features_of(drawn) -> dict[str, torch.Tensor]:
    """The tensors of torchvision's features by their names within it."""
    return {
        name.removeprefix('features.'): torch.from_numpy(np.array(array))
        for name, array in drawn.items()
        if name.startswith('features.')
    }


def network_of(drawn) -> str:
    """Which network the tensors are of: AlexNet's second convolution has a number that none of VGG's has."""
    return 'alex' if 'features.3.weight' in drawn else 'vgg'


def distances(drawn, x, y, grad=False):
    """LPIPS of pictures (N, H, W, 3): (N,), and the gradient of their sum by x with `grad`."""
    network = network_of(drawn)
    ends = ENDS[network]
    features = bare_network(network, [drawn[f'lin{level}.model.1.weight'].shape[1] for level in range(5)])
    features.load_state_dict(features_of(drawn))
    shift = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]
    a, b = (as_torch(each) for each in (x, y))
    a.requires_grad_(grad)
    total = 0
    of_a = (a - shift) / scale
    of_b = (b - shift) / scale
    for number, layer in enumerate(features):
        of_a, of_b = layer(of_a), layer(of_b)
        if number in ends:
            unit = [each / (each.square().sum(1, keepdim=True).sqrt() + 1e-10) for each in (of_a, of_b)]
            line = torch.from_numpy(drawn[f'lin{ends.index(number)}.model.1.weight'])
            total = total + conv2d((unit[0] - unit[1]).square(), line).mean((1, 2, 3))
    if not grad:
        return total.numpy(force=True)
    total.sum().backward()
    return total.numpy(force=True), a.grad.numpy().transpose(0, 2, 3, 1)


def as_torch(pictures) -> torch.Tensor:
    """Pictures (N, H, W, C) as PyTorch has them, (N, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


def package(network, features):
    """lpips.LPIPS(net='vgg' or 'alex') with the linear layers that the package brings, and these `features`.

    The package takes the bare network from torchvision, each build of which goes with only one build of torch; it gets
    the same layers from here.
    """
    widths = [features[f'{number}.weight'].shape[0] for number in range(40) if f'{number}.weight' in features]
    by_level = [64, 128, 256, 512, 512] if network == 'vgg' else widths
    stand_in = types.ModuleType('torchvision')
    stand_in.models = types.SimpleNamespace()

    def make(pretrained=False):
        assert not pretrained
        return types.SimpleNamespace(features=bare_network(network, by_level))

    stand_in.models.vgg16 = stand_in.models.alexnet = make
    others = {
        name: sys.modules.pop(name) for name in list(sys.modules) if name.split('.')[0] in ('torchvision', 'lpips')
    }
    sys.modules['torchvision'] = stand_in
    try:
        import lpips

        with contextlib.redirect_stdout(io.StringIO()):
            model = lpips.LPIPS(net=network, pnet_rand=True, version='0.1')
    finally:
        for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
            del sys.modules[name]
        sys.modules.update(others)
    state = {name: tensor for part in model.net.children() for name, tensor in part.state_dict().items()}
    assert state.keys() == features.keys()
    for part in model.net.children():
        part.load_state_dict({name: features[name] for name in part.state_dict()})
    return model.eval()
