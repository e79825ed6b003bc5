"""A mixture gives the clips of its sources, and nothing depends on where a run restarts."""

import dataclasses
import json

import numpy as np
import pytest

from vdm_jax.data.mixture import Mixture
from vdm_jax.data.order.mixed import BLOCK
from vdm_jax.data.order.order import Order
from vdm_jax.data.pipeline import batches
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_dict, experiment_from, read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.train.workdir import check_workdir

BALLS = BouncingBalls(size=40, frames=2)
NOISE = Synthetic(frames=2, pixels=16, size=10, classes=3)
MIXED = Mixture((BALLS, NOISE), weights=(0.7, 0.3))


def test_a_mixture_of_one_source_equals_the_source():
    mixed = Mixture((BALLS,)).open().order(8, seed=5)
    positions = np.arange(2 * BLOCK)
    np.testing.assert_array_equal(mixed.ids_at(positions), Order(40, 8, seed=5).ids_at(positions))


def test_unshuffled_each_source_comes_as_it_stands_but_all_of_them_do():
    ids = MIXED.open().order(8, shuffle=False).ids_at(np.arange(30))
    assert ids[ids < 40].tolist() == list(range((ids < 40).sum())) and (ids >= 40).any()


def test_clips_are_those_of_the_sources_with_classes_apart_shared_or_dropped():
    mixed = MIXED.open()
    noise = NOISE.open()
    assert len(mixed) == 50 and MIXED.shape == BALLS.shape and (MIXED.frames, MIXED.pixels) == (2, 16)
    for i, source, own in ((0, BALLS, 0), (39, BALLS, 39), (40, noise, 0), (49, noise, 9)):
        np.testing.assert_array_equal(mixed[i]['video'], source[own]['video'])
        first = 0 if source is BALLS else BALLS.num_classes
        for labels, wanted in (('apart', first + source[own]['label']), ('shared', source[own]['label']), ('none', 0)):
            label = dataclasses.replace(MIXED, labels=labels).open()[i]['label']
            assert label == wanted and label.dtype == np.int32
    kinds = ('apart', 'shared', 'none')
    numbers = {labels: dataclasses.replace(MIXED, labels=labels).open().num_classes for labels in kinds}
    assert numbers == {'apart': 2 + 3, 'shared': 3, 'none': 0}
    unlabelled = dataclasses.replace(NOISE, classes=0)
    both = Mixture((unlabelled, NOISE)).open()
    assert both.num_classes == 4 and both[10]['label'] == 1
    with pytest.raises(IndexError):
        mixed[50]


def test_the_stream_is_the_same_for_any_hosts_threads_and_restarts():
    def stream(start=0, threads=4, rows=None):
        source = dataclasses.replace(MIXED, threads=threads).open()
        with batches(source, source.order(8, seed=1), start, 6, rows and [rows]) as loaded:
            return list(loaded)

    expected = stream()
    halves = [stream(rows=rows) for rows in (range(4), range(4, 8))]
    joined = [{name: np.concatenate([a[name], b[name]]) for name in a} for a, b in zip(*halves, strict=True)]
    for loaded in (joined, stream(threads=0)):
        for a, b in zip(loaded, expected, strict=True):
            np.testing.assert_array_equal(a['video'], b['video'])
            np.testing.assert_array_equal(a['label'], b['label'])
    np.testing.assert_array_equal(stream(start=4)[0]['video'], expected[4]['video'])
    labels = np.concatenate([batch['label'] for batch in expected])
    assert (labels < 2).any() and (labels >= 2).any()


def test_held_out_clips_are_those_of_the_sources_that_hold_some_out_and_no_others():
    colours = dataclasses.replace(BALLS, label='colour')
    mixed = Mixture((NOISE, BALLS, NOISE, colours), weights=(0.4, 0.3, 0.2, 0.1))
    held_out = mixed.open().held_out()
    tests = tuple(dataclasses.replace(source, split='test') for source in (BALLS, colours))
    assert held_out.source.sources == tests and held_out.source.weights == (0.3, 0.1)
    assert held_out.held_out() is held_out
    assert len(held_out) == sum(map(len, tests)) and Mixture((BALLS, NOISE)).open().held_out().source.weights == ()


