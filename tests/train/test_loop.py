"""A run from start to end: what is written, what is refused, and that going on is the same as never stopping."""

import dataclasses
import io
import itertools
import json
import pathlib
import time
import types

import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image

from tests.train.event_files import records
from tests.train.fake_store import FakeStore
from tests.train.metrics_file import lines_in
from tests.train.small_run import SMALL, prints
from vdm_jax import cli
from vdm_jax.config.experiment_file import override
from vdm_jax.data.clip_batches import batch_of
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_dict, experiment_from, read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.parallel.mesh import MeshConfig, to_global
from vdm_jax.train import loop, resume, workdir
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.checkpoint_config import CheckpointConfig
from vdm_jax.train.ema import first
from vdm_jax.train.fingerprint import fingerprint
from vdm_jax.train.finite import CHECKED_SCALARS
from vdm_jax.train.loggers.logger import Logger
from vdm_jax.train.metrics import Metrics
from vdm_jax.train.progress import NullProgress, Progress
from vdm_jax.train.run_log import RunLog


@pytest.fixture(scope='module')
def run():
    return Run(read_experiment('experiments/bouncing_balls.py', SMALL), jax.devices()[:1])


@pytest.fixture(scope='module')
def finished_run(run, tmp_path_factory):
    place = tmp_path_factory.mktemp('run')
    assert loop.train_run(run, place)
    return place


def test_a_run_directory_holds_what_it_says(run, finished_run):
    files = {path.relative_to(finished_run).as_posix() for path in finished_run.rglob('*') if path.is_file()}
    assert {
        'config.json',
        'environment.json',
        'metrics.jsonl',
        'samples/step_000004.png',
        'samples/step_000006.png',
    } <= files
    assert sorted(path.name for path in (finished_run / 'checkpoints').iterdir()) == ['4', '6']
    lines = lines_in(finished_run)
    assert [line['step'] for line in lines if 'loss' in line] == [1, 2, 3, 4, 5, 6]
    held_out = [line for line in lines if 'validation_loss' in line]
    assert [line['step'] for line in held_out] == [3, 6]
    for line in held_out:  # and by the time of each frame: every frame lies in one of ten parts
        parts = {name: value for name, value in line.items() if name.startswith('validation_loss_t/')}
        assert parts and min(parts.values()) <= line['validation_loss'] <= max(parts.values())
        assert set(parts) <= {f'validation_loss_t/{(i + 1) / 10}' for i in range(10)}
    assert {'grad_norm', 'param_norm', 'update_norm', 'waited_for_data'} <= set(lines[0])
    Image.open(finished_run / 'samples' / 'step_000006.png').verify()
    assert json.loads((finished_run / 'environment.json').read_text())['packages']['jax'] == jax.__version__


def test_nothing_compiles_twice(run, finished_run):
    assert run.programs.train_step._cache_size() == 1 and run.programs.validation_step._cache_size() == 1


def test_tensorboard_has_curves_and_moving_pictures(finished_run):
    from tensorboardX.proto.event_pb2 import Event

    curves = {}
    clips = []
    for file in sorted((finished_run / 'tensorboard').iterdir()):
        for record in records(file):
            event = Event.FromString(record)
            for value in event.summary.value:
                if value.HasField('image'):
                    clips.append(Image.open(io.BytesIO(value.image.encoded_image_string)))
                else:
                    curves.setdefault(value.tag, []).append(event.step)
    assert curves['loss'] == [1, 2, 3, 4, 5, 6] and curves['validation_loss'] == [3, 6]
    assert len(clips) == 2 and clips[0].format == 'GIF' and clips[0].size == (24, 12)


