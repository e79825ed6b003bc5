"""What becomes of a checkpoint whose bits are not those that were written."""

import dataclasses
import json
import os
import shutil
import threading

import jax
import pytest
from etils import epath

import tests.train.fake_store  # noqa: F401  # fake://
from tests.train.small_run import SMALL
from vdm_jax import cli
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.train import loop, manifest, resume, step_directories
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.checkpoint_config import CheckpointConfig
from vdm_jax.train.fingerprint import fingerprint
from vdm_jax.train.inspect import inspect_run
from vdm_jax.train.workdir import write_run_files

FAIL = CheckpointConfig(fallback='fail')


@pytest.fixture(scope='module')
def run():
    return Run(read_experiment('experiments/bouncing_balls.py', SMALL), jax.devices()[:1])


@pytest.fixture(scope='module')
def written(run, tmp_path_factory):
    """A run directory with steps 2 and 4, and the state that both hold."""
    place = tmp_path_factory.mktemp('written')
    state = run.programs.init_state()
    write_run_files(place, run.resolved)
    with Checkpoints(place / 'checkpoints', writes=True) as checkpoints:
        for step in (2, 4):
            numbered = dataclasses.replace(state, step=state.step + step)
            checkpoints.save(step, numbered, resume.describe_position(run, step))
    return place, fingerprint(state.params)


