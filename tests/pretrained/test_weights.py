"""Weights in one file: they come back, and anything else is refused in one line."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.reliability import damage, weights_files
from vdm_jax.errors import UserError
from vdm_jax.pretrained import tensors, weights

STARTER = Path(__file__).parents[2] / 'experiments' / 'bouncing_balls.safetensors'
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
    restored = weights.load(file, abstract(PARAMS))
    assert jax.tree.structure(restored) == jax.tree.structure(PARAMS) and restored['b'].dtype == jnp.float32
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2**-11), restored, PARAMS)
    assert weights.read_provenance(file) == ABOUT | {'dtype': 'float16'}


@pytest.mark.parametrize(
    'wanted, pattern',
    [
        ({'a': PARAMS['a']}, 'b is not one of the network'),
        (PARAMS | {'c': jnp.ones(())}, 'c is missing'),
        (PARAMS | {'b': jnp.ones((3,))}, r'b has shape \(2,\), the network wants \(3,\)'),
    ],
)
def test_another_network_is_named(file, wanted, pattern):
    with pytest.raises(UserError, match=pattern):
        weights.load(file, abstract(wanted))


def test_what_is_no_such_file(tmp_path, file):
    with pytest.raises(UserError, match='no such file'):
        weights.read_provenance(tmp_path / 'nowhere')
    (tmp_path / 'cut').write_bytes(file.read_bytes()[:-5])
    (tmp_path / 'pickle').write_bytes(b'\x80\x04}q\x00.' * 20)
    save_file({'a': np.ones(2)}, tmp_path / 'other')
    for name, pattern in (('cut', 'not a safetensors'), ('pickle', 'not a safetensors'), ('other', 'vdm_jax export')):
        with pytest.raises(UserError, match=pattern):
            weights.read_provenance(tmp_path / name)


@pytest.mark.parametrize(
    ('dtype', 'largest', 'beyond'),
    [('float16', 65504, 65520), ('bfloat16', 3.38e38, 3.4e38), ('float32', 3.4e38, None)],
)
def test_a_dtype_keeps_what_it_holds_and_refuses_what_it_does_not(dtype, largest, beyond, tmp_path):
    params = PARAMS | {'big': jnp.float32([largest, -largest, 0.1])}
    weights.save(tmp_path / 'w', params, ABOUT, dtype)
    about, arrays = weights.read(tmp_path / 'w')
    assert about['dtype'] == dtype and {str(array.dtype) for array in arrays.values()} == {dtype}
    np.testing.assert_allclose(arrays['big'].astype(np.float32), params['big'], rtol=2**-8)
    np.testing.assert_array_equal(weights.load(tmp_path / 'w', abstract(params))['big'], arrays['big'].astype('f4'))
    if beyond:
        before = (tmp_path / 'w').read_bytes()
        with pytest.raises(UserError, match=rf'--dtype={dtype}: big has 1 values up to .*; take .*--dtype=float32'):
            weights.save(tmp_path / 'w', params | {'big': jnp.float32([0, -beyond])}, ABOUT, dtype)
        assert (tmp_path / 'w').read_bytes() == before


def test_the_same_weights_are_the_same_bytes_and_other_libraries_read_them(file, tmp_path):
    def reverse(tree):
        return {name: tree[name] for name in reversed(tree)}

    weights.save(tmp_path / 'again', reverse(PARAMS), reverse(ABOUT))
    assert (tmp_path / 'again').read_bytes() == file.read_bytes()
    with safe_open(str(file), 'numpy') as opened:
        assert set(opened.keys()) == {'a/kernel', 'b'} and opened.metadata()['format'] == weights.FORMAT
        np.testing.assert_array_equal(opened.get_tensor('b'), PARAMS['b'])


def test_files_of_before_which_have_no_hash_are_read(tmp_path):
    arrays = {'a/kernel': np.float16(PARAMS['a']['kernel']), 'b': np.float16(PARAMS['b'])}
    save_file(arrays, tmp_path / 'old', {'format': weights.FORMAT, 'about': json.dumps(ABOUT | {'ema': 0.999})})
    assert weights.read_provenance(tmp_path / 'old') == ABOUT | {'ema': 0.999, 'dtype': 'float16'}
    np.testing.assert_array_equal(weights.load(tmp_path / 'old', abstract(PARAMS))['b'], arrays['b'])
    assert 'written without a sha256' in verify(tmp_path / 'old')
    assert 'written without a sha256' in verify(STARTER)


def verify(path):
    return weights.table(weights.inspect(path)).partition('\n')[0]


def test_intact_files_are_verified_and_damage_is_one_line(file, monkeypatch):
    assert 'step 7, float16: intact, sha256' in verify(file)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for look in (verify, weights.read, lambda path: weights.load(path, abstract(PARAMS))):
        with pytest.raises(UserError, match=r'w.safetensors: is damaged: its tensors are not what was written .*copy'):
            look(file)
    assert weights.read_provenance(file)['step'] == 7  # reads no tensor, and its own hash is right
    file.write_bytes(content.replace(b'7', b'8', 1))
    with pytest.raises(UserError, match=r'w.safetensors: is damaged: its header'):
        weights.read_provenance(file)


@pytest.mark.parametrize('size', [1, 7, 28, 29, 1000])
def test_hashes_hang_on_blocks_and_not_on_threads_or_shapes(size, tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, 'BLOCK', size)
    weights.save(tmp_path / 'w', PARAMS, ABOUT)
    assert 'intact' in verify(tmp_path / 'w')
    monkeypatch.setattr(os, 'cpu_count', lambda: 1)
    assert 'intact' in verify(tmp_path / 'w')


def craft(path, about, **metadata):
    """A file that somebody else has made, with hashes that are right."""
    text = about if isinstance(about, str) else json.dumps(about)
    arrays = {'a/kernel': np.float16(PARAMS['a']['kernel']), 'b': np.float16(PARAMS['b'])}
    tensors.write(path, arrays, {'format': weights.FORMAT, 'about': text} | metadata, seal=True)
    return path


WRONG = [
    *({'step': step} for step in ('/../../../evil', '7', -1, 2**31, 7.0, True, None, [7], {}, float('nan'), 10**4000)),
    *({'ema': ema} for ema in ('x/../y', '0.999', 1, -0.1, 10**400, float('nan'), float('inf'), True, [0.5], {})),
    *({'config': config} for config in (None, [], 'config', 3)),
    *({name: value} for name in ('text', 'codec') for value in ('../x', 'A' * 64, 'a' * 63, 'a' * 65, 7, None, ['a'])),
    *({'clips': value} for value in (7, None, '', 'a' * 10_000, 'a\nb', '\x1b[2J', ['12'])),
    *({'dtype': value} for value in ('float8', 7, None, [], {})),
]


@pytest.mark.parametrize('wrong', WRONG, ids=lambda wrong: str(wrong)[:30])
def test_values_of_foreign_files_are_of_their_type_and_range_or_refused(wrong, tmp_path):
    (name,) = wrong
    path = craft(tmp_path / 'evil', ABOUT | wrong)
    with pytest.raises(UserError, match=rf"metadata 'about'(: {name}=| is not JSON)"):
        weights.read_provenance(path)


@pytest.mark.parametrize(
    ('text', 'pattern'),
    [
        ('[' * 100_000, 'is not JSON'),
        ('{"step": 1', 'is not JSON'),
        ('[]', 'holds no values by their names'),
        ('7', 'holds no values by their names'),
        ('{}', 'step is missing'),
        ('{"step": 7}', 'config is missing'),
        ('{"step": 1, "config": {}, "ema": 0.5, "extra": "../x"}', None),
    ],
)
def test_what_stands_beside_foreign_weights_is_read_as_json_or_refused(text, pattern, tmp_path):
    path = craft(tmp_path / 'evil', text)
    if pattern is None:
        assert weights.read_provenance(path) == {'config': {}, 'step': 1, 'ema': 0.5, 'dtype': 'float16'}
        return
    with pytest.raises(UserError, match=pattern):
        weights.read_provenance(path)


@pytest.mark.parametrize(
    ('entries', 'pattern'),
    [
        (b'[]', 'its header holds no names'),
        (b'{"__metadata__": {"a": 1}}', 'is no text by name'),
        (b'{"__metadata__": []}', 'is no text by name'),
        (b'{"a": 7}', 'no dtype, shape and data_offsets'),
        (b'{"a": {"dtype": "F16", "shape": [2], "data_offsets": [0]}}', 'no dtype, shape and data_offsets'),
        (b'{"a": {"dtype": "F16", "shape": [-2], "data_offsets": [0, 4]}}', 'no dtype, shape and data_offsets'),
        (b'{"a": {"dtype": "F16", "shape": [1e3], "data_offsets": [0, 4]}}', 'no dtype, shape and data_offsets'),
        (b'{"a": {"dtype": [], "shape": [2], "data_offsets": [0, 4]}}', 'no dtype, shape and data_offsets'),
        (b'{"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 4]}}', "is of dtype 'F4'"),
        (b'{"a": {"dtype": "F16", "shape": [3], "data_offsets": [0, 4]}}', 'has 4 bytes'),
        (b'{"a": {"dtype": "F16", "shape": [2], "data_offsets": [2, 6]}}', 'begins at byte 2, not at 0'),
        (
            b'{"a": {"dtype": "F16", "shape": [9999999999], "data_offsets": [0, 19999999998]}}',
            'have 19,999,999,998 bytes',
        ),
        (b'{"a": {"dtype": "F16", "shape": [0, 4611686018427387904], "data_offsets": [0, 0]}}', 'that is read'),
        (b'{"a": {"dtype": "F16", "shape": [4611686018427387904, 4, 0], "data_offsets": [0, 0]}}', 'that is read'),
        (b'{"a": ' * 50_000, 'nested too deep'),
        (b'{"\xff": 1}', 'is not JSON'),
    ],
)
def test_invalid_headers_are_refused(entries, pattern, tmp_path):
    (tmp_path / 'w').write_bytes(len(entries).to_bytes(8, 'little') + entries + b'\0' * 4)
    with pytest.raises(UserError, match=pattern):
        weights.read_provenance(tmp_path / 'w')


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'link').symlink_to('/dev/zero')
    for path in (tmp_path / 'pipe', tmp_path / 'link', tmp_path, '/dev/zero'):
        with pytest.raises(UserError, match='is not a regular file'):
            weights.read_provenance(path)
    with open(tmp_path / 'sparse', 'wb') as file:
        file.write(b'\xff' * 8)
        file.truncate(2**40)
    with pytest.raises(UserError, match='not a safetensors file'):
        weights.read_provenance(tmp_path / 'sparse')
    with pytest.raises(UserError, match='null'):
        weights.read_provenance(tmp_path / 'a\0b')


def test_what_was_there_stands_where_a_disk_is_full(file, monkeypatch):
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
        weights.save(file, PARAMS, ABOUT | {'step': 8})
    assert file.read_bytes() == before and [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ('name', 'tries'),
    [
        *((name, 10) for name in weights_files.KINDS),
        *(pytest.param(name, 400, marks=pytest.mark.slow) for name in weights_files.KINDS),
    ],
)
def test_no_damage_is_taken_for_values_or_ends_in_a_traceback(name, tries, tmp_path):
    kind = weights_files.KINDS[name]
    faults = []
    kind.make(tmp_path)
    counts = damage.count(kind, tmp_path, lambda: damage.attempt(kind, tmp_path), range(tries), fault=faults.append)
    assert not faults and counts['tried'] == tries and counts['noticed'] + counts['harmless'] == tries
    assert counts['noticed'] > 0.8 * tries, counts
