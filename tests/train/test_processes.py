"""Several real processes on one machine: the run they make is that of one process, stopped and gone on with or not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from tests.train.metrics_file import curve
from tests.train.one_of_several import noting
from tests.train.processes import ENDURANCE, Processes, rows
from vdm_jax import cli
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.train import loop
from vdm_jax.train.checkpoint import Checkpoints

ROOT = Path(__file__).parents[2]
BALLS = 'experiments/bouncing_balls.py'
# A batch that neither two nor four processes divide; Adam makes as much of a rounding error near zero as of a gradient,
# hence its small steps.
SMALL = [
    f'--config.{item}'
    for item in (
        'model.depth=1', 'model.layout=full', 'model.width=16', 'model.heads=2', 'model.patch=4', 'model.time_patch=1',
        'data.frames=2', 'data.pixels=8', 'data.size=64', 'train.batch_size=3', 'train.log_every=1', 'train.steps=40',
        'train.checkpoint_every=40', 'train.sample_every=4', 'train.sample_count=3', 'train.validate_every=4',
        'train.validate_batches=2', 'sampler.steps=2', 'optim.name=adamw', 'optim.warmup_steps=1',
        'optim.learning_rate=1e-4', 'ema.decays=0.9',
    )
]  # fmt: skip


def params(run, place):
    with jax.set_mesh(run.mesh), Checkpoints(place / 'checkpoints') as checkpoints:
        state, _ = checkpoints.restore(run.programs.abstract_state)
    return jax.device_get(state.params)


@pytest.fixture(scope='module')
def run():
    return Run(read_experiment(BALLS, SMALL), jax.devices()[:1])


def run_in_one_process(run, place, seen):
    """One process, in this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, 'batches', noting(loop.batches, seen, 0.0))
        assert loop.train_run(run, place)


@pytest.fixture(scope='module')
def expected_run(run, tmp_path_factory):
    """A run of one process from beginning to end: (its directory, the rows it saw)."""
    place = tmp_path_factory.mktemp('undisturbed')
    run_in_one_process(run, place / 'run', place / 'seen')
    return place / 'run', rows([place / 'seen'])


def same(run, place, seen, expected_run, stops):
    """Whether a run saw, learned and wrote what the undisturbed one did; it did not validate where it was stopped."""
    other, expected = expected_run
    assert rows(seen) == expected
    assert curve(place, 'loss') == pytest.approx(curve(other, 'loss'), rel=1e-5)
    validated = {step: loss for step, loss in curve(other, 'validation_loss').items() if step not in stops}
    assert curve(place, 'validation_loss') == pytest.approx(validated, rel=1e-5)
    pictures = [np.asarray(Image.open(where / 'samples' / 'step_000004.png'), int) for where in (place, other)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), params(run, place), params(run, other))


def test_two_processes_are_stopped_by_a_signal_to_one_and_one_process_resumes(run, expected_run, tmp_path):
    """The signal comes as Orbax ends a save, for which it asks jax's own service for being stopped about an old step,
    and the other process is a step behind."""
    place = tmp_path / 'run'
    argv = ('train', f'--config={BALLS}', f'--workdir={tmp_path}/run', *SMALL)
    late = {0: {'SIGTERM_AT': 'committed'}, 1: {'LATE_AT': '7'}}
    often = ('--config.train.checkpoint_every=5', '--config.checkpoint.keep_last=1')
    with Processes(2, tmp_path, *argv, *often, seconds=0.2, environments=late) as both:
        ends = both.ends()
    assert [code for code, *_ in ends] == [3, 3], ends
    assert 'starting at step 0' in ends[0][2] and 'step' not in ends[1][2]  # only the primary process prints
    (step,) = (int(path.name) for path in (place / 'checkpoints').iterdir())
    assert sorted(curve(place, 'loss')) == list(range(1, step + 1))  # and one writes
    assert {path.name for path in (place / 'checkpoints' / str(step)).glob('manifest*')} == {
        'manifest_0_of_2.json', 'manifest_1_of_2.json'
    }  # fmt: skip
    read = [{row for at, row, _ in map(json.loads, file.read_text().splitlines())} for file in both.seen]
    assert read == [{0, 1}, {2, 0}]  # each reads its share; the batch of three is filled up with its first row
    assert max(at for at, _ in rows(both.seen)) == step - 1 and 5 <= step < 40
    run_in_one_process(run, place, tmp_path / 'seen')
    same(run, place, [*both.seen, tmp_path / 'seen'], expected_run, [step])


@pytest.mark.slow
def test_a_signal_while_they_restore_stops_them_where_they_stand(expected_run, tmp_path):
    shutil.copytree(expected_run[0], place := tmp_path / 'run')
    argv = ('train', f'--config={BALLS}', f'--workdir={place}', *SMALL, '--config.train.steps=400')
    with Processes(2, tmp_path, *argv, seconds=0.2, environments={1: {'SIGTERM_AT': 'restoring'}}) as both:
        ends = both.ends()
    assert [code for code, *_ in ends] == [3, 3] and 'resuming at step 40' in ends[0][2], ends
    assert [path.name for path in (place / 'checkpoints').iterdir()] == ['40']


