"""What a run logs, and what becomes of the run where that fails: tried on a loop whose steps compute nothing."""

import dataclasses
import datetime
import errno
import json
import os
import pathlib
import shutil
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

import vdm_jax.experiment.run
from tests.train.fake_store import FakeStore
from tests.train.faults import Faults
from tests.train.metrics_file import lines_in
from vdm_jax import cli, media
from vdm_jax.config.experiment_file import override
from vdm_jax.errors import Failure, NotFinite, UserError
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run
from vdm_jax.train import loop, workdir
from vdm_jax.train.best_metric import parse_rule
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.checkpoint_config import CheckpointConfig
from vdm_jax.train.inspect import format_report, inspect_run
from vdm_jax.train.profiling import ProfileConfig, ProfilerWindow
from vdm_jax.train.state import TrainState

GROUPS = {
    'data': {'source': 'synthetic', 'frames': 2, 'pixels': 8},
    'model': {'depth': 2, 'width': 16, 'heads': 2, 'patch': 4},
    'train': {'steps': 8, 'batch_size': 2, 'log_every': 1, 'checkpoint_every': 0},
    'optim': {'name': 'adamw', 'schedule': 'cosine', 'learning_rate': 1e-3},
    'ema': {'decays': (0.9,)},
}
BEST = ('train.validate_every=2', 'checkpoint.best=validation_loss', 'checkpoint.keep_last=1')
LOSSES = {2: 3.0, 4: 1.0, 6: 2.0, 8: 1.5, 10: 0.5}


@pytest.fixture(scope='module')
def shared_state():
    """A state of one parameter, which costs nothing to make, save and restore, and what it looks like."""
    run = Run(experiment_from(GROUPS), jax.devices()[:1])
    params = {'kernel': jnp.ones((2, 2))}
    state = TrainState(jnp.int32(0), params, {'0.9': params}, run.programs.optimizer.init(params))
    state = jax.device_put(state, run.programs.replicated_sharding)

    def like(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=run.programs.replicated_sharding)

    return {'abstract': jax.tree.map(like, state), 'made': state}


def computes_nothing(state, batch, frozen):
    scalars = dict.fromkeys(('loss', 'grad_norm', 'update_norm', 'param_norm'), np.float32(0.5))
    return dataclasses.replace(state, step=state.step + 1), scalars | {'finite': True, 'learning_rate': 0.25}


@pytest.fixture
def run_of(shared_state, monkeypatch):
    """(assignments, step) -> a run whose steps compute nothing and whose validation losses are LOSSES."""
    monkeypatch.setattr(loop, 'validate', lambda run, state: {'validation_loss': LOSSES[int(state.step)]})
    monkeypatch.setattr(loop, 'preview', lambda run, state: np.zeros((1, 2, 8, 8, 3), np.uint8))

    def make(*assignments, step=computes_nothing):
        groups = override(GROUPS, [f'config.{each}' for each in assignments])
        run = Run(experiment_from(groups), jax.devices()[:1])
        state = {'abstract_state': shared_state['abstract'], 'init_state': lambda: shared_state['made']}
        return run.with_parts(programs=run.programs.with_programs(train_steps=[step], **state))

    return make


def steps_in(place):
    return sorted(int(path.name) for path in (epath.Path(place) / 'checkpoints').iterdir() if path.name.isdigit())


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_signal_is_obeyed_and_saved_while_nothing_can_be_logged(number, run_of, tmp_path, monkeypatch, capsys):
    """metrics.jsonl, TensorBoard, samples and a profile fail at every step: the exit code is 3, the step is there."""

    def stopping(state, batch, frozen):
        if int(state.step) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return computes_nothing(state, batch, frozen)

    def full(*_, **__):
        raise OSError(number, os.strerror(number))

    run = run_of('train.sample_every=2', 'profile.start=3', step=stopping)
    faults = Faults(monkeypatch, f'{tmp_path}/metrics.jsonl', f'{tmp_path}/tensorboard')
    faults.number = number
    monkeypatch.setattr(media, 'write_strip', full)
    monkeypatch.setattr(jax.profiler, 'start_trace', full)
    monkeypatch.setattr(vdm_jax.experiment.run, 'Run', lambda experiment: run)
    monkeypatch.setattr(cli, 'configure_jax', lambda: None)
    command = ['train', '--config=experiments/bouncing_balls.py', f'--workdir={tmp_path}']
    assert cli.main(command) == 3
    assert steps_in(tmp_path) == [6] and faults.calls
    stderr = capsys.readouterr().err
    for what in ('metrics.jsonl', 'TensorBoard', 'samples', 'config.profile'):
        assert stderr.count(f'{what}: {os.strerror(number)}') == 1, stderr
    faults.number = None
    monkeypatch.undo()


