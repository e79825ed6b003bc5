"""Whose a run directory is, what of it can be used, and what a foreign one can make us read."""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import shutil

import jax
import jax.numpy as jnp
import pytest
from etils import epath

from tests.train.fake_store import FakeStore
from tests.train.metrics_file import lines_in
from tests.train.small_run import SMALL, prints
from vdm_jax import cli
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.files import seal
from vdm_jax.train import loop, manifest, workdir
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.position import validate_position


@pytest.fixture(scope='module')
def run():
    """A run whose fresh state is made once, which looks at nothing on its way."""
    experiment = read_experiment('experiments/bouncing_balls.py', SMALL)
    quiet = dataclasses.replace(experiment.train, sample_every=0, validate_every=0)
    run = Run(dataclasses.replace(experiment, train=quiet), jax.devices()[:1])
    fresh = run.programs.init_state()
    programs = run.programs.with_programs(init_state=lambda: jax.tree.map(jnp.copy, fresh))
    return run.with_parts(programs=programs)


@pytest.fixture(scope='module')
def finished_run(run, tmp_path_factory):
    place = tmp_path_factory.mktemp('run')
    assert loop.train_run(run, place)
    return place


@pytest.fixture
def place(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
    return tmp_path


def like(run, **train):
    """The run with other numbers in config.train, which compiles nothing anew."""
    experiment = dataclasses.replace(run.experiment, train=dataclasses.replace(run.experiment.train, **train))
    return Run(experiment, jax.devices()[:1]).with_parts(programs=run.programs)


def test_the_last_step_is_saved_without_any_cadence(run, finished_run, tmp_path):
    assert loop.train_run(like(run, checkpoint_every=0), tmp_path)
    assert prints(run, tmp_path) == prints(run, finished_run)
    other = dict(run.resolved, seed=7)
    with pytest.raises(UserError, match=r'config\.seed is \d+ there and 7 here'):
        workdir.check_workdir(tmp_path, other)


@pytest.mark.parametrize('lost', ['checkpoints', 'checkpoints and config.json', 'config.json'])
def test_metrics_of_a_run_are_never_cut_by_another(lost, run, place):
    before = (place / 'metrics.jsonl').read_bytes()
    if 'checkpoints' in lost:
        shutil.rmtree(place / 'checkpoints')
    if 'config.json' in lost:
        (place / 'config.json').unlink()
    with pytest.raises(UserError, match='choose another --workdir'):
        loop.train_run(run, place)
    assert (place / 'metrics.jsonl').read_bytes() == before


def test_a_run_that_saved_nothing_yet_starts_again(run, finished_run, tmp_path):
    """Its process was killed before the first checkpoint: nothing is lost that cannot be made again."""
    lines = (finished_run / 'metrics.jsonl').read_text().splitlines(keepends=True)
    (tmp_path / 'metrics.jsonl').write_text(lines[0])
    shutil.copy(finished_run / 'config.json', tmp_path)
    calls = itertools.count()
    assert not loop.train_run(run, tmp_path, lambda step: next(calls) >= 2)
    assert [line['step'] for line in lines_in(tmp_path) if 'loss' in line] == [1, 2]


def test_a_run_that_was_killed_in_its_first_save_starts_again(run, finished_run, tmp_path):
    """The directory shows that a save began, and none of it is complete."""
    lines = (finished_run / 'metrics.jsonl').read_text().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if 'checkpoint_seconds' in line)
    (tmp_path / 'metrics.jsonl').write_text(''.join(lines[: first + 1]))
    (tmp_path / 'checkpoints' / '2.orbax-checkpoint-tmp').mkdir(parents=True)
    shutil.copy(finished_run / 'config.json', tmp_path)
    workdir.check_workdir(tmp_path, run.resolved)
    shutil.rmtree(tmp_path / 'checkpoints')
    with pytest.raises(UserError, match='bring checkpoints/ back'):
        workdir.check_workdir(tmp_path, run.resolved)


def copied_to_store(source, place):
    for path in source.rglob('*'):
        if path.is_file():
            FakeStore.objects[f'{place}/{path.relative_to(source).as_posix()}'] = path.read_bytes()