def test_a_relative_run_directory_is_as_good(run, finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert loop.train_run(run, 'some/run')
    assert prints(run, 'some/run') == prints(run, finished_run) == prints(run, tmp_path / 'some' / 'run')


@pytest.mark.parametrize('scheme', ['', 'fake://'])
def test_a_run_stopped_and_resumed_equals_an_uninterrupted_one(run, finished_run, scheme, tmp_path):
    place = scheme + str(tmp_path)
    calls = itertools.count()
    assert not loop.train_run(run, place, lambda step: next(calls) >= 3)  # asked to stop before the fourth step
    assert prints(run, place)['step'] == 3
    assert loop.train_run(run, place)
    assert prints(run, place) == prints(run, finished_run)

    def loss(place):
        return [(line['step'], line['loss']) for line in lines_in(place) if 'loss' in line]

    assert loss(place) == loss(finished_run)


def test_a_stop_is_saved_without_any_cadence_too(run, tmp_path):
    quiet = dataclasses.replace(run.experiment.train, checkpoint_every=0, sample_every=0, validate_every=0)
    other = Run(dataclasses.replace(run.experiment, train=quiet), jax.devices()[:1])
    other = other.with_parts(programs=run.programs)
    calls = itertools.count()
    assert not loop.train_run(other, tmp_path, lambda step: next(calls) >= 3)
    assert prints(run, tmp_path)['step'] == 3


def test_a_remote_run_directory_is_complete(run, capsys):
    place = epath.Path('fake://bucket/run')
    assert loop.train_run(run, place)
    names = {name.removeprefix(f'{place}/').split('/')[0] for name in FakeStore.objects if name.startswith(f'{place}/')}
    assert names == {'config.json', 'environment.json', 'metrics.jsonl', 'tensorboard', 'checkpoints', 'samples'}
    assert sorted(path.name for path in (place / 'checkpoints').iterdir()) == ['4', '6']  # the older ones are gone
    assert cli.main(['inspect', f'--workdir={place}', '--json']) == 0
    assert json.loads(capsys.readouterr().out)['step'] == 6
    assert cli.main(['sample', f'--workdir={place}', '--num=2', '--seed=3']) == 0
    for ending in ('mp4', 'gif', 'png'):
        assert FakeStore.objects[f'{place}/samples/step_000006_num2_seed3.{ending}']
    marker = f'{place}/checkpoints/6/vdm_jax_committed'
    # Without the marker it is like a copy, and the step is complete.
    assert FakeStore.objects.pop(marker) == b'' and prints(run, place)['step'] == 6
    step = [name for name in FakeStore.objects if name.startswith(f'{place}/checkpoints/6/')]  # not of other tests
    del FakeStore.objects[max(step, key=lambda name: len(FakeStore.objects[name]))]
    assert prints(run, place)['step'] == 4  # as if killed while uploading


def test_only_the_ema_is_restored(run, finished_run):
    with jax.set_mesh(run.mesh), Checkpoints(finished_run / 'checkpoints') as checkpoints:
        ema, step = checkpoints.restore_ema(run.programs.abstract_state)
        state, _ = checkpoints.restore(run.programs.abstract_state)
        with pytest.raises(UserError, match='no checkpoint 5'):
            checkpoints.restore(run.programs.abstract_state, 5)
    assert step == 6 and set(ema) == {'0.9', '0.5'}
    assert fingerprint(ema) == fingerprint(state.ema) != fingerprint(state.params)


def test_the_first_decay_is_the_one_that_is_used(run):
    averages = {'0.5': 'second', '0.9': 'first'}  # jax sorts the keys of dicts
    assert first(run.experiment.ema, averages) == 'first'


def test_kept_steps():
    config = CheckpointConfig(keep_last=2, keep_every=4)
    assert [step for step in range(1, 11) if config.keeps(step, list(range(1, 11)))] == [4, 8, 9, 10]


def test_fingerprints_see_one_bit():
    tree = {'a': np.zeros((3, 2), np.float32), 'b': {'c': np.arange(3)}}
    other = {'a': tree['a'].copy(), 'b': tree['b']}
    assert fingerprint(tree) == fingerprint(other)
    other['a'].view(np.uint32)[1, 1] ^= 1
    assert fingerprint(tree) != fingerprint(other)
    assert fingerprint({'a': tree['a']}) != fingerprint({'a': tree['a'].reshape(2, 3)})


@pytest.mark.parametrize('change', ['--config.optim.learning_rate=0.5', '--config.data.frames=4', '--config.seed=1'])
def test_another_experiment_s_run_is_left_unchanged(run, finished_run, change):
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob('*')}
    other = read_experiment('experiments/bouncing_balls.py', [*SMALL, change])
    with pytest.raises(UserError, match=f'{finished_run}.*{change.split("=")[0][2:]}'):
        loop.train_run(Run(other, jax.devices()[:1]), finished_run)
    assert {path: path.stat().st_mtime_ns for path in finished_run.rglob('*')} == before


def test_a_run_may_get_longer_but_not_shorter_than_it_is(run, finished_run):
    longer, shorter = (dict(run.resolved, train=run.resolved['train'] | {'steps': steps}) for steps in (9, 5))
    workdir.check_workdir(finished_run, longer)
    with pytest.raises(UserError, match='config.train.steps=5: .* at step 6 already'):
        workdir.check_workdir(finished_run, shorter)


def test_a_config_without_any_checkpoint_may_be_replaced(run, tmp_path):
    workdir.write_run_files(tmp_path, run.resolved)
    workdir.check_workdir(tmp_path, dict(run.resolved, seed=7))


def test_other_clips_are_another_run(run, finished_run, tmp_path):
    """A file more or less in a folder, and the order of the clips is another one: an error and no resume."""
    other = Run(
        dataclasses.replace(run.experiment, data=dataclasses.replace(run.data.source, size=65)), jax.devices()[:1]
    )
    other = other.with_parts(programs=run.programs)
    before = (finished_run / 'config.json').read_bytes()
    with jax.set_mesh(run.mesh), Checkpoints(finished_run / 'checkpoints') as checkpoints:
        assert resume.begin(run, checkpoints)[1:] == (6, 0)
        with pytest.raises(
            UserError, match='its data differ: clips was 64 and is 65 now; config.data.size was 64 and is 65 now'
        ):
            resume.begin(other, checkpoints)
    assert (finished_run / 'config.json').read_bytes() == before


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(run, tmp_path):
    scalars = dict.fromkeys(CHECKED_SCALARS, jax.numpy.nan) | {'finite': False}

    def broken(state, batch, frozen):
        return (state, scalars)

    other = Run(run.experiment, jax.devices()[:1])
    other = other.with_parts(programs=run.programs.with_programs(train_steps=[broken]))
    with pytest.raises(UserError, match='step 1: loss is nan'):
        loop.train_run(other, tmp_path)
    with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
        assert checkpoints.steps() == []


