"""Caches and sets that somebody else may have made: every value of theirs is looked at, whichever it is."""

import hashlib
import json
import os

import msgpack
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from data_pipelines.commands import cache_text
from tests.data.small_set import write_set
from tests.reliability.data_files import TEXTS, make_latents, make_texts, read_latents, read_texts
from vdm_jax.data.json_values import is_integer, is_local_name
from vdm_jax.data.latents import metadata, text_store
from vdm_jax.data.latents.metadata import part_file
from vdm_jax.data.latents.source import CachedLatents
from vdm_jax.data.latents.store import LatentSet, PartWriter
from vdm_jax.data.latents.text_store import TextCache
from vdm_jax.data.npy import DamageError, RowFile, header_of
from vdm_jax.data.records.manifest import read_manifest
from vdm_jax.data.records.schema import BadRecordError, Caption, Record, from_bytes, to_bytes
from vdm_jax.data.records.shards import TABLE, RecordSet, make_row, shard_name, write_shard
from vdm_jax.data.records.source import Records
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.errors import UserError
from vdm_jax.files import seal

STRANGE = None, True, -1, 0, 2**70, 1.5, float('nan'), 'x', '../x', [], [1], {}, {'a': 1}, [None], [[[[]]]], [2**40] * 4


def one_line(read, *parts):
    """Whether read() raises a UserError of one line that has these words."""
    with pytest.raises(UserError) as error:
        read()
    assert '\n' not in str(error.value) and all(word in str(error.value) for word in parts), error.value


@pytest.fixture(scope='module')
def latents(tmp_path_factory):
    place = tmp_path_factory.mktemp('latents')
    make_latents(place)
    return place


@pytest.fixture(scope='module')
def texts(tmp_path_factory):
    place = tmp_path_factory.mktemp('texts')
    make_texts(place)
    return place


@pytest.fixture
def copy_to_tmp(tmp_path):
    """A copy of a directory, to be changed."""

    def copy(place):
        for path in place.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        return tmp_path

    return copy


def rewrite(path, **values):
    """Changes values of a file of JSON, with the right sha256: as somebody does who means to."""
    known = json.loads(path.read_text())
    known.pop('sha256', None)
    path.write_text(json.dumps(seal(known | values)))


def test_values_of_latents_are_checked_though_their_sha256_is_right(latents, copy_to_tmp):
    place = copy_to_tmp(latents)
    content = (place / 'about.json').read_bytes()
    may_be = {
        'made': lambda value: isinstance(value, dict),
        'seed': lambda value: value is None or is_integer(value, -1),
    }
    for name in json.loads(content).keys() - {'sha256'}:
        for value in STRANGE:
            (place / 'about.json').write_bytes(content)
            rewrite(place / 'about.json', **{name: value})
            if name in may_be and may_be[name](value):
                read_latents(place)
            else:
                one_line(lambda: read_latents(place))


def test_values_of_notes_on_latents_are_checked(latents, copy_to_tmp):
    place = copy_to_tmp(latents)
    done = place / part_file('done', 0, 2)
    for text in ('', 'x', '-1', '1e3', '[1]', '{}', '{"done": 6}', '9' * 5000, '[' * 100_000, '\xff', '7', '6', '0'):
        done.write_text(text)
        one_line(lambda: read_latents(place))


def test_values_of_texts_are_checked_though_their_sha256_is_right(texts, copy_to_tmp):
    place = copy_to_tmp(texts)
    original = (place / 'about.json').read_bytes()
    for name in ('fingerprint', 'length', 'width', 'version'):
        for value in STRANGE:
            (place / 'about.json').write_bytes(original)
            rewrite(place / 'about.json', **{name: value})
            if name == 'fingerprint' and isinstance(value, str):
                read_texts(place)
            else:
                one_line(lambda: read_texts(place))
    for content in (b'[]', b'[' * 100_000, b'\xff', b'', b'{}'):
        (place / 'about.json').write_bytes(content)
        one_line(lambda: read_texts(place), 'about.json')