def test_a_run_that_was_copied_into_a_store_resumes_there(run, finished_run, tmp_path):
    """Case 8: file by file, so without the marker that a store's own steps have."""
    place = epath.Path(f'fake://{tmp_path}')
    copied_to_store(finished_run, place)
    before = lines_in(place)
    assert prints(run, place) == prints(run, finished_run)  # for one that looks on, which writes nothing
    assert not (place / 'checkpoints' / '6' / 'vdm_jax_committed').exists()
    longer = like(run, steps=7)
    assert loop.train_run(longer, place) and prints(run, place)['step'] == 7
    assert lines_in(place)[: len(before)] == before
    assert sorted(path.name for path in (place / 'checkpoints').iterdir()) == ['6', '7']


def test_steps_of_a_store_that_cannot_be_used_are_named_and_never_written_over(run, finished_run, tmp_path, capsys):
    place = epath.Path(f'fake://{tmp_path}')
    copied_to_store(finished_run, place)
    spoilt = [name for name in FakeStore.objects if name.startswith(f'{place}/checkpoints/') and '/params/' in name]
    newer = [name for name in spoilt if '/checkpoints/6/' in name]
    for name in newer:
        del FakeStore.objects[name]
    assert loop.train_run(run, place)
    assert f'{place}/checkpoints/6 is not complete: ' in capsys.readouterr().err
    assert {'4', '6', '6.damaged'} == {path.name for path in (place / 'checkpoints').iterdir()}
    for name in [name for name in FakeStore.objects if '/params/' in name and name.startswith(f'{place}/')]:
        del FakeStore.objects[name]
    for name in [name for name in FakeStore.objects if name.endswith('vdm_jax_committed')]:
        del FakeStore.objects[name]
    before = dict(FakeStore.objects)
    with pytest.raises(UserError, match='no checkpoint can be used, such as .* is not complete: .* is missing'):
        loop.train_run(run, place)
    assert FakeStore.objects == before


DAMAGE = {
    'a bit of a value': lambda text: text.replace(b'"frames": 3', b'"frames": 2'),
    'a bit of a key': lambda text: text.replace(b'"frames"', b'"framet"'),
    'a bit of the digest': lambda text: text.replace(b'"sha256": "', b'"sha256": "0', 1),
    'a bit of its name': lambda text: text.replace(b'"sha256"', b'"sha257"'),
    'no UTF-8': lambda text: text.replace(b'a', b'\xe1', 1),
    'cut short': lambda text: text[:-20],
    'empty': lambda text: b'',
    'no object': lambda text: b'[1, 2]',
    'nested too deep': lambda text: b'[' * 100_000,
    'an endless number': lambda text: b'{"seed": ' + b'9' * 10_000 + b'}',
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_a_config_that_is_not_as_it_was_written_is_one_line(damage, place, capsys):
    """M5: each of its commands, and whatever became of it."""
    path = place / 'config.json'
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert cli.main(['inspect', f'--workdir={place}']) == 2
    stderr = capsys.readouterr().err
    assert stderr.count('\n') == 1 and ('config' in stderr)


def test_every_flipped_bit_of_a_config_is_detected(place):
    path = place / 'config.json'
    data = path.read_bytes()
    config = workdir.read_config(place)
    for position in range(0, len(data), 97):
        for bit in (0, 3, 7):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                restored = workdir.read_config(place)
            except UserError:
                continue
            assert restored == config or set(restored) - set(config), (position, bit)  # an unknown key is refused later


def reseal(place, step, files):
    (path,) = (place / 'checkpoints' / str(step)).glob('manifest_*')
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({'files': files, 'sha256': digest}))


FOREIGN = [
    {'../../../../../../etc/passwd': [1, 'x']},
    {'/dev/zero': [1, 'x']},
    {'params/../../x': [1, 'x']},
    {'..': [1, 'x']},
    {'': [1, 'x']},
    {'a\0b': [1, 'x']},
    {'params': [1, 'x']},
    {'device': [10**9, 'x']},
    {'pipe': [10, 'x']},
    {'params': [-1, 'x']},
    {'params': ['1', 'x']},
    {'params': [1, 2, 3]},
    {'params': {'a': 1}},
    {'params': None},
    ['params'],
    'params',
    None,
    7,
]


@pytest.mark.parametrize('files', FOREIGN, ids=lambda files: str(files)[:30])
def test_a_manifest_lists_only_regular_files_of_its_own_step(files, place):
    """A foreign manifest makes us read no other files, and no kind of value is a traceback."""
    step = place / 'checkpoints' / '6'
    os.symlink('/dev/zero', step / 'device')
    os.mkfifo(step / 'pipe')
    reseal(place, 6, files)
    integrity = manifest.check(epath.Path(step))
    assert integrity.verdict == 'damaged' and 'passwd' not in integrity.why.replace(
        "'../../../../../../etc/passwd'", ''
    )
    if files is FOREIGN[0]:
        with Checkpoints(place / 'checkpoints') as checkpoints:
            assert checkpoints.latest() == 4


