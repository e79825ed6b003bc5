"""An evaluation that is interrupted goes on where it was, and comes to the same score."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
from etils import epath

from tests.evals.feature_distance.small import draw_array, make_clips, open_clips, open_small
from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.errors import UserError
from vdm_jax.evals import partial, runner
from vdm_jax.evals.feature_distance.protocol import FeatureDistance
from vdm_jax.evals.partial import PartialRows, stack_rows
from vdm_jax.evals.protocol import EvaluateConfig
from vdm_jax.experiment.registry import PROTOCOLS

CONFIG = EvaluateConfig(samples=12, real=10, train=10, batch_size=4)
BALLS = BouncingBalls(frames=8, pixels=16, size=40).open()
PROTOCOL = FeatureDistance(rounds=0, controls=False)
SIZE = 3  # videos of a batch


class Stop(BaseException):
    """What ends an evaluation, like Ctrl-C."""


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(partial, 'SECONDS', 0)


class Evaluation:
    """One question, asked as often as one likes; `drawn` counts videos."""

    def __init__(self, protocol, reader, held_out, videos):
        self.protocol = protocol
        self.clips = (reader, held_out)
        self.videos = videos
        self.drawn = 0

    def run(self, out, stop_after=None, size=SIZE, about=None, identity='', config=CONFIG, leave_by=Stop, **options):
        def draw(labels, conditions_of, first):
            self.drawn = 0
            for batch in draw_array(self.videos, size)(labels, conditions_of, first):
                if stop_after is not None and self.drawn >= stop_after:
                    raise leave_by()
                self.drawn += len(batch)
                yield batch

        about = about or {}
        options = {'partial': out, 'open_weights': open_small, 'identity': identity} | options
        return runner.evaluate(self.protocol, draw, *self.clips, config, about, **options)


@pytest.fixture(params=['balls', 'features'])
def evaluation(request, tmp_path):
    if request.param == 'features':
        reader = open_clips(tmp_path / 'real.npy', make_clips(10, seed=1))
        return Evaluation(PROTOCOL, reader, reader, make_clips(12))
    videos = read_videos(BALLS, range(12, 24))
    return Evaluation(PROTOCOLS['ball_physics'](), BALLS, BALLS.held_out(), videos)


@pytest.fixture
def features(tmp_path):
    reader = open_clips(tmp_path / 'real.npy', make_clips(10, seed=1))
    return Evaluation(PROTOCOL, reader, reader, make_clips(12))


def parts(out):
    return sorted(path for path in out.glob('.partial_*/*'))


@pytest.mark.parametrize('stop_after', [0, 3, 6, 9])
def test_an_interrupted_evaluation_goes_on_and_comes_to_the_same_score(evaluation, tmp_path, stop_after):
    expected = evaluation.run(None)
    with pytest.raises(Stop):
        evaluation.run(tmp_path / 'out', stop_after)
    assert len(parts(tmp_path / 'out')) == stop_after // SIZE
    assert evaluation.run(tmp_path / 'out', size=4) == expected
    assert evaluation.drawn == 12 - stop_after
    assert list((tmp_path / 'out').iterdir()) == [] if stop_after else True


def test_one_that_is_interrupted_again_and_again_comes_to_an_end(evaluation, tmp_path):
    for _ in range(3):
        with pytest.raises(Stop):
            evaluation.run(tmp_path, stop_after=3)
    assert evaluation.run(tmp_path, stop_after=3) == evaluation.run(None)


def test_rows_that_wait_to_be_written_are_written_when_it_is_interrupted(features, tmp_path, monkeypatch):
    monkeypatch.setattr(partial, 'SECONDS', 3600)
    with pytest.raises(KeyboardInterrupt):
        features.run(tmp_path, stop_after=6, leave_by=KeyboardInterrupt)
    assert features.run(tmp_path) == features.run(None)
    assert parts(tmp_path) == []
    with pytest.raises(UserError):
        features.run(tmp_path, stop_after=6, leave_by=lambda: UserError('damaged'))
    features.run(tmp_path)
    assert features.drawn == 6


def test_one_killed_before_its_score_draws_nothing_again(features, tmp_path, monkeypatch):
    expected = features.run(None)
    score = type(PROTOCOL.open_judge(*features.clips, CONFIG, open_small)).score

    def fail(self, rows):
        raise Stop

    monkeypatch.setattr('vdm_jax.evals.feature_distance.protocol.FeatureJudge.score', fail)
    with pytest.raises(Stop):
        features.run(tmp_path)
    monkeypatch.setattr('vdm_jax.evals.feature_distance.protocol.FeatureJudge.score', score)
    features.drawn = 0
    assert features.run(tmp_path) == expected and features.drawn == 0


@pytest.mark.parametrize('other', [
    {'about': {'step': 8}},
    {'about': {'sampler': 'Euler(steps=3)'}},
    {'about': {'config': {'data': {'frames': 9}}}},
    {'about': {'environment': {'packages': {'jax': '9.9'}}}},
    {'about': {'weights_sha256': 'ab'}},
    {'identity': 'other files'},
    {'config': dataclasses.replace(CONFIG, seed=1)},
    {'config': dataclasses.replace(CONFIG, real=9)},
], ids=str)  # fmt: skip
def test_another_question_does_not_find_the_rows(features, tmp_path, other):
    with pytest.raises(Stop):
        features.run(tmp_path, stop_after=6)
    features.run(tmp_path, **other)
    assert features.drawn == 12
    # Nor does it take them away.
    features.run(tmp_path)
    assert features.drawn == 6


@pytest.mark.parametrize('same', [
    {'about': {'config': {'train': {'steps': 7}}, 'overrides': ['--config.train.steps=7']}},
    {'about': {'environment': {'command': 'another line', 'commit': 'abc', 'processes': 2}}},
    {'config': dataclasses.replace(CONFIG, batch_size=2)},
], ids=str)  # fmt: skip
def test_what_changes_no_sample_is_the_same_question(features, tmp_path, same):
    with pytest.raises(Stop):
        features.run(tmp_path, stop_after=6)
    features.run(tmp_path, **same)
    assert features.drawn == 6


def spoil(path, damage):
    """Damage a file of rows, or put another one in its place."""
    content = bytearray(path.read_bytes())
    with np.load(path) as arrays:
        rows = dict(arrays)
    if damage == 'cut':
        path.write_bytes(content[: len(content) // 2])
    elif damage == 'empty':
        path.write_bytes(b'')
    elif damage == 'text':
        path.write_text('nonsense')
    elif damage == 'flipped':
        content[-200] ^= 255
        path.write_bytes(content)
    elif damage == 'no hashes':
        del rows['sha256']
        np.savez(path, **rows)
    elif damage == 'one number':
        np.savez(path, **rows | {'features': np.float32(3)})
    elif damage == 'objects':
        np.savez(path, **rows | {'features': np.array([{}] * 3, object)})
    elif damage == 'shorter':
        np.savez(path, **rows | {'features': rows['features'][:2]})
    else:
        assert damage == 'other columns'
        np.savez(path, **rows | {'other': rows['features']})


DAMAGES = [
    'cut', 'empty', 'text', 'flipped', 'no hashes', 'one number', 'objects', 'shorter', 'other columns',
]  # fmt: skip


@pytest.mark.parametrize('damage', DAMAGES)
def test_damaged_rows_are_one_line_that_says_what_to_remove(features, tmp_path, damage):
    with pytest.raises(Stop):
        features.run(tmp_path, stop_after=6)
    file = parts(tmp_path)[1]
    spoil(file, damage)
    with pytest.raises(UserError, match='to begin anew') as caught:
        features.run(tmp_path)
    message = str(caught.value)
    assert message.startswith(str(file)) and str(file.parent) in message.split('remove ')[1] and '\n' not in message
    shutil.rmtree(file.parent)
    assert features.run(tmp_path) == features.run(None)


def test_missing_rows_are_one_line(features, tmp_path):
    with pytest.raises(Stop):
        features.run(tmp_path, stop_after=9)
    parts(tmp_path)[1].unlink()
    with pytest.raises(UserError, match=r'rows_00000006\.npz: rows before it are missing; remove .* to begin anew'):
        features.run(tmp_path)


def test_files_of_others_and_halves_of_files_are_left_alone(features, tmp_path):
    with pytest.raises(Stop):
        features.run(tmp_path, stop_after=6)
    (parts(tmp_path)[0].parent / '.0123456789abcdef.half').write_bytes(b'half')
    assert features.run(tmp_path) == features.run(None)


def test_a_directory_that_takes_nothing_does_not_end_an_evaluation(features, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    assert features.run(tmp_path / 'file' / 'out') == features.run(None)


def test_a_disk_that_is_full_for_a_while_leaves_no_gap(tmp_path, monkeypatch):
    write = partial.files.write_atomically
    store = PartialRows(tmp_path / 'rows')

    def rows(first):
        return {'sha256': np.arange(first, first + 2), 'value': np.zeros(2)}

    def fail(path, content):
        raise OSError(28, 'No space left on device')

    store.add(rows(0))
    monkeypatch.setattr(partial.files, 'write_atomically', fail)
    store.add(rows(2))
    monkeypatch.setattr(partial.files, 'write_atomically', write)
    store.add(rows(4))
    again = PartialRows(tmp_path / 'rows')
    assert again.all_rows()['sha256'].tolist() == list(range(6))
    assert sorted(os.listdir(tmp_path / 'rows')) == ['rows_00000000.npz', 'rows_00000002.npz']
    again.remove()
    again.remove()
    assert not (tmp_path / 'rows').exists()


def test_rows_of_nothing_are_none():
    assert stack_rows([]) == {}
    assert PartialRows(epath.Path('/nowhere/at/all')).count == 0


def test_weights_that_were_exchanged_meanwhile_do_not_find_the_rows(features, tmp_path):
    """Features of two networks would be measured as if they were of one."""

    def open_others(network, weights):
        return dataclasses.replace(open_small(network, weights), sha256='1' * 64)

    with pytest.raises(Stop):
        features.run(tmp_path, stop_after=6)
    features.run(tmp_path, open_weights=open_others)
    assert features.drawn == 12