@pytest.mark.parametrize('kind', ['latents', 'texts', 'records'])
def test_no_directory_device_or_pipe_in_place_of_a_file_is_read(kind, latents, texts, copy_to_tmp, tmp_path, records):
    if kind == 'records':
        place = tmp_path
        write_set(place, records)

        def read():
            return RecordSet(str(place))[0]
    else:
        place = copy_to_tmp(latents if kind == 'latents' else texts)

        def read():
            return {'latents': read_latents, 'texts': read_texts}[kind](place)

    for path in sorted(place.iterdir()):
        content = path.read_bytes()
        for make in (os.mkdir, os.mkfifo, lambda name: os.symlink('/dev/zero', name)):
            path.unlink()
            make(path)
            try:
                if path.name != shard_name(1, 2):  # the first record is not in it
                    one_line(read)
            finally:
                os.rmdir(path) if path.is_dir() else path.unlink()
                path.write_bytes(content)
    read()


def test_headers_of_arrays_size_nothing_that_the_file_does_not_have(tmp_path):
    path = tmp_path / 'a.npy'
    cases = [header_of(np.dtype('f4'), shape) for shape in ((2**60,), (2**40, 2**40), (3,), (-1,), ())]
    cases += [header_of(np.dtype('f4'), (2,))[:n] for n in (0, 5, 9, 40)]
    cases += [b'\x93NUMPY\x01\x00\x10\x00' + text.ljust(16).encode() for text in ('{', '((((', '__import__', '1' * 16)]
    cases += [b'\x93NUMPY\x03\x00' + b'\xff' * 40, b'\x93NUMPY\x01\x00\xff\xff' + b'(' * 65535]
    np.save(path, np.array([{}], object), allow_pickle=True)
    for content in [*cases, path.read_bytes()]:
        path.write_bytes(content + b'1234567')
        with pytest.raises(DamageError):
            RowFile(path)


@pytest.fixture(scope='module')
def records():
    captions = Caption('a ball'), Caption('it falls', 2.0, 0.0, 1.0)
    return [Record(f'{i}', 8, 24, 24, 8.0, b'v', captions=captions, scores={'motion': 0.5}) for i in range(4)]


FIELDS = {
    'frames': (0, -1, 2**31, 1.5, 'x', True, None),
    'height': (0, 2**40),
    'fps': (0, float('nan'), float('inf'), 1e-300, None),
    'pixel_aspect': (0.0, float('inf')),
    'start': (float('nan'), 'x'),
    'label': (2**31, -(2**40), 1.5, 'x'),
    'captions': (None, 1, 'x', [1], [[]], [[1]], [['a'] * 5], [['a', 'x']], [['a', float('inf')]], [['a', 1.0, 'x']]),
    'scores': (None, {'a': 'x'}, {'a': float('nan')}, [1]),
    'latents': (1, [], ['float32'], ['float32', [1, 2, 2, 8], b'1'], ['O', [1] * 4, b'1'], ['float32', 'x', b'']),
    'key': ('', None, 1, b'a'),
    'video': (None, 'x', b''),
}


@pytest.mark.parametrize('name', FIELDS)
def test_fields_of_records_are_checked(name, records):
    fields = msgpack.unpackb(to_bytes(records[0]))
    for value in FIELDS[name]:
        with pytest.raises(BadRecordError):
            from_bytes(msgpack.packb(fields | {name: value}))
    more = [['float32', shape, b''] for shape in ([-1, 1, 1, 1], [2**40] * 4, [0, 1, 1, 1], [1, 1, 1])]
    for latents in more:
        with pytest.raises(BadRecordError):
            from_bytes(msgpack.packb(fields | {'video': b'', 'latents': latents}))
    for data in (b'', b'\x91' * 5000 + b'\xc0', b'\xdd\xff\xff\xff\xff', b'\xc1', b'\xa1\xff'):
        with pytest.raises(BadRecordError):
            from_bytes(data)