def test_reading_checkpoints_removes_nothing(run, finished_run):
    """What a reader finds half written may be a save on its way; only the one that trains clears it up."""
    half = finished_run / 'checkpoints' / '8.orbax-checkpoint-tmp-0'
    (half / 'params').mkdir(parents=True)
    prints(run, finished_run)
    assert half.exists()
    with Checkpoints(finished_run / 'checkpoints', writes=True):
        deadline = time.monotonic() + 30
        while half.exists() and time.monotonic() < deadline:  # Orbax clears up in a thread of its own
            time.sleep(0.01)
    assert not half.exists()


def test_going_on_never_writes_old_metrics_anew(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4}\n{"step": 3, "loss"')
    for start, left in ((2, [1, 2]), (1, [1])):
        Metrics(tmp_path, start)  # killed before it wrote anything
        assert [line['step'] for line in lines_in(tmp_path)] == left


def test_files_that_another_process_could_not_take_are_named_by_it(run, monkeypatch, capsys):
    reader = types.SimpleNamespace(problem_files=lambda: {'broken': ['a.mp4']})
    about = types.SimpleNamespace(data=types.SimpleNamespace(reader=reader), experiment=run.experiment)
    log = RunLog(about, Logger(), NullProgress(), None, None)
    monkeypatch.setattr(jax, 'process_index', lambda: 1)
    log.files(1), log.files(2)
    assert capsys.readouterr().err == 'process 1: data: 1 broken: a.mp4\n'


def test_what_is_due_at_a_stop_is_left_for_the_save(run, tmp_path):
    """Unless it is the last step, there is time for nothing else."""
    assert not loop.train_run(run, tmp_path, stop=lambda step: step == 3)
    lines = lines_in(tmp_path)
    assert not any('validation_loss' in line for line in lines) and (tmp_path / 'checkpoints' / '3').exists()
    assert loop.train_run(run, tmp_path, stop=lambda step: step == 6)
    lines = lines_in(tmp_path)
    assert [line['step'] for line in lines if 'validation_loss' in line] == [6]


def test_the_progress_line_has_step_loss_rate_and_time_left(monkeypatch):
    clock = iter((0.0, 10.0, 20.0))
    monkeypatch.setattr('vdm_jax.train.progress.time', types.SimpleNamespace(monotonic=lambda: next(clock)))
    stream = io.StringIO()
    progress = Progress(100, 0, 32, stream)
    for step in (1, 11, 21):
        progress.show(step, 0.25)
    last = stream.getvalue().splitlines()[-1]
    assert 'step 21/100' in last and 'loss 0.2500' in last and '32.0 videos/s' in last and '1:19 left' in last


def test_a_machine_without_git_records_no_commit(monkeypatch):
    assert workdir.describe_environment()['commit'] or not pathlib.Path('.git').exists()
    monkeypatch.setenv('PATH', '')
    assert workdir.describe_environment()['commit'] is None


IMAGES_IN_WINDOWS = [
    '--config.model.layout=windows', '--config.model.windows=2x2x2,3x3x3',
    '--config.model.modulation=adaln_lora', '--config.diffusion.per_frame=true',
]  # fmt: skip


@pytest.mark.multidevice
@pytest.mark.parametrize('more', [[], pytest.param(IMAGES_IN_WINDOWS, marks=pytest.mark.slow)], ids=['plain', 'images'])
def test_noise_and_loss_do_not_depend_on_the_mesh(run, more):
    """One step on one device and on four (two ways of splitting the batch and the weights)."""
    results = []
    experiment = run.experiment
    if more:
        groups = experiment_dict(experiment)
        balls = groups['data']
        groups['data'] = {'source': 'joint_images', 'clips': balls, 'images': balls, 'count': 2}
        experiment = experiment_from(override(groups, more))
    for mesh, devices in ((MeshConfig(), 1), (MeshConfig(data=2, fsdp=2), 4)):
        other = Run(dataclasses.replace(experiment, mesh=mesh), jax.devices()[:devices])
        with jax.set_mesh(other.mesh):
            state, scalars = other.programs.train_step(
                other.programs.init_state(), to_global(batch_of(other.data.reader, range(4)), other.mesh)
            )
            state, scalars = other.programs.train_step(
                state, to_global(batch_of(other.data.reader, range(4, 8)), other.mesh)
            )
            shardings = {str(leaf.sharding.spec) for leaf in jax.tree.leaves(state.opt_state)}
        results.append(
            ({name: float(value) for name, value in scalars.items()}, jax.device_get(state.params), shardings)
        )
    (one, params_one, _), (four, params_four, shardings) = results
    assert one == pytest.approx(four, rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), params_one, params_four)
    assert any('fsdp' in spec for spec in shardings)  # the moments are split like the parameters
