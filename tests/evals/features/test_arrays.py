"""Features of others: every format and dtype, and what is wrong in one line."""

import hashlib

import numpy as np
import pytest
from safetensors.numpy import save_file

from vdm_jax.errors import UserError
from vdm_jax.evals.features.arrays import holds_features, read_features

FEATURES = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
PROBABILITIES = np.random.default_rng(1).dirichlet(np.ones(4), 7).astype(np.float32)
ENDINGS = ('.npy', '.npz', '.safetensors')


def write(path, **arrays):
    if path.suffix == '.npy':
        np.save(path, *arrays.values())
    elif path.suffix == '.npz':
        np.savez(path, **arrays)
    else:
        save_file(arrays, path)
    return path


@pytest.mark.parametrize('ending', ENDINGS)
@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_every_format_and_dtype(ending, dtype, tmp_path):
    path = write(tmp_path / f'f{ending}', anything=FEATURES.astype(dtype))
    stored = read_features(path)
    assert stored.features.dtype == dtype and stored.probabilities is None
    np.testing.assert_array_equal(stored.features, FEATURES.astype(dtype))
    assert stored.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize('ending', ENDINGS)
def test_endings_may_be_capitals(ending, tmp_path):
    path = write(tmp_path / f'f{ending}', features=FEATURES).rename(tmp_path / f'f{ending.upper()}')
    assert holds_features(path)
    np.testing.assert_array_equal(read_features(path).features, FEATURES)


def test_npy_files_are_mapped(tmp_path):
    assert isinstance(read_features(write(tmp_path / 'f.npy', features=FEATURES)).features, np.memmap)


@pytest.mark.parametrize('ending', ENDINGS[1:])
def test_probabilities_and_names(ending, tmp_path):
    path = write(tmp_path / f'f{ending}', probabilities=PROBABILITIES, a=FEATURES, b=FEATURES[:, :2].copy())
    with pytest.raises(UserError, match='has no array features; it has a, b, probabilities'):
        read_features(path)
    with pytest.raises(UserError, match='has no array c; it has a, b, probabilities'):
        read_features(path, 'c')
    stored = read_features(path, 'b')
    np.testing.assert_array_equal(stored.features, FEATURES[:, :2])
    np.testing.assert_array_equal(stored.probabilities, PROBABILITIES)
    # Features alone, or by their usual name, need no name.
    for arrays in ({'x': FEATURES}, {'features': FEATURES, 'x': FEATURES[:2]}):
        path = write(tmp_path / f'g{ending}', probabilities=PROBABILITIES, **arrays)
        np.testing.assert_array_equal(read_features(path).features, FEATURES)


@pytest.mark.parametrize('ending', ENDINGS)
@pytest.mark.parametrize('array, message', [
    (FEATURES.astype(np.int32), 'is int32: want float16, float32, float64'),
    (FEATURES[0].copy(), r'has the shape \(5,\): want \(N, D\), a row for each clip'),
    (FEATURES[None], r'has the shape \(1, 7, 5\): want \(N, D\)'),
    (FEATURES[:0], r'has the shape \(0, 5\): want \(N, D\)'),
    (np.where(np.arange(7)[:, None] == 4, np.nan, FEATURES), 'row 4 has values that are not finite'),
    (np.where(np.arange(7)[:, None] == 6, np.inf, FEATURES).astype(np.float16), 'row 6 has values that are not finite'),
])  # fmt: skip
def test_what_are_no_features_is_refused(ending, array, message, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        read_features(write(tmp_path / f'f{ending}', features=array))
    assert '\n' not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize('probabilities, message', [
    (PROBABILITIES[:6], 'probabilities has 6 rows, the features 7'),
    (PROBABILITIES * np.float32(2), 'row 0 has the sum 2'),
    (PROBABILITIES - np.float32(1), 'row 0 has the sum -3, or is below 0'),
])  # fmt: skip
def test_what_are_no_probabilities_is_refused(probabilities, message, tmp_path):
    path = write(tmp_path / 'f.npz', features=FEATURES, probabilities=probabilities)
    with pytest.raises(UserError, match=message):
        read_features(path)


@pytest.mark.parametrize('ending', ENDINGS)
@pytest.mark.parametrize('size', [0, 5, 60, -1])
def test_damaged_files_are_refused(ending, size, tmp_path):
    path = write(tmp_path / f'f{ending}', features=FEATURES)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match='is damaged, or no file of plain arrays$') as caught:
        read_features(path)
    assert '\n' not in str(caught.value)


def test_pickles_and_other_files_are_refused(tmp_path):
    np.save(tmp_path / 'f.npy', np.array([{'a': 1}], object), allow_pickle=True)
    np.savez(tmp_path / 'f.npz', features=np.array([{'a': 1}], object))
    for name in ('f.npy', 'f.npz'):
        with pytest.raises(UserError, match='is damaged, or no file of plain arrays$'):
            read_features(tmp_path / name)
    (tmp_path / 'f.pkl').write_bytes(b'')
    with pytest.raises(UserError, match=r'.pkl is not read; want .npy, .npz, .safetensors'):
        read_features(tmp_path / 'f.pkl')
    with pytest.raises(UserError, match='features=.*missing.npy'):
        read_features(tmp_path / 'missing.npy')
    with pytest.raises(UserError, match='is not on this machine'):
        read_features('gs://bucket/f.npy')
