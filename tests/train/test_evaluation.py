"""When samples of a run that trains are scored, and what becomes of it: tried on a loop whose steps compute nothing."""

import errno
import json
import math
import os
import time

import jax
import numpy as np
import pytest

from tests.train.idle_run import make_run, make_state, steps_in
from tests.train.metrics_file import curve, lines_in
from vdm_jax.errors import Failure, NotFinite, UserError
from vdm_jax.evals import runner
from vdm_jax.evals.score import Score
from vdm_jax.experiment.run import Run
from vdm_jax.train import loop
from vdm_jax.train.best_metric import METADATA, parse_rule, read_metrics
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.checkpoint_config import CheckpointConfig
from vdm_jax.train.inspect import inspect_run
from vdm_jax.train.progress import Progress

KEPT = {2: 0.25, 3: 0.5, 4: 1.0, 6: 0.5, 8: 0.75, 100: 0.0}
BATCHES = 3
EVERY_2 = 'train.evaluate_every=2'


@pytest.fixture(scope='module')
def state():
    return make_state()


class Scores:
    """What is asked of a run's scores: their steps, one after the other; `do` is called after each batch."""

    def __init__(self):
        self.steps = []
        self.do = lambda step, batch: None

    def score_average(self, run, params, workdir, step, partial, after_batch):
        self.steps.append(step)
        for batch in range(1, BATCHES + 1):
            self.do(step, batch)
            after_batch(batch, BATCHES)
        figures = {'samples': {'kept': KEPT.get(step, 0.5), 'arcs': None}, 'real': {'kept': 1.0}}
        return Score('balls3_2f', figures, {'kept': KEPT.get(step, 0.5) > 0.6}, {'step': step, 'samples': 3})


@pytest.fixture
def scores(monkeypatch):
    watched = Scores()

    def score_average(run, *args):
        return watched.score_average(run, *args)

    monkeypatch.setattr(Run, 'score_average', score_average)
    declared = {'samples_row': 'samples', 'figures': ('kept', 'keptt', 'arcs'), 'verdicts': ('kept',)}
    monkeypatch.setattr(Run, 'protocol', type('', (), declared))
    return watched


@pytest.fixture
def run_of(state, scores):
    return lambda *assignments: make_run(state, *assignments)


@pytest.mark.parametrize(
    'keys, expected',
    [
        pytest.param(('train.evaluate_every=0',), [], marks=pytest.mark.slow),
        (('train.evaluate_every=3',), [3, 6, 8]),
        pytest.param(('train.evaluate_every=4', 'train.checkpoint_every=2'), [4, 8], marks=pytest.mark.slow),
        pytest.param(('train.evaluate_every=8',), [8], marks=pytest.mark.slow),
        (('train.evaluate_every=100',), [8]),
        pytest.param(('train.evaluate_every=1', 'train.steps=1'), [1], marks=pytest.mark.slow),
    ],
)
def test_samples_are_scored_every_so_many_steps_and_at_the_last(keys, expected, run_of, scores, tmp_path):
    assert loop.train_run(run_of(*keys), tmp_path)
    assert scores.steps == expected == list(curve(tmp_path, 'evaluate/kept'))
    assert sorted(curve(tmp_path, 'evaluate_seconds')) == expected
    names = sorted(path.name.split('_')[2] for path in (tmp_path / 'evals').glob('*.json')) if expected else []
    assert names == [f'step{step}' for step in expected]


def test_figures_of_the_samples_and_verdicts_are_logged_and_what_was_not_measured_is_null(run_of, tmp_path):
    assert loop.train_run(run_of('train.evaluate_every=8'), tmp_path)
    (line,) = [line for line in lines_in(tmp_path) if 'evaluate/kept' in line]
    del line['evaluate_seconds']
    assert line == {
        'step': 8,
        'evaluate/kept': 0.75,
        'evaluate/arcs': None,
        'evaluate/verdict/kept': 1.0,
        'evaluate/passed': 1.0,
        'not_finite': {'evaluate/arcs': 'nan'},
    }
    assert read_metrics(tmp_path / 'checkpoints' / '8') == {
        'evaluate/kept': 0.75,
        'evaluate/verdict/kept': 1.0,
        'evaluate/passed': 1.0,
    }