PLACES = [*workdir.FILES, *workdir.DIRECTORIES]


@pytest.mark.parametrize('name', PLACES)
def test_nothing_is_written_through_a_link_that_somebody_put_there(name, run, tmp_path, place, capsys):
    other = tmp_path.parent / f'{tmp_path.name}-other'
    path = place / name
    if path.is_dir():
        path.rename(other)
    else:
        other.write_text('of somebody else')
        path.unlink(missing_ok=True)
    path.symlink_to(other)
    before = sorted(other.rglob('*')) if other.is_dir() else other.read_text()
    with pytest.raises(UserError, match=f'^--workdir={place}: {name} in it is a link to '):
        loop.train_run(like(run, steps=9), place)
    if name == 'samples':
        assert cli.main(['sample', f'--workdir={place}', '--num=1']) == 2
        assert 'samples in it is a link' in capsys.readouterr().err
    assert before == (sorted(other.rglob('*')) if other.is_dir() else other.read_text())


@pytest.mark.parametrize('name', PLACES)
def test_what_is_no_file_or_directory_in_the_place_of_one_is_named(name, run, tmp_path):
    (tmp_path / name).mkdir() if name in workdir.FILES else (tmp_path / name).touch()
    with pytest.raises(UserError, match=rf'{name}: is not a (regular file|directory)$'):
        loop.train_run(run, tmp_path)


def test_a_pipe_in_a_step_without_a_manifest_is_not_waited_for(place, capsys):
    (place / 'checkpoints/6/manifest_0_of_1.json').unlink()
    (place / 'checkpoints/6/ema/_METADATA').unlink()
    os.mkfifo(place / 'checkpoints/6/ema/_METADATA')
    assert cli.main(['inspect', f'--workdir={place}', '--step=6']) == 2
    assert '6 is damaged: ema/_METADATA: is not a regular file' in capsys.readouterr().err


@pytest.mark.parametrize('lost', ['ema/_METADATA', 'position/_METADATA', 'params/manifest.ocdbt'])
def test_an_unreadable_step_without_a_manifest_is_named(lost, run, place):
    (place / 'checkpoints/6/manifest_0_of_1.json').unlink()
    (place / 'checkpoints/6' / lost).unlink()
    with pytest.raises(UserError, match=r'6(:| is) (it is )?unverified: .*rename it'):
        loop.train_run(like(run, steps=9), place)


WRONG = [None, [], {'step': 'x'}, {}, {'step': -1}, {'step': True}, {'step': 6, 'data': 3}]
WRONG += [{'step': 6, 'skipped_updates': value} for value in ('1', None, -1, 0.5)]


@pytest.mark.parametrize('where', WRONG, ids=str)
def test_a_position_of_other_types_is_one_line(where):
    with pytest.raises(UserError, match='^DIR'):
        validate_position(where, 'DIR')


def damage(step, name, value):
    """Write JSON, or nothing at all, where Orbax keeps what it needs, and a manifest that matches it."""
    path = step / name
    if value is None:
        shutil.rmtree(path)
    else:
        there = json.loads(path.read_text())
        path.write_text(json.dumps({**there, **value} if value and isinstance(value, dict) else value))
    for old in step.glob('manifest_*'):
        old.unlink()
    manifest.write(epath.Path(step))


@pytest.mark.parametrize(
    'name, value',
    [
        ('position/_strings.json', [1]),
        ('position/_strings.json', {}),
        ('position/_METADATA', {'tree_metadata': None}),
        ('position', None),
        ('_CHECKPOINT_METADATA', []),
        ('_CHECKPOINT_METADATA', {'item_handlers': 5}),
        ('_CHECKPOINT_METADATA', {'custom_metadata': [1]}),
        ('_CHECKPOINT_METADATA', {'init_timestamp_nsecs': 'x'}),
        ('ema/_METADATA', {'use_ocdbt': False}),
    ],
)
def test_what_orbax_cannot_read_of_a_foreign_step_is_one_line(name, value, place, capsys):
    damage(place / 'checkpoints/6', name, value)
    assert cli.main(['inspect', f'--workdir={place}', '--step=6']) == 2
    stderr = capsys.readouterr().err
    assert stderr.count('\n') == 1 and 'cannot be read (' in stderr