def test_a_disk_that_is_well_again_has_every_line_of_the_run(run_of, tmp_path, monkeypatch):
    faults = Faults(monkeypatch, f'{tmp_path}/metrics.jsonl', f'{tmp_path}/tensorboard')

    def failing_for_a_while(state, batch, frozen):
        faults.number = errno.ENOSPC if 2 <= int(state.step) < 5 else None
        return computes_nothing(state, batch, frozen)

    assert loop.train_run(run_of(step=failing_for_a_while), tmp_path)
    assert faults.calls
    assert [line['step'] for line in lines_in(tmp_path) if 'loss' in line] == list(range(1, 9))


def test_a_run_stopped_with_a_broken_line_in_its_metrics_resumes(run_of, tmp_path, capsys):
    assert not loop.train_run(run_of(), tmp_path, stop=lambda step: step == 4)
    path = tmp_path / 'metrics.jsonl'
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'\0' * 30 + b'\n' + b''.join(lines[1:]) + b'{"step": 6, "loss": 0.1}\n{"st')
    assert loop.train_run(run_of(), tmp_path)
    assert [line['step'] for line in lines_in(tmp_path) if 'loss' in line] == list(range(1, 9))
    assert (tmp_path / 'metrics.jsonl.broken').read_bytes() == b'\0' * 30 + b'\n{"st\n'
    assert '2 broken lines moved to metrics.jsonl.broken' in capsys.readouterr().err