def test_the_best_step_by_a_figure_is_saved_and_stays(run_of, tmp_path):
    keys = (EVERY_2, 'checkpoint.best=evaluate/kept:max', 'checkpoint.keep_last=1')
    assert loop.train_run(run_of(*keys), tmp_path)
    assert steps_in(tmp_path) == [4, 8]
    run = run_of(*keys)
    assert inspect_run(run, tmp_path)['best'] == {'step': 4, 'by': 'evaluate/kept:max', 'value': 1.0}
    with jax.set_mesh(run.mesh), Checkpoints(tmp_path / 'checkpoints', run.experiment.checkpoint) as checkpoints:
        assert checkpoints.restore_one(run.programs.abstract_state, 'best', '0.9')[1] == 4
    # Another rule looks at the same checkpoints, and a figure that none has is named.
    with Checkpoints(tmp_path / 'checkpoints', CheckpointConfig(best='evaluate/kept:min')) as checkpoints:
        assert checkpoints.best() == (8, 0.75)
    with Checkpoints(tmp_path / 'checkpoints', CheckpointConfig(best='evaluate/arcs:min')) as checkpoints:
        assert checkpoints.best() is None


@pytest.mark.slow
def test_validation_and_scores_stand_in_one_checkpoint(run_of, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, 'validate', lambda run, state: {'validation_loss': 2.0})
    assert loop.train_run(run_of('train.evaluate_every=8', 'train.validate_every=4'), tmp_path)
    metrics = read_metrics(tmp_path / 'checkpoints' / '8')
    assert metrics['validation_loss'] == 2.0 and metrics['evaluate/kept'] == 0.75


def test_checkpoints_of_earlier_versions_have_their_validation(tmp_path):
    (tmp_path / METADATA).write_text(json.dumps({'custom_metadata': {'validation': {'validation_loss': 0.5}}}))
    assert read_metrics(tmp_path) == {'validation_loss': 0.5}


@pytest.mark.parametrize('best', ['evaluate/kept', 'evaluate/', 'evaluate/:max', 'evaluate:max', 'evaluate/kept:most'])
def test_a_rule_that_leaves_open_what_is_better_is_refused(best):
    with pytest.raises(UserError, match='config.checkpoint.best='):
        CheckpointConfig(best=best)


def test_a_rule_by_a_score_wants_scores(run_of):
    assert str(parse_rule('evaluate/frechet:min')) == 'evaluate/frechet:min'
    with pytest.raises(UserError, match='evaluate/kept:max: nothing is scored; set config.train.evaluate_every'):
        run_of('checkpoint.best=evaluate/kept:max', 'train.validate_every=2').check()


def test_a_figure_that_the_protocol_does_not_declare_is_refused_before_training(run_of, monkeypatch):
    monkeypatch.setattr('vdm_jax.experiment.scoring.check', lambda run: None)
    monkeypatch.setattr('vdm_jax.experiment.validate.check_pictures', lambda data: None)
    for name in ('kept', 'arcs', 'verdict/kept', 'passed'):
        run_of(EVERY_2, f'checkpoint.best=evaluate/{name}:max').check()
    message = 'evaluate/kepd:max: scores of this run give evaluate/kept, .*, evaluate/verdict/kept, evaluate/passed'
    with pytest.raises(UserError, match=message) as caught:
        run_of(EVERY_2, 'checkpoint.best=evaluate/kepd:max').check()
    assert 'evaluate_every' not in str(caught.value)


def test_a_figure_that_no_score_has_ends_the_run_at_its_first_score(run_of, scores, tmp_path):
    with pytest.raises(UserError, match='step 2, which is saved: .*keptt:max: scores .* give evaluate/kept, '):
        loop.train_run(run_of(EVERY_2, 'checkpoint.best=evaluate/keptt:max'), tmp_path)
    assert steps_in(tmp_path) == [2]
    assert loop.train_run(run_of(EVERY_2, 'checkpoint.best=evaluate/kept:max'), tmp_path)
    # The step that was saved has its score, which is not made anew.
    assert scores.steps == [2, 4, 6, 8]


@pytest.mark.parametrize(
    'error, kind',
    [
        (UserError('it lost count'), UserError),
        pytest.param(NotFinite([1], 3), Failure, marks=pytest.mark.slow),
        pytest.param(ZeroDivisionError('no balls'), ZeroDivisionError, marks=pytest.mark.slow),
    ],
)
def test_a_protocol_that_fails_midway_leaves_the_step_and_is_made_up_for(error, kind, run_of, scores, tmp_path):
    def fail(step, batch):
        if step == 4 and batch == 2:
            raise error

    scores.do = fail
    with pytest.raises(kind) as raised:
        loop.train_run(run_of(EVERY_2), tmp_path)
    assert 'step 4, which is saved' in str(raised.value) + str(getattr(raised.value, '__notes__', ''))
    assert steps_in(tmp_path) == [4]
    scores.do = lambda step, batch: None
    assert loop.train_run(run_of(EVERY_2), tmp_path)
    assert scores.steps == [2, 4, 4, 6, 8] and list(curve(tmp_path, 'evaluate/kept')) == [2, 4, 6, 8]