CELLS = {
    'shard': (-1, 2**21, None),
    'place': (-1, None),
    'frames': (0, None),
    'fps': (0.0, float('nan'), None),
    'label': (2**40,),
    'key': (None,),
    'latents': ([1, 2], [1, 1, 1, -1], [0, 1, 1, 1]),
    'captions': ('x', '[' * 100_000, '{}', '[1]', '[["\\ud800"]]', None),
}


@pytest.mark.parametrize('name', CELLS)
def test_values_of_tables_are_checked(name, records, tmp_path):
    place = write_set(tmp_path / 'set', records)
    path = tmp_path / 'set' / TABLE
    rows = parquet.read_table(path).to_pylist()
    for value in CELLS[name]:
        changed = [rows[0] | {name: value}, *rows[1:]]
        parquet.write_table(pyarrow.table({key: [row[key] for row in changed] for key in rows[0]}), path)
        one_line(lambda: RecordSet(place).captions(0), TABLE)


def test_tables_that_are_no_tables_of_records_are_refused(records, tmp_path):
    place = write_set(tmp_path / 'set', records)
    path = tmp_path / 'set' / TABLE
    table = parquet.read_table(path)
    broken = pyarrow.array([b'\xff'] * len(table), pyarrow.binary()).view(pyarrow.string())
    for other in (
        table.drop_columns(['key']),
        table.set_column(0, 'key', broken),
        table.set_column(0, 'key', pyarrow.array([[1]] * len(table))),
        table.set_column(table.column_names.index('shard'), 'shard', pyarrow.array(['a'] * len(table))),
    ):
        parquet.write_table(other, path)
        one_line(lambda: RecordSet(place).table, TABLE)


def test_a_record_of_another_set_is_not_taken_for_this_one(records, tmp_path):
    """An undamaged shard, of other records: the next one is read instead, as of one that is damaged."""
    place = write_set(tmp_path / 'set', records)
    others = [Record(f'other {i}', 8, 24, 24, 8.0, b'w') for i in range(2)]
    write_shard(tmp_path / 'set' / shard_name(1, 2), others, 1)
    assert RecordSet(place)[0].key == '0'
    one_line(lambda: RecordSet(place)[3], 'is damaged', 'sha256', TABLE)


def manifest_of(place):
    files = {'.array_record': [], '.parquet': []}
    for path in sorted(place.iterdir()):
        content = path.read_bytes()
        about = {'name': path.name, 'bytes': len(content), 'sha256': hashlib.sha256(content).hexdigest()}
        files.get(path.suffix, []).append(about)
    return {
        'format': 1, 'inputs': {'kept': 1}, 'clips': {'kept': 4}, 'reasons': {'inputs': {}, 'clips': {}}, 'frames': 32,
        'seconds': 4.0, 'recipe': {}, 'versions': {}, 'shards': files['.array_record'], 'tables': files['.parquet'],
    }  # fmt: skip


def test_manifests_name_only_files_of_their_own_directory(records, tmp_path):
    write_set(tmp_path / 'set', records)
    place = str(tmp_path / 'set')
    path = tmp_path / 'set' / 'manifest.json'
    good = manifest_of(tmp_path / 'set')
    path.write_text(json.dumps(good))
    assert read_manifest(place) == good and RecordSet(place)[0].key == '0'
    path.write_text(json.dumps(seal(good)))
    assert read_manifest(place) == good
    names = '../x', '/etc/passwd', 'a/b', '..', '.', '', 'a\0b', 'a\nb', None, 1, ['a'], TABLE
    for name in names:
        shards = [good['shards'][0] | {'name': name}]
        path.write_text(json.dumps(seal(good | {'shards': shards})))
        one_line(lambda: RecordSet(place).table, 'manifest.json')
    for name in good:
        for value in STRANGE:
            path.write_text(json.dumps(seal(good | {name: value})))
            try:
                read_manifest(place)
            except UserError as error:
                assert '\n' not in str(error)
    assert not is_local_name('a/b') and is_local_name('records-00000-of-00001.array_record')