@pytest.mark.slow
def test_four_processes_then_two_then_one(run, expected_run, tmp_path):
    """Stopped twice, each time by a signal to another process; two sample and score what one samples and scores.

    The four split the weights too; the two split the heads, so that both read all rows.
    """
    place = tmp_path / 'run'
    argv = ('train', f'--config={BALLS}', f'--workdir={tmp_path}/run', *SMALL)
    seen = []
    stops = []
    for count, number, step, mesh, how in ((4, 0, 5, 'fsdp=2', signal.SIGTERM), (2, 1, 12, 'tensor=2', signal.SIGINT)):
        with Processes(count, tmp_path, *argv, f'--config.mesh.{mesh}', seconds=0.2) as several:
            several.stop(number, place / 'metrics.jsonl', step, how)
            ends = several.ends()
            assert [code for code, *_ in ends] == [3] * count, ends[0][2][-3000:]
            seen += several.seen
            stops.append(max(int(path.name) for path in (place / 'checkpoints').iterdir()))
        read = [{row for _, row in rows([file])} for file in several.seen]
        assert read == ([{0}, {1}, {2}, {0}] if count == 4 else [{0, 1, 2}] * 2)
    run_in_one_process(run, place, tmp_path / 'seen')
    same(run, place, [*seen, tmp_path / 'seen'], expected_run, stops)

    score = ('evaluate', f'--workdir={place}', '--protocol=recall', '--config.evaluate.real=8', '--json')
    clips = ('sample', f'--workdir={place}', '--num=3')
    for name, argv in (('scores', score), ('clips', clips)):
        with Processes(2, tmp_path, *argv, f'--out={tmp_path}/{name}_of_two') as both:
            ends = both.ends()
        assert [code for code, *_ in ends] == [0, 0] and ends[1][1] == '', ends
        output = ends[0][1]
        assert output.startswith('3 videos') if name == 'clips' else json.loads(output)['name'] == 'recall2_2f', ends
        assert cli.main([*argv, f'--out={tmp_path}/{name}_of_one']) == 0
    figures, other = (
        json.loads(next((tmp_path / f'scores_of_{count}').iterdir()).read_text())['figures']['samples']
        for count in ('one', 'two')
    )
    assert figures == pytest.approx(other, rel=1e-3)
    pictures = [
        np.asarray(Image.open(next((tmp_path / f'clips_of_{count}').glob('*.png'))), int) for count in ('one', 'two')
    ]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_one_process_of_several_needs_all_variables(monkeypatch, capsys):
    monkeypatch.setenv('JAX_NUM_PROCESSES', '2')
    assert cli.main(['train', f'--config={BALLS}', '--workdir=W']) == 2
    stderr = capsys.readouterr().err
    assert stderr.count('\n') == 1 and 'JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID is not' in stderr


@pytest.mark.parametrize(
    'name, value, message',
    [
        ('JAX_COORDINATOR_ADDRESS', 'localhost', 'HOST:PORT'),
        ('JAX_NUM_PROCESSES', 'two', 'how many'),
        ('JAX_PROCESS_ID', 'first', 'from 0 on'),
        ('JAX_PROCESS_ID', '2', 'less than JAX_NUM_PROCESSES=2'),
    ],
)
def test_a_variable_that_is_wrong_is_named(name, value, message, monkeypatch, capsys):
    variables = {'JAX_COORDINATOR_ADDRESS': 'localhost:1', 'JAX_NUM_PROCESSES': '2', 'JAX_PROCESS_ID': '0'} | {
        name: value
    }
    for variable, setting in variables.items():
        monkeypatch.setenv(variable, setting)
    assert cli.main(['train', f'--config={BALLS}', '--workdir=W']) == 2
    stderr = capsys.readouterr().err
    assert stderr.count('\n') == 1 and f'{name}={value}: want ' in stderr and message in stderr


@pytest.mark.slow
def test_where_jax_detects_no_cluster_the_error_names_what_to_set(tmp_path):
    process = subprocess.run(
        [sys.executable, '-m', 'vdm_jax', 'train', f'--config={BALLS}', f'--workdir={tmp_path}/run', '--distributed'],
        cwd=ROOT, env=os.environ | {'JAX_PLATFORMS': 'cpu'}, capture_output=True, text=True, timeout=ENDURANCE,
    )  # fmt: skip
    assert process.returncode == 2 and process.stderr.count('\n') == 1 and 'JAX_PROCESS_ID' in process.stderr, process


