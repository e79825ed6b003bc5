"""LPIPS is the one of PyTorch: as stored, for a narrow VGG, and live with VGG-16's own widths (marker parity)."""

from pathlib import Path

import jax
import numpy as np
import pytest

from tests.parity import table
from tests.parity.lpips_cases import NARROW, SIZES, configuration, pictures, tensors
from vdm_jax import pretrained
from vdm_jax.codecs import lpips
from vdm_jax.errors import UserError

FIXTURE = Path(__file__).parent / 'fixtures' / 'lpips.npz'


def both(drawn, x, y):
    """Our distances with these tensors, and the gradient of their sum by x."""
    params = pretrained.load('lpips', drawn).params

    def total(x):
        distances = lpips.distance(params, x, y)
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
@pytest.mark.parametrize('widths', [NARROW, lpips.VGG16.widths])
def test_distance_equals_that_of_pytorch(widths):
    pytest.importorskip('torch', reason='PyTorch is not installed: pip install torch')
    from tests.parity.lpips_torch import distances

    drawn = tensors(widths)
    x, y = pictures((32, 24))
    forward, gradient = apart(both(drawn, x, y), distances(drawn, x, y, grad=True))
    print(f'{widths}: {forward:.1e}, gradient {gradient:.1e}')
    row = {'source': 'lpips', 'configuration': configuration(widths), 'forward': forward, 'gradient': gradient}
    table.write(f'lpips_{widths[0]}', [row])
    assert max(forward, gradient) < 1e-4


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
