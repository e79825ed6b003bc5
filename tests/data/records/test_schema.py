"""Records: what goes in comes out, the same bytes for the same record, and nothing else is taken for one."""

import dataclasses
import pickle

import msgpack
import numpy as np
import pytest

from vdm_jax.data.records.schema import BadRecordError, Caption, Record, from_bytes, to_bytes
from vdm_jax.data.records.shards import TABLE, RecordSet, shard_name, write_shard, write_table
from vdm_jax.errors import UserError

CLIP = Record(
    key='a b/ü.mp4#0',
    frames=3,
    height=4,
    width=5,
    fps=29.97,
    video=b'\0mp4\0\0',
    source='a b/ü.mp4',
    start=1.5,
    end=2.5,
    captions=(Caption('a ball falls', 2.0), Caption('it bounces', 1.0, 0.5, 1.0)),
    label=7,
    label_name='fall',
    scores={'motion': 0.25, 'black': 0.0},
)
LATENTS = np.arange(2 * 3 * 4 * 8, dtype=np.float16).reshape(2, 3, 4, 8)


def same(a: Record, b: Record):
    for field in dataclasses.fields(Record):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), err_msg=field.name)


def test_a_record_comes_back_from_its_bytes_trailing_zeros_and_all():
    same(from_bytes(to_bytes(CLIP)), CLIP)


def test_latents_come_back_with_dtype_and_shape():
    record = dataclasses.replace(CLIP, video=b'', latents=LATENTS, codec='ab12')
    again = from_bytes(to_bytes(record))
    same(again, record)
    assert again.latents.dtype == np.float16


def test_the_order_of_scores_does_not_change_the_bytes():
    turned = dataclasses.replace(CLIP, scores=dict(reversed(CLIP.scores.items())))
    assert list(turned.scores) != list(CLIP.scores)
    assert to_bytes(turned) == to_bytes(CLIP)


@pytest.mark.parametrize(
    'change',
    [
        {'key': ''},
        {'frames': 0},
        {'fps': 0.0},
        {'fps': float('nan')},
        {'pixel_aspect': 0.0},
        {'pixel_aspect': float('inf')},
        {'video': b''},
        {'latents': LATENTS},
        {'video': b'', 'latents': LATENTS.astype(np.int64)},
        {'scores': {'motion': float('inf')}},
        {'label': '7'},
        {'label': True},
    ],
    ids=lambda change: ','.join(change),
)
def test_what_makes_no_sense_is_no_record(change):
    with pytest.raises(BadRecordError):
        dataclasses.replace(CLIP, **change)


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'\xff' * 40,
        pickle.dumps(CLIP.key),
        to_bytes(CLIP)[:-1],
        msgpack.packb({'version': 2}),
        msgpack.packb({**msgpack.unpackb(to_bytes(CLIP)), 'more': 1}),
        msgpack.packb({**msgpack.unpackb(to_bytes(CLIP)), 'latents': ['object', [1], b'x']}),
        msgpack.packb({**msgpack.unpackb(to_bytes(CLIP)), 'frames': 'many'}),
    ],
)
def test_other_bytes_are_refused(data):
    with pytest.raises(BadRecordError):
        from_bytes(data)


@pytest.fixture
def written(tmp_path):
    records = [dataclasses.replace(CLIP, key=f'{i}', label=i, scores={'motion': i / 8} if i else {}) for i in range(5)]
    shards = [write_shard(tmp_path / shard_name(number, 2), records[3 * number :][:3], number) for number in range(2)]
    write_table(tmp_path / TABLE, sum(shards, []))
    return tmp_path, records


def test_a_set_gives_its_records_in_the_order_of_its_table(written):
    path, records = written
    record_set = RecordSet(str(path))
    assert len(record_set) == 5
    for i, record in enumerate(records):
        same(record_set[i], record)
        assert record_set.captions(i) == record.captions
    np.testing.assert_array_equal(record_set.column('score/motion'), [np.nan, 0.125, 0.25, 0.375, 0.5])
    assert record_set.scores == ('motion',)
    assert record_set.column('key').tolist() == list('01234')


def test_records_and_tables_of_before_are_read(written):
    """Their tables have no column for the shape of pixels, nor do the bytes of records whose pixels were square."""
    from pyarrow import parquet

    path, records = written
    assert b'pixel_aspect' not in to_bytes(CLIP)
    wide = dataclasses.replace(CLIP, pixel_aspect=1.5)
    same(from_bytes(to_bytes(wide)), wide)
    table = parquet.read_table(path / TABLE)
    parquet.write_table(table.drop_columns(['pixel_aspect']), path / TABLE)
    record_set = RecordSet(str(path))
    same(record_set[3], records[3])
    np.testing.assert_array_equal(record_set.column('pixel_aspect'), np.ones(5))


def test_the_same_records_make_the_same_files(written, tmp_path_factory):
    path, records = written
    other = tmp_path_factory.mktemp('again')
    shards = [write_shard(other / shard_name(number, 2), records[3 * number :][:3], number) for number in range(2)]
    write_table(other / TABLE, sum(shards, []))
    for name in sorted(each.name for each in path.iterdir()):
        assert (path / name).read_bytes() == (other / name).read_bytes(), name


def test_a_damaged_record_is_named(written):
    path, _ = written
    shard = path / shard_name(1, 2)
    data = bytearray(shard.read_bytes())
    where = data.find(b'\0mp4\0\0')
    data[where] ^= 1
    shard.write_bytes(data)
    record_set = RecordSet(str(path))
    with pytest.raises(UserError, match=r'record 3 \(3\), number 0 of records-00001-of-00002.array_record, is damaged'):
        record_set[3]
    same(record_set[2], dataclasses.replace(CLIP, key='2', label=2, scores={'motion': 0.25}))


@pytest.mark.parametrize(('content', 'match'), [(None, 'no records.parquet there'), (b'PAR1 no', 'cannot be read')])
def test_a_directory_without_a_table_is_refused(tmp_path, content, match):
    if content is not None:
        (tmp_path / TABLE).write_bytes(content)
    with pytest.raises(UserError, match=match):
        len(RecordSet(str(tmp_path)))