def test_a_metric_that_no_float_holds_counts_for_nothing(place, capsys):
    damage(
        place / 'checkpoints/6',
        '_CHECKPOINT_METADATA',
        {'custom_metadata': {'validation': {'validation_loss': 10**400}}},
    )
    best = '--config.checkpoint.best=validation_loss'
    assert cli.main(['inspect', f'--workdir={place}', '--step=best', best]) == 2
    assert 'no checkpoint there has validation_loss' in capsys.readouterr().err


def test_an_empty_step_is_damaged_and_the_one_before_it_taken(place, capsys):
    (place / 'checkpoints/9').mkdir()
    assert cli.main(['inspect', f'--workdir={place}']) == 0
    assert 'checkpoints/9 is damaged: it holds nothing; taking step 6' in capsys.readouterr().err


NAMES = ['data.source', 'model.name', 'diffusion.process.name', 'sampler.name', 'sampler.spacing.name']
STRANGE = [['x'], {'a': 1}, 3, True, 'a\nb', '\x1b[2J', 'x' * 100_000]


@pytest.mark.parametrize('value', STRANGE, ids=lambda value: repr(value)[:9])
@pytest.mark.parametrize('key', NAMES)
def test_what_is_no_name_is_one_line(key, value, place, capsys):
    config = json.loads((place / 'config.json').read_text())
    config.pop('sha256')
    *groups, last = key.split('.')
    group = functools.reduce(lambda there, name: there[name], groups, config)
    group[last] = value
    (place / 'config.json').write_text(json.dumps(seal(config)))
    assert cli.main(['inspect', f'--workdir={place}']) == 2
    stderr = capsys.readouterr().err
    assert stderr.count('\n') == 1 and '\x1b' not in stderr and len(stderr) < 3000 and key in stderr


def test_weights_are_not_written_over_a_run_s_own_files(place, capsys):
    for out in ('config.json', 'metrics.jsonl', 'checkpoints/6/w', 'samples/w'):
        assert cli.main(['export', f'--workdir={place}', f'--out={place}/{out}']) == 2
        assert 'is a place of the run in' in capsys.readouterr().err
    assert cli.main(['export', f'--workdir={place}', f'--out={place}/weights.safetensors']) == 0


@pytest.mark.parametrize('change', [{}, {'model': 3}, {'train': None}, {'optim': []}, {'ema': 'x'}], ids=str)
def test_a_config_without_its_groups_is_one_line(change, place, capsys):
    config = {} if not change else {**json.loads((place / 'config.json').read_text()), **change}
    config.pop('sha256', None)
    (place / 'config.json').write_text(json.dumps(seal(config)))
    for command in (['inspect'], ['sample', '--num=1'], ['train'], ['export', f'--out={place}/w']):
        assert cli.main([*command, f'--workdir={place}']) == 2
        stderr = capsys.readouterr().err
        assert stderr.count('\n') == 1 and 'want the keys of this group' in stderr, stderr


@pytest.mark.parametrize(
    'change, there',
    [
        ('model.width=32', 16),
        ('model.heads=1', 2),
        ('model.layout=full', 'interleaved'),
        ('optim.name=muon', 'adamw'),
        ('ema.decays=0.7', '[0.9, 0.5]'),
    ],
)
def test_an_override_that_does_not_fit_a_checkpoint_names_its_key(change, there, place, capsys):
    """M2: what it changes the shape, the meaning or the existence of."""
    for command in ('inspect', 'sample', 'export')[: 1 if change.startswith('optim') else 3]:
        more = [f'--out={place}/out.safetensors'] if command == 'export' else []
        assert cli.main([command, f'--workdir={place}', f'--config.{change}', *more]) == 2
        stderr = capsys.readouterr().err
        assert stderr.startswith(f'vdm_jax: config.{change.split("=")[0]}=') and f'has {there}' in stderr
        assert stderr.count('\n') == 1


def test_a_full_disk_leaves_the_old_config(run, place, monkeypatch):
    """H2: a key that may change is written beside, and nothing is lost where that fails."""
    before = (place / 'config.json').read_bytes()

    def full(descriptor):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patched:
        patched.setattr(os, 'fsync', full)
        with pytest.raises(OSError, match='No space'):
            workdir.write_run_files(place, dict(run.resolved, seed=5))
    assert (place / 'config.json').read_bytes() == before
    assert not list(place.glob('.*half'))
    workdir.write_run_files(place, dict(run.resolved, seed=5))
    assert json.loads((place / 'config.json').read_text()) == seal(dict(run.resolved, seed=5))
