"""Small sets of records as a build leaves them, written without one."""

import hashlib
import json
from pathlib import Path

import numpy as np

from data_pipelines.inputs.table import INPUTS, write_inputs
from tests.data.videos import encode, encode_numbers
from vdm_jax.data.records.manifest import FORMAT, MANIFEST
from vdm_jax.data.records.schema import Caption, Record
from vdm_jax.data.records.shards import TABLE, shard_name, write_shard, write_table
from vdm_jax.files import seal

INPUTS_ROWS = (
    {'input': 'a.mp4', 'fate': 'kept', 'reason': '', 'detail': '', 'clips': 6},
    {'input': 'a.mp4', 'fate': 'dropped', 'key': 'a.mp4#9', 'start': 2.0, 'end': 2.1, 'reason': 'too_short'},
    {'input': 'a.mp4', 'fate': 'dropped', 'key': 'a.mp4#10', 'reason': 'duplicate', 'scores': {'motion': 0.3}},
    {'input': 'b.mp4', 'fate': 'kept', 'reason': '', 'detail': '', 'clips': 6},
    {'input': 'b.mp4', 'fate': 'dropped', 'key': 'b.mp4#9', 'reason': 'motion>=0.1', 'scores': {'motion': 0.0}},
    {'input': 'bad.mp4', 'fate': 'broken', 'reason': 'broken', 'detail': 'no video in it', 'clips': 0},
    {'input': 'still.mp4', 'fate': 'dropped', 'reason': 'motion>=0.1', 'detail': 'none kept of 1 clips', 'clips': 0},
)


def records(folder, count=12, frames=6):
    """Clips of 6 frames of 64x32 at 25 a second, each with other numbers in it, every fourth without a caption."""
    for i in range(count):
        path = encode(folder / 'clip.mp4', np.roll(encode_numbers(frames), i, 0), gop=3)
        captions = (Caption(f'the bars of clip {i} move to the left, one after the other'),) if i % 4 else ()
        scores = {'motion': 0.1 + i / 20, 'sharpness': float(100 * i % 7)} | ({'aesthetic': 5.0} if i == 3 else {})
        yield Record(
            f'{"ab"[i % 2]}.mp4#{i // 2}', frames, 32, 64, 25.0, path.read_bytes(), captions=captions, scores=scores
        )
        path.unlink()


def write_set(folder, set_records=None, shards=2):
    """The set of these records in a new directory; returns it."""
    folder.mkdir()
    set_records = list(records(folder)) if set_records is None else set_records
    rows = []
    each = -(-len(set_records) // max(shards, 1))
    for k in range(shards):
        rows += write_shard(folder / shard_name(k, shards), set_records[k * each : (k + 1) * each], k)
    write_table(folder / TABLE, rows)
    write_inputs(folder / INPUTS, INPUTS_ROWS)
    manifest = {
        'format': FORMAT,
        'inputs': {'kept': 2, 'dropped': 1, 'broken': 1},
        'clips': {
            'kept': len(set_records),
            'dropped': 3,
            'without_caption': sum(not record.captions for record in set_records),
        },
        'reasons': {
            'inputs': {'broken': 1, 'motion>=0.1': 1},
            'clips': {'duplicate': 1, 'motion>=0.1': 1, 'too_short': 1},
        },
        'frames': sum(record.frames for record in set_records),
        'seconds': round(sum(record.frames / record.fps for record in set_records), 3),
        'recipe': {},
        'versions': {},
        'shards': [_file(folder / shard_name(k, shards)) for k in range(shards)],
        'tables': [_file(folder / TABLE), _file(folder / INPUTS)],
    }
    (folder / MANIFEST).write_text(json.dumps(seal(manifest)))
    return folder


def _file(path):
    content = path.read_bytes()
    return {'name': path.name, 'bytes': len(content), 'sha256': hashlib.sha256(content).hexdigest()}


def content(folder):
    """{name: bytes} of all files of a set, to compare it with another."""
    return {path.name: path.read_bytes() for path in sorted(Path(folder).rglob('*')) if path.is_file()}
