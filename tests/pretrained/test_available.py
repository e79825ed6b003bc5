"""The table of published weights, and what a name means where a file may stand as well."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from tests.pretrained.small_packages import member
from vdm_jax import pretrained
from vdm_jax.errors import UserError
from vdm_jax.pretrained import available, store
from vdm_jax.pretrained.available import HubWeights, OwnWeights, PackageWeights

ENTRIES = list(available.AVAILABLE.values())
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: entry.name)
def test_each_entry_says_what_it_is(entry):
    assert re.fullmatch(r'[a-z0-9_]+', entry.name) and entry.purpose and entry.licence
    assert re.match(r'https://[\w.]+/\S+$', entry.address) and entry.size >= 0
    # A prefix stands in the name of a published file; all that a command brings has a hash of full length.
    digits = 64 if entry.is_fetchable else 8
    # Of a file that the user brings there may be no published hash.
    assert re.fullmatch(rf'[0-9a-f]{{{digits},64}}', entry.sha256) or (
        isinstance(entry, OwnWeights) and not entry.sha256
    )
    if isinstance(entry, PackageWeights):
        assert re.fullmatch('[0-9a-f]{64}', entry.package.sha256) and entry.package.version in entry.address
        for each in (entry.member, *entry.beside):
            assert re.fullmatch('[0-9a-f]{64}', each.sha256) and each.size > 0
    if isinstance(entry, HubWeights):
        assert re.fullmatch('[0-9a-f]{40}', entry.revision) and entry.file.endswith('.safetensors')
    if isinstance(entry, OwnWeights):
        # Hashes in file names are those of the table.
        assert all(entry.sha256.startswith(digits) for digits in re.findall(r'-([0-9a-f]{8})\.pth$', entry.address))


def test_the_page_has_a_row_of_each_entry():
    page = (ROOT / 'docs' / 'weights.md').read_text()
    for entry in ENTRIES:
        (row,) = [line for line in page.splitlines() if line.startswith(f'| `{entry.name}` |')]
        assert entry.address in row and entry.licence in row and entry.sha256[:8] in row, entry.name
        assert not entry.size or f'{entry.size / 1e6:.1f} MB' in row, entry.name


def test_an_unknown_name_is_met_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown weights 'lpisp'; did you mean 'lpips'\? known: i3d, lpips, "):
        available.get('lpisp')


def test_a_hash_names_its_entry(monkeypatch):
    assert available.identify(available.AVAILABLE['i3d'].sha256).name == 'i3d'
    assert available.identify('0' * 64) is None, 'also where an entry has no hash'
    short = available.OwnWeights('short', 'tests', 'MIT', 'https://example.org/short', 'dcc47ddc')
    monkeypatch.setitem(available.AVAILABLE, 'short', short)
    assert available.identify('dcc47ddc' + '0' * 56).name == 'short'
    assert available.identify('0' * 64) is None


def test_a_path_is_a_path(tmp_path):
    for path in ('weights.safetensors', str(tmp_path / 'i3d'), './i3d', tmp_path / 'x', 'gs://bucket/i3d', 'I3D', ''):
        assert store.find(path) == str(path)


def test_a_name_that_is_not_here_says_how_to_fetch_it():
    with pytest.raises(UserError, match='^KEY=i3d: .* not here yet; python -m vdm_jax weights fetch i3d$'):
        store.find('i3d', 'KEY=i3d')
    with pytest.raises(UserError, match='^--checkpoint=lpips: .* not here yet; python -m vdm_jax weights fetch lpips$'):
        pretrained.load('lpips', 'lpips')
    with pytest.raises(UserError, match='^c3d: is in no registry; take https://.* and give the path of the file$'):
        store.find('c3d')


def make_entry(name='small', sha256='a' * 64):
    content = b'a\n'
    entry = dataclasses.replace(
        available.AVAILABLE['minilm'],
        name=name,
        member=available.Member('model.safetensors', sha256, 1),
        others=(member('x/vocab.txt', content),),
    )
    return entry, content


def test_a_name_means_the_weights_even_beside_a_file_of_that_name(monkeypatch, tmp_path):
    entry, content = make_entry()
    monkeypatch.setitem(available.AVAILABLE, 'small', entry)
    store.write(entry, {'a': np.ones(3, np.float32)}, {'vocab.txt': content})
    path = str(tmp_path / 'cache' / 'vdm_jax' / 'weights' / 'small.safetensors')
    assert store.find('small') == path
    assert Path(store.find_beside('small', 'vocab.txt')).read_bytes() == content
    with pytest.raises(UserError, match='small: has no merges.txt'):
        store.find_beside('small', 'merges.txt')
    (tmp_path / 'small').mkdir()
    with pytest.warns(UserWarning, match=r'^small: means the weights of that name; \./small means what is here'):
        assert store.find('small') == path


def test_weights_from_another_file_are_not_taken(monkeypatch):
    entry, content = make_entry()
    monkeypatch.setitem(available.AVAILABLE, 'small', entry)
    older, _ = make_entry(sha256='b' * 64)
    store.write(older, {'a': np.ones(3, np.float32)}, {'vocab.txt': content})
    for look in (lambda: store.find('small'), lambda: store.check(entry)):
        with pytest.raises(
            UserError, match='is not from pip: .* sha256 aaaaaaaa…; python -m vdm_jax weights fetch small$'
        ):
            look()


def test_damage_shows_whatever_byte_it_is():
    entry, content = make_entry()
    arrays = {'a': np.arange(5, dtype=np.float32)}
    store.write(entry, arrays, {'vocab.txt': content})
    size = store.check(entry)
    assert size == store.path_of(entry).stat().st_size + len(content)
    for path in (store.path_of(entry), store.path_beside(entry, 'vocab.txt')):
        good = path.read_bytes()
        for position in [*range(0, len(good), 11), len(good) - 1]:
            path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
            with pytest.raises(UserError, match='python -m vdm_jax weights fetch small$'):
                store.check(entry)
            path.write_bytes(good[:position])
            assert not store.is_intact(entry)
        path.write_bytes(good)
    assert store.is_intact(entry)


@pytest.mark.parametrize('size', [0, 7, 60])
def test_damaged_weights_say_how_to_fetch_them(monkeypatch, size):
    entry, content = make_entry()
    monkeypatch.setitem(available.AVAILABLE, 'small', entry)
    store.write(entry, {'a': np.arange(5, dtype=np.float32)}, {'vocab.txt': content})
    path = store.path_of(entry)
    assert store.add_cure('lacks a tensor', 'small') == 'lacks a tensor', 'fetching mends no other fault'
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=r'^KEY=small: .*; or anew: python -m vdm_jax weights fetch small$'):
        store.find('small', 'KEY=small')


def test_no_home_is_a_mistake_of_one_line(monkeypatch):
    monkeypatch.setattr('vdm_jax.files.user_cache', lambda: None)
    with pytest.raises(UserError, match='this user has no home: set XDG_CACHE_HOME'):
        store.find('i3d')