def damage_newest_step(place):
    """Flips a bit in the largest file of the newest step."""
    newest = max((place / 'checkpoints').iterdir(), key=lambda path: int(path.name))
    file = max(newest.rglob('*'), key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.slow
def test_mistakes_and_damage_end_all_of_several_processes(run, expected_run, tmp_path):
    """Nobody waits for one that has left: exit code 2 on each process, within a minute."""
    shutil.copytree(expected_run[0], place := tmp_path / 'run')
    damage_newest_step(place)
    argv = ('train', f'--config={BALLS}', f'--workdir={place}', *SMALL)
    for more, message in (
        (['--config.seed=3'], "another experiment's run"),
        (['--config.checkpoint.fallback=fail'], '40 is damaged'),
        ([], 'every checkpoint is damaged'),
        (['--config.mesh.data=5'], 'does not make up the 2 devices found'),
    ):
        began = time.monotonic()
        with Processes(2, tmp_path, *argv, *more) as both:
            ends = both.ends()
        assert [code for code, *_ in ends] == [2, 2] and all(message in err for _, _, err in ends), ends
        assert time.monotonic() - began < 60


@pytest.mark.slow
def test_a_mistake_of_one_process_ends_all_of_several(tmp_path):
    argv = ('train', f'--config={BALLS}', f'--workdir={tmp_path}/run', *SMALL)
    for wrong, message in (
        ('--config.seed=3', 'config.seed is 0 for process 0 and 3 for process 1'),
        ('--config.train.nonsense=3', 'process 1: '),
        (f'--workdir={tmp_path}/other', '--workdir is '),
    ):
        began = time.monotonic()
        with Processes(2, tmp_path, *argv, options={1: [wrong]}) as both:
            ends = both.ends()
        assert [code for code, *_ in ends] == [2, 2] and all(message in err for _, _, err in ends), ends
        assert time.monotonic() - began < 60 and not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_two_set_a_damaged_step_aside_and_name_one_they_cannot_read(expected_run, tmp_path):
    shutil.copytree(expected_run[0], place := tmp_path / 'run')
    longer = [*SMALL, '--config.train.steps=44']
    assert loop.train_run(Run(read_experiment(BALLS, longer), jax.devices()[:1]), place)
    damage_newest_step(place)
    argv = ('train', f'--config={BALLS}', f'--workdir={place}', *longer)
    with Processes(2, tmp_path, *argv) as both:
        ends = both.ends()
    assert [code for code, *_ in ends] == [0, 0] and 'resuming at step 40' in ends[0][2], ends
    steps = sorted(path.name for path in (place / 'checkpoints').iterdir())
    assert steps == ['40', '44', '44.damaged']
    with jax.set_mesh(jax.make_mesh((1,), ('x',))), Checkpoints(place / 'checkpoints') as checkpoints:
        assert checkpoints.integrity(44).verdict == 'intact'

    for manifest in (place / 'checkpoints' / '44').glob('manifest*'):
        manifest.unlink()
    for file in (place / 'checkpoints' / '44').rglob('d/*'):
        file.write_bytes(b'')
    with Processes(2, tmp_path, *argv) as both:
        ends = both.ends()
    assert [code for code, *_ in ends] == [2, 2] and all('cannot be read' in err for _, _, err in ends), ends


@pytest.mark.slow
def test_two_that_sample_end_on_ctrl_c(expected_run, tmp_path):
    """Both stop, though only one gets the signal."""
    argv = ('sample', f'--workdir={expected_run[0]}', '--num=2000', '--steps=900', f'--out={tmp_path}/clips')
    with Processes(2, tmp_path, *argv, environments={1: {'SIGINT_AFTER': '1'}}) as both:
        began = time.monotonic()
        ends = both.ends()
    assert ends[1][0] == 130 and ends[1][2].endswith('vdm_jax: stopped\n') and ends[0][0] != 0, ends
    assert time.monotonic() - began < 120


@pytest.mark.slow
def test_a_process_that_fails_ends_the_others(tmp_path):
    began = time.monotonic()
    argv = ('train', f'--config={BALLS}', f'--workdir={tmp_path}/run', *SMALL)
    with Processes(2, tmp_path, *argv, environments={1: {'FAILS_AT': '5'}}) as both:
        ends = both.ends()
    assert ends[1][0] == 2 and ends[1][2].count('its disk is gone') == 1 and ends[0][0] not in (0, 2, 3), ends
    assert time.monotonic() - began < 120


@pytest.mark.slow
@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGSTOP], ids=['killed', 'hanging'])
@pytest.mark.parametrize('number', [0, 1])
def test_what_becomes_of_two_of_which_one_is_gone(number, how, tmp_path):
    """L8: the other one ends within minutes, with a code that has a supervisor start again (docs/launch.md)."""
    argv = ('train', f'--config={BALLS}', f'--workdir={tmp_path}/run', *SMALL, '--config.train.steps=4000')
    with Processes(2, tmp_path, *argv) as both:
        both.stop(number, tmp_path / 'run' / 'metrics.jsonl', 5, how)
        began = time.monotonic()
        other = both.processes[1 - number]
        code = other.wait(timeout=ENDURANCE)
        print(f'process {number} {how.name}: the other one ended with {code} after {time.monotonic() - began:.1f} s')
    assert code in (1, -signal.SIGABRT)
