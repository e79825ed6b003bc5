"""Weights of one network as a beginning for another: what fits is taken bit for bit, the rest is fresh and named."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from vdm_jax.errors import UserError
from vdm_jax.pretrained.fit import by_path, find_resized, fit

WEIGHTS = {'label/table': np.float32(range(8)).reshape(4, 2), 'out/kernel': np.ones((2, 3), np.float16)}


def make_shapes(**shapes):
    """A tree of shapes: table, kernel, …"""
    sharding = SingleDeviceSharding(jax.devices()[0])

    def leaf(shape):
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)

    tree = {
        'label': {'table': leaf(shapes.pop('table', (4, 2)))},
        'out': {'kernel': leaf(shapes.pop('kernel', (2, 3)))},
    }
    return tree | {name: leaf(shape) for name, shape in shapes.items()}


def sevens(tree):
    return lambda: jax.tree.map(lambda leaf: jnp.full(leaf.shape, 7.0), tree)


def never():
    raise AssertionError('nothing is missing')


def test_what_fits_is_taken_in_the_dtype_that_is_wanted():
    params, report = fit(WEIGHTS, make_shapes(), never)
    assert len(report.used) == 2 and not (report.missing or report.differing or report.unused)
    for name, leaf in by_path(params).items():
        assert leaf.dtype == jnp.float32
        np.testing.assert_array_equal(leaf, WEIGHTS[name])


@pytest.mark.parametrize(
    ('tree', 'pattern'),
    [
        (
            make_shapes(table=(9, 2)),
            r'--from=x: parameter label/table is \(4, 2\), the network wants \(9, 2\); with --',
        ),
        (make_shapes(table=(9, 2), more=(1,)), r'label/table is .*, and 1 more do not fit; with --allow-missing'),
        (make_shapes(more=(1,)), r'parameter more is missing; with --allow-missing'),
        ({'out': make_shapes()['out']}, r'parameter label/table is not one of the network; with --allow-missing'),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_starts_fresh_where_that_is_allowed(tree, pattern):
    with pytest.raises(UserError, match=pattern):
        fit(WEIGHTS, tree, sevens(tree), called='--from=x')
    params, report = fit(WEIGHTS, tree, sevens(tree), allow_missing=True)
    for name, leaf in by_path(params).items():
        np.testing.assert_array_equal(leaf, WEIGHTS[name] if name in report.used else 7)
    assert 'out/kernel' in report.used
    assert str(report).startswith(f'{len(report.used)} tensors used')


def test_weights_of_which_nothing_fits_are_refused():
    tree = make_shapes(table=(9, 9), kernel=(9, 9))
    with pytest.raises(UserError, match='no parameter fits the network: parameter label/table is'):
        fit(WEIGHTS, tree, sevens(tree), allow_missing=True)
    with pytest.raises(UserError, match='no parameter fits the network: parameter label/table is missing'):
        fit({}, make_shapes(), sevens(make_shapes()), allow_missing=True)


@dataclasses.dataclass(frozen=True)
class Net:
    """Keys that change shapes, one by one or against each other, and one that changes none."""

    classes: int = 3
    patch: int = 2
    time_patch: int = 1
    heads: int = 2

    @property
    def shapes(self):
        return {'table': (self.classes + 1,), 'patches': (self.patch**2 * self.time_patch,), 'qkv': (12,)}


def test_parameters_that_a_key_resizes_are_named_even_where_two_keys_make_up_for_each_other():
    def shapes_of(net):
        return net.shapes

    assert find_resized(Net(classes=5), {'classes': (5, 3)}, shapes_of, 'x') == {'table'}
    assert find_resized(Net(patch=1, time_patch=4), {'patch': (1, 2), 'time_patch': (4, 1)}, shapes_of, 'x') == {
        'patches'
    }
    params, report = fit(WEIGHTS, make_shapes(), sevens(make_shapes()), allow_missing=True, resized={'out/kernel'})
    assert report.used == ('label/table',) and len(report.differing) == 1
    np.testing.assert_array_equal(params['out']['kernel'], 7)
    with pytest.raises(UserError, match=r'config.model.heads=4: x has 2, which gives parameters of the same shapes'):
        find_resized(Net(heads=4), {'heads': (4, 2)}, shapes_of, 'x')
