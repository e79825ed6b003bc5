"""Features of real clips are computed once: for these clips, this protocol and these weights, and for no others."""

import os

import numpy as np
import pytest

from tests.evals.feature_distance.small import make_clips, open_clips, open_small, score
from vdm_jax.evals.feature_distance import real
from vdm_jax.evals.feature_distance.protocol import FeatureDistance
from vdm_jax.evals.features.opened import OpenNetwork

PROTOCOL = FeatureDistance(rounds=0)
SETS = 6  # real clips and five controls


@pytest.fixture
def extractions(monkeypatch):
    """How many clips there were in each set whose features were computed for real clips."""
    counts = []
    extract = real.extract_features

    def count(network, params, batches, *args, **options):
        result = extract(network, params, batches, *args, **options)
        counts.append(result.num_clips)
        return result

    monkeypatch.setattr(real, 'extract_features', count)
    return counts


@pytest.fixture
def evaluate(tmp_path, extractions):
    """Score the same videos beside real ones; returns the score, and how many sets of clips were computed."""

    def evaluate(protocol=PROTOCOL, clips=None, name='real.npy', **options):
        reader = open_clips(tmp_path / name, make_clips(10, seed=1) if clips is None else clips)
        os.utime(tmp_path / name, ns=(0, 0))
        extractions.clear()
        result = score(protocol, reader, make_clips(12), batch_size=12, **options)
        return result, len(extractions) - 1

    return evaluate


def test_the_second_evaluation_computes_samples_alone(evaluate, extractions, own_cache):
    first, count = evaluate()
    assert count == SETS and len(os.listdir(own_cache)) == 1
    again, count = evaluate()
    assert count == 0 and extractions == [12]
    assert again == first


def test_other_samples_and_intervals_are_of_the_same_real_clips(evaluate):
    evaluate()
    assert evaluate(FeatureDistance(rounds=8))[1] == 0
    assert evaluate(FeatureDistance(rounds=0, distances=('kvd',)))[1] == 0


@pytest.mark.parametrize('keys', [
    {'frames': 8}, {'stride': 2}, {'seed': 1}, {'clips': 'random'}, {'real': 9}, {'split': 'train', 'real': 9},
    {'resize': 'tf_legacy'}, {'controls': False}, {'distances': ('inception_score',)}, {'features': 'inception'},
], ids=str)  # fmt: skip
def test_another_protocol_has_features_of_its_own(evaluate, keys, monkeypatch):
    def open_weights(network, weights):
        small = open_small(network, weights)
        # The small network has no resize; its file is another one instead.
        return OpenNetwork(small.network, small.params, small.weights, f'{getattr(network, "resize", "")}')

    evaluate(open_weights=open_weights)
    assert evaluate(FeatureDistance(**{'rounds': 0} | keys), open_weights=open_weights)[1] > 0


def test_other_clips_have_features_of_their_own(evaluate):
    clips = make_clips(10, seed=1)
    evaluate(clips=clips)
    other = clips.copy()
    other[7, 3, 2, 1, 0] ^= 1
    assert evaluate(clips=other)[1] == SETS
    assert evaluate(clips=clips[:9])[1] == SETS
    assert evaluate(clips=clips, name='other.npy')[1] == SETS
    assert evaluate(clips=clips)[1] == 0


def test_a_file_changed_in_time_alone_is_another(tmp_path):
    """Only some clips are looked at; a large set may differ in the others."""
    reader = open_clips(tmp_path / 'real.npy', make_clips(4))
    identity = reader.identity()
    os.utime(tmp_path / 'real.npy', ns=(1, 1))
    assert open_clips(tmp_path / 'other.npy', make_clips(4)).identity() != identity
    assert reader.source.open().identity() != identity


def test_other_weights_have_features_of_their_own(evaluate):
    def open_weights(network, weights):
        small = open_small(network, weights)
        return OpenNetwork(small.network, small.params, 'mine', '1' * 64)

    evaluate()
    assert evaluate(open_weights=open_weights)[1] == SETS


@pytest.mark.parametrize('damage', ['cut', 'flipped', 'empty', 'text', 'folder'])
def test_a_damaged_file_is_made_anew(evaluate, own_cache, damage):
    first, _ = evaluate()
    (file,) = own_cache.iterdir()
    content = bytearray(file.read_bytes())
    if damage == 'folder':
        file.unlink()
        file.mkdir()
    elif damage == 'flipped':
        content[len(content) // 2] ^= 255
        file.write_bytes(content)
    else:
        file.write_bytes({'cut': content[:-40], 'empty': b'', 'text': b'nonsense'}[damage])
    again, count = evaluate()
    assert count == SETS and again == first
    # What is no file is left as it is.
    assert evaluate()[1] == (SETS if damage == 'folder' else 0)


def test_a_file_of_other_features_of_the_right_name_is_found_out(evaluate, own_cache):
    first, _ = evaluate()
    (file,) = own_cache.iterdir()
    with np.load(file) as arrays:
        content = dict(arrays)
    content['real/features'] = content['real/features'] + 1
    np.savez(file, **content)
    again, count = evaluate()
    assert count == SETS and again == first


def test_a_cache_that_cannot_be_written_does_no_harm(evaluate, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('in the way')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    first, count = evaluate()
    assert count == SETS and evaluate() == (first, SETS)


def test_without_a_home_there_is_no_cache(evaluate, monkeypatch):
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', '')
    monkeypatch.setattr('vdm_jax.files._registered_home', lambda: '')
    assert evaluate()[1] == evaluate()[1] == SETS


def test_of_several_processes_the_primary_alone_reads_the_cache(evaluate, monkeypatch, own_cache):
    """Another machine has a cache of its own: one that computes while the other does not would wait for ever."""
    evaluate()
    monkeypatch.setattr(real.processes, 'is_primary', lambda: False)
    monkeypatch.setattr(real.processes, 'run_on_primary', lambda action: True)
    assert real.read_cached(str(next(own_cache.iterdir()))) == real.RealFeatures({}, '')