def test_a_table_is_held_against_its_manifest(records, tmp_path):
    write_set(tmp_path / 'set', records)
    place = str(tmp_path / 'set')
    path = tmp_path / 'set' / TABLE
    (tmp_path / 'set' / 'manifest.json').write_text(json.dumps(seal(manifest_of(tmp_path / 'set'))))
    assert Records(place, frames=4, pixels=8).open().notes() == []
    rows = parquet.read_table(path).to_pylist()
    changed = [row | {'start': 1.5} for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(changed, parquet.read_schema(path)), path)
    one_line(lambda: len(Records(place, frames=4, pixels=8).open()), TABLE, 'sha256', 'build the set anew')
    os.unlink(tmp_path / 'set' / 'manifest.json')
    assert [line.split(':')[1].split(',')[0] for line in Records(place, frames=4, pixels=8).open().notes()] == [
        f' {TABLE} is unverified'
    ]


def test_latents_of_before_are_read_and_reported_as_unverified(latents, tmp_path):
    about = {
        'version': metadata.UNVERIFIED,
        **{k: v for k, v in read_latents(latents)[0][0].items() if k != 'version'},
    }
    (tmp_path / 'about.json').write_text(json.dumps(about))
    there = LatentSet(str(latents), 'X')
    for number in range(2):
        writer = PartWriter(tmp_path, about, number)
        ids = np.arange(3) + 3 * number
        for clip in ids:
            for view in range(2):
                conditions = there.conditions([clip], view)[[*metadata.conditions_dtype(about).names]]
                writer.write(moments=there.moments([clip], view), conditions=conditions)
        writer.commit()
        writer.close()
    assert (tmp_path / part_file('done', 0, 2)).read_text() == '6'
    before = LatentSet(str(tmp_path), 'X')
    np.testing.assert_array_equal(before.moments(range(6), 0), there.moments(range(6), 0))
    assert not before.is_verified and there.is_verified and there.about['version'] == metadata.VERSION
    clips = Synthetic(size=6).open()
    (line,) = CachedLatents(str(tmp_path), clips).notes()
    assert 'unverified' in line and 'cache-latents' in line and CachedLatents(str(latents), clips).notes() == []


def test_texts_of_before_are_read_and_reported_as_unverified(texts, tmp_path):
    """Parts that are added to them are not."""
    now = TextCache(str(texts))
    about = {name: value for name, value in now.about.items() if name != 'version'}
    (tmp_path / 'about.json').write_text(json.dumps(about))
    for number in range(2):
        name = text_store.TEXTS.format(number)
        with open(texts / name, 'rb') as file:
            entries = np.load(file)[[*text_store.FORMER_ENTRY.names]].astype(text_store.FORMER_ENTRY)
        np.save(tmp_path / name, entries)
        tokens = text_store.TOKENS.format(number)
        (tmp_path / tokens).write_bytes((texts / tokens).read_bytes())
    before = TextCache(str(tmp_path))
    for text in TEXTS:
        np.testing.assert_array_equal(before[text]['text'], now[text]['text'])
    (line,) = before.notes()
    assert 'unverified' in line and 'cache-text' in line and now.notes() == []
    encoder = cache_text.parse_encoder(f'hashing:width={about["width"]},length={about["length"]}')
    assert cache_text.cache([*TEXTS, 'one more'], encoder, tmp_path) == 1
    assert TextCache(str(tmp_path))['one more']['text_mask'].any() and TextCache(str(tmp_path)).notes()


def test_damage_names_the_clip_and_the_text(latents, texts, copy_to_tmp):
    place = copy_to_tmp(latents)
    path = place / part_file('moments', 1, 2)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    there = LatentSet(str(place), 'config.latents=X')
    there.moments([0, 1, 2], 0)
    one_line(lambda: there.moments([5], 1), 'config.latents=X', path.name, 'clip 5, view 1', 'verify')
    place = copy_to_tmp(texts)
    path = place / text_store.TOKENS.format(0)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    one_line(lambda: read_texts(place), path.name, 'remove', 'cache-text')


def test_rows_hold_the_hashes_of_their_bytes(records):
    data = to_bytes(records[0])
    assert make_row(records[0], data, 0, 0)['sha256'] == hashlib.sha256(data).hexdigest()