def test_held_out_labels_are_those_that_were_trained_on():
    mixed = Mixture((NOISE, BALLS))
    for labels, first in (('apart', NOISE.classes), ('shared', 0), ('none', 0)):
        reader = dataclasses.replace(mixed, labels=labels).open()
        held_out = reader.held_out()
        own = 0 if labels == 'none' else held_out.readers[0][3]['label']
        assert held_out[3]['label'] == first + own
        assert held_out.num_classes == reader.num_classes


def test_where_no_source_holds_any_out_the_mixture_is_all_there_is():
    mixed = Mixture((NOISE, NOISE)).open()
    assert mixed.held_out() is mixed


def test_sources_have_their_own_counters_and_identities(tmp_path):
    class Counting(BouncingBalls):
        def counters(self):
            return {'videos': 2}

        def problem_files(self):
            return {'broken': ['a.mp4: cut off']}

        def identity(self):
            return '10 abc'

    mixed = Mixture((BALLS, Counting(frames=2))).open()
    assert mixed.counters() == {'1/videos': 2} and mixed.problem_files() == {'broken': ['1: a.mp4: cut off']}
    assert mixed.identity() == '40 + 10 abc'


FILE = """
from vdm_jax.config import ConfigDict
def get_config(arg):
    config = ConfigDict()
    config.data = ConfigDict({
        'source': 'mixture',
        'sources': [{'source': 'bouncing_balls', 'frames': 4}, {'source': 'synthetic', 'frames': 4, 'pixels': 16}],
        'weights': (0.7, 0.3),
    })
    return config
"""


def test_a_mixture_is_configured_in_a_file_and_its_items_on_the_command_line(tmp_path):
    path = tmp_path / 'mixed.py'
    path.write_text(FILE)
    experiment = read_experiment(str(path), ['--config.data.sources.0.gravity=0.01', '--config.data.sources.1.size=5'])
    noise = Synthetic(frames=4, pixels=16, size=5)
    assert experiment.data == Mixture((BouncingBalls(frames=4, gravity=0.01), noise), (0.7, 0.3))
    resolved = json.loads(json.dumps(experiment_dict(experiment)))
    assert experiment_from(resolved) == experiment
    assert [each['source'] for each in resolved['data']['sources']] == ['bouncing_balls', 'synthetic']
    run = Run(experiment)
    assert run.model_config.classes == 2 + 10 and run.data.held_out.source.sources[0].split == 'test'


def test_a_run_resumes_where_the_files_of_a_source_have_moved_but_not_with_other_weights(tmp_path):
    def resolve_config(path, weights):
        folders = [{'source': 'video_folder', 'path': path}, {'source': 'video_folder', 'path': path}]
        groups = {'data': {'source': 'mixture', 'sources': folders, 'weights': weights}}
        return json.loads(json.dumps(experiment_dict(experiment_from(groups))))

    (tmp_path / 'checkpoints' / '3').mkdir(parents=True)
    (tmp_path / 'config.json').write_text(json.dumps(resolve_config('here', [1, 2])))
    check_workdir(tmp_path, resolve_config('there', [1, 2]))
    with pytest.raises(UserError, match='config.data.weights'):
        check_workdir(tmp_path, resolve_config('here', [1, 3]))


@pytest.mark.parametrize(
    'data, parts',
    [
        ({}, ('config.data.sources', 'empty')),
        ({'sources': [{'source': 'synthetic'}, {'source': 'synthetic', 'frames': 8}]}, ('sources.0', 'sources.1')),
        ({'sources': ['synthetic'], 'weights': [1, 2]}, ('config.data.weights', 'each of 1')),
        ({'sources': ['synthetic'], 'weights': [0]}, ('config.data.weights', 'above 0')),
        ({'sources': ['synthetic', {'source': 'mixture', 'sources': ['synthetic']}]}, ('sources.1', 'mixture')),
        ({'sources': [{'source': 'bouncing_balls', 'speed': 3}]}, ('config.data.sources.0.speed',)),
        ({'sources': [{'source': 'video_folder', 'path': 'nowhere'}]}, ('config.data.sources.0.path=nowhere',)),
        ({'sources': [{'path': 'nowhere'}]}, ('config.data.sources.0.source', 'not set')),
        ({'sources': ['synthetic', 'synthetic'], 'weights': [1, 1e-5]}, ('config.data.weights', 'thousandth')),
    ],
)
def test_mistakes_name_the_item(data, parts):
    with pytest.raises(UserError) as error:
        experiment_from({'data': {'source': 'mixture', **data}}).data.open().order(8)
    assert all(part in str(error.value) for part in parts) and '\n' not in str(error.value), error.value