@pytest.fixture
def place(written, tmp_path):
    shutil.copytree(written[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def data_file(place, step):
    """The largest file of a step: an array's bytes."""
    return max((place / 'checkpoints' / str(step)).rglob('*'), key=lambda path: path.stat().st_size)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def spoil_manifest(path):
    (file,) = next(p for p in path.parents if p.name.isdigit()).glob('manifest_*')
    file.write_text(file.read_text().replace('"sha256": "', '"sha256": "0', 1))


DAMAGE = {
    flip: 'other bits',
    truncate: r'has \d+ bytes of \d+',
    lambda path: path.unlink(): 'is missing',
    spoil_manifest: 'manifest_0_of_1.json is not as it was written',
}


@pytest.mark.parametrize('damage', DAMAGE, ids=['a bit flipped', 'truncated', 'deleted', 'manifest'])
def test_a_damaged_step_is_named_set_aside_and_the_one_before_it_taken(damage, run, written, place, capsys):
    damage(path := data_file(place, 4))
    with jax.set_mesh(run.mesh), Checkpoints(place / 'checkpoints') as looking:
        assert looking.latest() == 2 and looking.steps() == [2, 4]  # one that looks on leaves it where it is
        with pytest.raises(UserError, match=f'4 is damaged: .*{DAMAGE[damage]}'):
            looking.restore(run.programs.abstract_state, 4)
    with jax.set_mesh(run.mesh), Checkpoints(place / 'checkpoints', FAIL, writes=True) as strict:
        with pytest.raises(UserError, match='checkpoints/4 is damaged.*fallback=previous'):
            resume.begin(run, strict)
    with jax.set_mesh(run.mesh), Checkpoints(place / 'checkpoints', writes=True) as checkpoints:
        capsys.readouterr()
        state, step, skipped = resume.begin(run, checkpoints)
        assert skipped == 0 and step == int(state.step) == 2 and fingerprint(state.params) == written[1]
        stderr = capsys.readouterr().err
        assert 'checkpoints/4 is damaged' in stderr and (path.name in stderr or damage is spoil_manifest)
        assert checkpoints.steps() == [2]
        checkpoints.save(
            4, dataclasses.replace(state, step=state.step + 2), resume.describe_position(run, 4)
        )  # its name is free
        checkpoints.wait()
        assert checkpoints.steps() == [2, 4] and checkpoints.integrity(4).verdict == 'intact'
    assert (place / 'checkpoints' / '4.damaged').is_dir()


def test_orbax_itself_restores_flipped_bits_silently(run, written, place, monkeypatch):
    """Why there are manifests at all; if this fails they may have become superfluous."""
    flip(data_file(place, 4))
    monkeypatch.setattr(manifest, 'check', lambda *_: manifest.Integrity('intact'))
    with jax.set_mesh(run.mesh), Checkpoints(place / 'checkpoints') as checkpoints:
        damaged = checkpoints.restore(run.programs.abstract_state, 4)[0]
        sound = checkpoints.restore(run.programs.abstract_state, 2)[0]

    def prints(state):
        return [fingerprint(part) for part in (state.params, state.ema, state.opt_state)]

    assert prints(damaged) != prints(sound)


def test_where_all_are_damaged_nothing_starts_anew(run, place):
    for step in (2, 4):
        truncate(data_file(place, step))
    with pytest.raises(UserError, match='every checkpoint is damaged, such as .*/4 is damaged'):
        loop.train_run(run, place)
    assert sorted(path.name for path in (place / 'checkpoints').iterdir()) == ['2', '4']


def test_a_step_without_its_manifest_is_restored_and_reported_as_unverified(run, written, place, capsys):
    (place / 'checkpoints' / '4' / 'manifest_0_of_1.json').unlink()  # as if killed right after the commit
    with jax.set_mesh(run.mesh), Checkpoints(place / 'checkpoints', writes=True) as checkpoints:
        assert checkpoints.latest() == 4 and 'checkpoint 4 is unverified' in capsys.readouterr().err
        assert fingerprint(checkpoints.restore(run.programs.abstract_state)[0].params) == written[1]


def test_a_step_without_its_manifest_that_cannot_be_read_is_named(run, place):
    (place / 'checkpoints' / '4' / 'manifest_0_of_1.json').unlink()
    data_file(place, 4).write_bytes(b'')  # as after a loss of power
    with jax.set_mesh(run.mesh), Checkpoints(place / 'checkpoints', writes=True) as checkpoints:
        with pytest.raises(UserError, match='checkpoints/4 is unverified.*cannot be read .*rename it'):
            resume.begin(run, checkpoints)


def test_only_what_reading_raises_makes_a_step_unreadable(run, place, monkeypatch):
    (place / 'checkpoints' / '4' / 'manifest_0_of_1.json').unlink()
    with jax.set_mesh(run.mesh), Checkpoints(place / 'checkpoints') as checkpoints:

        def load(*_):
            raise KeyError('as Orbax says it') from RuntimeError('out of memory')

        monkeypatch.setattr(checkpoints._orbax, 'load_checkpointables', load)
        with pytest.raises(KeyError):
            checkpoints.restore(run.programs.abstract_state, 4)


@pytest.mark.parametrize('steps, more', [((2, 4), []), ((4,), ['--config.checkpoint.fallback=fail'])])
def test_inspect_reports_every_step_where_none_can_be_restored(steps, more, place, capsys):
    for step in steps:
        flip(data_file(place, step))
    assert cli.main(['inspect', f'--workdir={place}', '--json', *more]) == 2
    captured = capsys.readouterr()
    verdicts = {int(step): verdict for step, verdict in json.loads(captured.out)['integrity'].items()}
    assert [step for step, verdict in verdicts.items() if verdict.startswith('damaged: ')] == list(steps)
    assert sorted(verdicts) == [2, 4] and captured.err.count('\n') == 1 and 'damaged' in captured.err
    assert cli.main(['inspect', f'--workdir={place}', *more]) == 2
    assert 'checkpoint 4: damaged: ' in capsys.readouterr().out


def test_a_step_that_retention_removes_meanwhile_is_not_judged(run, place, monkeypatch):
    """Gone before it is looked at, or while it is, and so is half of it."""
    check = manifest.check
    monkeypatch.setattr(step_directories, 'REMOVAL_SECONDS', 5.0)

    def slow(directory, *hosts):
        if directory.name == '2':
            data_file(place, 2).unlink()
            threading.Timer(0.1, shutil.rmtree, [directory]).start()
        return check(directory, *hosts)

    monkeypatch.setattr(manifest, 'check', slow)
    report = inspect_run(run, place)
    assert report['integrity'] == {'4': 'intact'} and report['checkpoints'] == [4]
    with jax.set_mesh(run.mesh), Checkpoints(place / 'checkpoints') as checkpoints:
        assert checkpoints.steps() == [4]
        shutil.rmtree(place / 'checkpoints' / '4')
        assert checkpoints.steps() == [4] and checkpoints.latest() is None
        with pytest.raises(UserError, match='removed just now'):
            checkpoints.restore(run.programs.abstract_state, 4)


def test_several_processes_keep_their_checkpoints_where_orbax_commits_by_itself(monkeypatch):
    """Orbax would commit a step in s3 by rename, which moves nothing at once there; so in any store but gs://."""
    with Checkpoints('fake://empty/run/checkpoints') as checkpoints:
        assert checkpoints._directories.is_staged
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    with pytest.raises(UserError, match='several processes write to a shared file system or gs:// alone'):
        Checkpoints('fake://empty/run/checkpoints')


def test_commands_report_damage_and_leave_it_in_place(run, place, capsys):
    flip(data_file(place, 4))
    assert cli.main(['inspect', f'--workdir={place}', '--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['step'] == 2 and report['checkpoints'] == [2, 4]
    assert report['integrity']['2'] == 'intact' and report['integrity']['4'].startswith('damaged: ')
    fail = [f'--workdir={place}', '--config.checkpoint.fallback=fail']
    config = ['--config=experiments/bouncing_balls.py', *SMALL]
    for argv in (['sample', *fail], ['sample', f'--workdir={place}', '--step=4'], ['train', *config, *fail]):
        assert cli.main(argv) == 2
        captured = capsys.readouterr()
        assert captured.err.count('\n') == 1 and '4 is damaged' in captured.err
    assert sorted(path.name for path in (place / 'checkpoints').iterdir()) == ['2', '4']


def test_manifests_of_several_processes_make_up_the_step(tmp_path):
    files = ('_METADATA', 'params/d/abc', 'params/ocdbt.process_0/d/x', 'params/ocdbt.process_1/d/y')
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [manifest.owner(name, 2) for name in files] == [0, 0, 0, 1]
    assert manifest.owner('params/array_metadatas/process_1', 2) == 1
    manifest.write(tmp_path, 0, 2)
    assert manifest.check(tmp_path).why == '1 of 2 manifests'
    manifest.write(tmp_path, 1, 2)

    def verdicts(hosts):
        return [manifest.check(tmp_path, host, hosts).verdict for host in range(hosts)]

    assert [verdicts(hosts) for hosts in (1, 3)] == [['intact'], ['intact'] * 3]
    flip(tmp_path / files[3])
    assert verdicts(1) == ['damaged'] and sorted(verdicts(3)) == ['damaged', 'intact', 'intact']


def test_a_manifest_lists_no_file_that_another_process_is_writing(tmp_path, monkeypatch):
    """The other process writes its manifest in two parts while this one hashes the files it sees."""
    (tmp_path / 'params').mkdir()
    (tmp_path / 'params' / 'array').write_bytes(b'values')
    place = epath.Path(tmp_path)
    replace = os.replace

    def replace_after_manifest(half, path):
        manifest.write(place, 0, 2)
        replace(half, path)

    with monkeypatch.context() as patched:
        patched.setattr(os, 'replace', lambda *names: patched.undo() or replace_after_manifest(*names))
        manifest.write(place, 1, 2)
    assert manifest.check(place).verdict == 'intact'
    for number in range(2):
        assert not any('half' in name for name in manifest.read(place / f'manifest_{number}_of_2.json'))