@pytest.mark.parametrize('failing', ['start_trace', 'stop_trace'])
def test_a_profile_that_cannot_be_written_ends_nothing(failing, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise RuntimeError('No space left on device')

    monkeypatch.setattr(jax.profiler, 'start_trace', lambda place: None)
    monkeypatch.setattr(jax.profiler, 'stop_trace', lambda: None)
    monkeypatch.setattr(jax.profiler, failing, full)
    with ProfilerWindow(ProfileConfig(start=1, steps=2), tmp_path) as window:
        for step in range(1, 5):
            window.begin_step(step, None)
    assert capsys.readouterr().err.count('config.profile: RuntimeError: No space left') == 1


@pytest.mark.parametrize('scheme', ['', pytest.param('fake://', marks=pytest.mark.slow)])
def test_the_best_step_is_saved_kept_and_known_after_a_resume(scheme, run_of, tmp_path, capsys):
    """Validation of steps 2, 4, 6, 8 gives 3, 1, 2, 1.5: steps 2 and 4 improve on what was, and 2 need not stay."""
    place = f'{scheme}{tmp_path}'
    assert not loop.train_run(run_of(*BEST), place, stop=lambda step: step == 7)
    assert steps_in(place) == [4, 7]
    run = run_of(*BEST)
    assert loop.train_run(run, place)
    assert steps_in(place) == [4, 8]
    report = inspect_run(run, place)
    assert report['best'] == {'step': 4, 'by': 'validation_loss', 'value': 1.0} and report['step'] == 8
    assert 'best by validation_loss: 4, at 1' in format_report(report)
    with jax.set_mesh(run.mesh), Checkpoints(f'{place}/checkpoints', run.experiment.checkpoint) as checkpoints:
        assert checkpoints.restore_ema(run.programs.abstract_state, 'best')[1] == 4
    longer = run_of(*BEST, 'train.steps=10')
    assert loop.train_run(longer, place)
    assert steps_in(place) == [10]  # the newest and the best
    if scheme:
        for name in [name for name in FakeStore.objects if name.startswith(place)]:
            del FakeStore.objects[name]


@pytest.fixture(scope='module')
def validated_checkpoints(shared_state, tmp_path_factory):
    """Checkpoints of steps 2, 4 and 6 with their validations, of a run that keeps no best step."""
    place = tmp_path_factory.mktemp('validated')
    run = Run(experiment_from(GROUPS), jax.devices()[:1])
    with jax.set_mesh(run.mesh), Checkpoints(place, writes=True) as checkpoints:
        for step, loss in ((2, 3.0), (4, float('nan')), (6, 2.0)):
            checkpoints.save(
                step, shared_state['made'], {'step': step}, {'validation_loss': loss, 'validation_psnr': loss}
            )
    return place


def open_checkpoints(place, best):
    return Checkpoints(place, CheckpointConfig(best=best))


def test_the_rule_may_be_chosen_afterwards_and_what_is_not_finite_is_never_best(validated_checkpoints):
    for rule, expected in (
        ('validation_loss', (6, 2.0)),
        ('validation_loss:max', (2, 3.0)),
        ('validation_psnr', (2, 3.0)),
        ('validation_kl', None),
        (None, None),
    ):
        with open_checkpoints(validated_checkpoints, rule) as checkpoints:
            assert checkpoints.best() == expected


def test_a_best_step_that_is_not_there_is_named(validated_checkpoints, shared_state):
    with (
        open_checkpoints(validated_checkpoints, 'validation_kl') as checkpoints,
        pytest.raises(UserError, match='has validation_kl'),
    ):
        checkpoints.restore(shared_state['abstract'], 'best')
    with (
        open_checkpoints(validated_checkpoints, None) as checkpoints,
        pytest.raises(UserError, match='config.checkpoint.best is not set'),
    ):
        checkpoints.restore(shared_state['abstract'], 'best')


@pytest.mark.parametrize('damage', ['a file', 'its values', 'its values gone'])
def test_a_best_step_that_is_damaged_gives_way_to_the_next_best(damage, validated_checkpoints, tmp_path, capsys):
    place = tmp_path / 'checkpoints'
    shutil.copytree(validated_checkpoints, place)
    about = place / '6' / '_CHECKPOINT_METADATA'
    if damage == 'a file':
        file = max(filter(pathlib.Path.is_file, (place / '6').rglob('*')), key=lambda path: path.stat().st_size)
        file.write_bytes(file.read_bytes()[:-1] + b'?')
    elif damage == 'its values':
        about.write_text(about.read_text().replace('"validation_loss": 2.0', '"validation_loss": [2]'))
    else:
        about.write_bytes(b'\xff')
    with open_checkpoints(place, 'validation_loss') as checkpoints:
        assert checkpoints.best() == (2, 3.0)
    assert ('is damaged' in capsys.readouterr().err) == (damage == 'a file')


@pytest.mark.parametrize(
    'best', ['loss', 'validation_loss:', 'validation_loss:least', ':min', '', 'validation_loss:min:max']
)
def test_what_is_no_rule_is_refused(best):
    with pytest.raises(UserError, match='config.checkpoint.best='):
        CheckpointConfig(best=best)


def test_a_metric_that_never_comes_is_refused_at_the_start(run_of):
    assert str(parse_rule('validation_psnr')) == 'validation_psnr:max'
    with pytest.raises(UserError, match='set config.train.validate_every'):
        run_of('checkpoint.best=validation_loss').check()
    with pytest.raises(UserError, match='validation of this run gives validation_loss'):
        run_of('checkpoint.best=validation_fvd', 'train.validate_every=2').check()
    run_of(*BEST).check()


@pytest.mark.parametrize('text', ['best', '12'])
def test_a_step_of_the_command_line_is_a_number_or_best(text):
    from vdm_jax.cli.options import read_step

    assert read_step(text) == (text if text == 'best' else 12)


@pytest.mark.parametrize('text', ['-1', 'newest', '1.5', '٣', '9' * 20])
def test_another_step_is_refused_in_one_line(text, tmp_path, capsys):
    assert cli.main(['inspect', f'--workdir={tmp_path}', f'--step={text}']) == 2
    assert 'want the number of a step, or best' in capsys.readouterr().err


def test_a_stretched_schedule_is_reported(run_of, tmp_path, capsys):
    assert not loop.train_run(run_of(), tmp_path, stop=lambda step: step == 4)
    assert not loop.train_run(run_of('train.steps=16'), tmp_path, stop=lambda step: step == 6)
    stderr = capsys.readouterr().err
    line = (
        'config.train.steps was 8 and is 16: the cosine is stretched; from step 4 on learning_rate is 0.000854 and '
        'would have been 0.0005'
    )
    assert stderr.count(line) == 1
    assert [entry for entry in lines_in(tmp_path) if 'schedule' in entry] == [{'step': 4, 'schedule': line}]
    assert '"learning_rate": 0.25' in (tmp_path / 'metrics.jsonl').read_text()
    assert loop.explain_new_steps(tmp_path, run_of('train.steps=16'), 6) == ''  # the next start is like the last


def test_a_run_that_goes_on_says_from_where_and_when_each_time(run_of, tmp_path):
    for end in (4, 6, 8):
        loop.train_run(run_of(), tmp_path, stop=lambda step, end=end: step == end)
    lines = [entry for entry in lines_in(tmp_path) if 'resumed' in entry]
    assert [entry['step'] for entry in lines] == [4, 6]
    assert all(datetime.datetime.fromisoformat(entry['resumed']).tzinfo for entry in lines)


def test_samples_that_are_not_finite_are_in_the_metrics_too(run_of, tmp_path, monkeypatch):
    def fail(run, state):
        raise NotFinite([2, 0], 4)

    monkeypatch.setattr(loop, 'preview', fail)
    with pytest.raises(Failure, match='2 of 4 videos'):
        loop.train_run(run_of('train.sample_every=2'), tmp_path)
    assert lines_in(tmp_path)[-2:][0] == {'step': 2, 'samples_not_finite': [0, 2]}


def test_the_command_line_is_in_the_environment(run_of, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['/x/__main__.py', 'train', '--config.train.steps=8'])
    loop.train_run(run_of(), tmp_path)
    environment = json.loads((tmp_path / 'environment.json').read_text())
    assert environment['command'] == ['/x/__main__.py', 'train', '--config.train.steps=8']


def test_where_a_run_logs_may_change_between_two_starts(run_of, tmp_path):
    before = run_of().resolved
    now = run_of('log.tensorboard=false', 'log.wandb.mode=offline').resolved
    assert before['log']['wandb'] == {'mode': 'off', 'project': 'vdm_jax', 'entity': None, 'name': None}
    (tmp_path / 'checkpoints' / '4').mkdir(parents=True)
    for old in (before, {name: group for name, group in before.items() if name != 'log'}):  # a version before it
        workdir.write_run_files(tmp_path, old)
        workdir.check_workdir(tmp_path, now)