@pytest.mark.parametrize('at', [pytest.param(4, marks=pytest.mark.slow), 8])
def test_a_run_that_is_stopped_amid_a_score_saves_and_makes_it_up(at, run_of, scores, tmp_path, capsys):
    stops = []

    def ask(step, batch):
        if step == at and batch == 2:
            stops.append(step)

    scores.do = ask
    # Not done, though it may be the last step: its score is owed.
    assert not loop.train_run(run_of(EVERY_2), tmp_path, stop=lambda step: bool(stops))
    assert steps_in(tmp_path)[-1] == at and at not in curve(tmp_path, 'evaluate/kept')
    assert f'step {at}: the evaluation is left, and goes on when the run does' in capsys.readouterr().err
    scores.do = lambda step, batch: None
    assert loop.train_run(run_of(EVERY_2), tmp_path)
    assert curve(tmp_path, 'evaluate/kept') == {step: KEPT[step] for step in (2, 4, 6, 8)}


@pytest.mark.slow
def test_a_stop_amid_the_last_batch_loses_no_score(run_of, scores, tmp_path):
    stops = []
    scores.do = lambda step, batch: stops.append(step) if (step, batch) == (4, BATCHES) else None
    assert not loop.train_run(run_of(EVERY_2), tmp_path, stop=lambda step: bool(stops))
    assert 4 in curve(tmp_path, 'evaluate/kept')


@pytest.mark.slow
def test_a_score_that_is_due_at_a_stop_is_made_up_too(run_of, scores, tmp_path):
    assert not loop.train_run(run_of(EVERY_2), tmp_path, stop=lambda step: step == 4)
    assert scores.steps == [2]
    assert loop.train_run(run_of(EVERY_2), tmp_path)
    assert scores.steps == [2, 4, 6, 8]


@pytest.mark.slow
def test_a_finished_run_is_scored_once(run_of, scores, tmp_path):
    assert loop.train_run(run_of(EVERY_2), tmp_path)
    assert loop.train_run(run_of(EVERY_2), tmp_path)
    assert scores.steps == [2, 4, 6, 8]


@pytest.mark.slow
def test_the_schedule_may_change_between_two_starts(run_of, scores, tmp_path):
    assert not loop.train_run(run_of(), tmp_path, stop=lambda step: step == 5)
    assert loop.train_run(run_of('train.evaluate_every=3', 'evaluate.sampler.steps=2'), tmp_path)
    assert scores.steps == [6, 8]


def test_a_score_that_cannot_be_written_ends_nothing(run_of, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(runner, 'write', full)
    assert loop.train_run(run_of(EVERY_2), tmp_path)
    assert capsys.readouterr().err.count('evals: No space left on device; training goes on without') == 1
    assert list(curve(tmp_path, 'evaluate/kept')) == [2, 4, 6, 8]


def test_the_time_of_a_score_is_that_of_no_step(run_of, scores, tmp_path):
    scores.do = lambda step, batch: time.sleep(0.06) if step == 4 else None
    assert loop.train_run(run_of(EVERY_2), tmp_path)
    assert curve(tmp_path, 'evaluate_seconds')[4] > 0.17
    lines = [line for line in lines_in(tmp_path) if 'waited_for_data' in line]
    for line in lines:
        checkpoint = line['step'] == 1  # the first step compiles
        assert checkpoint or line['seconds'] < 0.16 and line['waited_for_data'] < 0.16, line


def test_videos_a_second_leave_out_what_is_no_step(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])
    progress = Progress(100, 0, 32)
    progress.leave_out(5.0)  # before the clock runs
    progress.show(1, 0.5)
    now[0] = 30.0
    progress.leave_out(20.0)
    progress.show(11, 0.5)
    assert '32.0 videos/s' in capsys.readouterr().err


def test_a_score_has_the_row_that_its_protocol_calls_the_samples():
    score = Score('x', {'one sample': {'mse': 2.0}, 'mean': {'mse': math.nan}}, {}, {})
    from vdm_jax.train.evaluation import list_metrics

    assert list_metrics(score, 'one sample') == {'evaluate/mse': 2.0}
    assert np.isnan(list_metrics(score, 'mean')['evaluate/mse'])
