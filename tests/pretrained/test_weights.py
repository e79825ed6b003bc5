"""Weights in one file: they come back, and anything else is refused in one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding
from safetensors.numpy import save_file

from vdm_jax.errors import UserError
from vdm_jax.pretrained import weights

PARAMS = {'a': {'kernel': jnp.linspace(-1, 1, 12).reshape(3, 4)}, 'b': jnp.ones((2,))}
ABOUT = {'step': 7, 'config': {'seed': 0}}


def abstract(params):
    sharding = SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), params)


@pytest.fixture
def file(tmp_path):
    size = weights.save(tmp_path / 'w.safetensors', PARAMS, ABOUT)
    assert size == (tmp_path / 'w.safetensors').stat().st_size
    return tmp_path / 'w.safetensors'


def test_they_come_back(file):
    found = weights.load(file, abstract(PARAMS))
    assert jax.tree.structure(found) == jax.tree.structure(PARAMS) and found['b'].dtype == jnp.float32
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2**-11), found, PARAMS)
    assert weights.about(file) == ABOUT


@pytest.mark.parametrize(
    'wanted, says',
    [
        ({'a': PARAMS['a']}, 'b is not one of the network'),
        (PARAMS | {'c': jnp.ones(())}, 'c is missing'),
        (PARAMS | {'b': jnp.ones((3,))}, r'b has shape \(2,\), the network wants \(3,\)'),
    ],
)
def test_another_network_is_named(file, wanted, says):
    with pytest.raises(UserError, match=says):
        weights.load(file, abstract(wanted))


def test_what_is_no_such_file(tmp_path, file):
    with pytest.raises(UserError, match='no such file'):
        weights.about(tmp_path / 'nowhere')
    (tmp_path / 'cut').write_bytes(file.read_bytes()[:-5])
    (tmp_path / 'pickle').write_bytes(b'\x80\x04}q\x00.' * 20)
    save_file({'a': np.ones(2)}, tmp_path / 'other')
    for name, says in (('cut', 'not a safetensors'), ('pickle', 'not a safetensors'), ('other', 'vdm_jax export')):
        with pytest.raises(UserError, match=says):
            weights.about(tmp_path / name)
