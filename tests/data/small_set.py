"""Small sets of records, made by tests."""

import os
import tempfile

import numpy as np

from vdm_jax import media
from vdm_jax.data.records.schema import Record
from vdm_jax.data.records.shards import TABLE, shard_name, write_shard, write_table

SIDE = 24
FPS = 10


def mp4(count: int, tint: int = 0, width: int = 40) -> bytes:
    """A video whose frame i has brightness 4 i on the left, and the tint on the right, also of its centre."""
    video = np.zeros((count, SIDE, width, 3), np.uint8)
    video += (4 * np.arange(count, dtype=np.uint8))[:, None, None, None]
    video[:, :, 24:] = tint
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'video.mp4')
        media.write_mp4(path, video, FPS)
        with open(path, 'rb') as file:
            return file.read()


def frame_numbers(video) -> list[int]:
    """The numbers of the frames in a clip cut from the centre."""
    return np.rint(video[:, :, :8].mean((1, 2, 3)) / 4).astype(int).tolist()


def record(key: str, count: int = 30, tint: int = 0, **fields) -> Record:
    """A record of such a video of `count` frames."""
    return Record(key, count, SIDE, 40, float(FPS), **{'video': mp4(count, tint), 'source': f'{key}.mp4', **fields})


def write_set(path, records, shards: int = 2):
    """Writes the records as a set of so many shards."""
    path.mkdir(exist_ok=True)
    parts = [records[i::shards] for i in range(shards)]
    rows = [write_shard(path / shard_name(i, shards), part, i) for i, part in enumerate(parts)]
    write_table(path / TABLE, [row for part in rows for row in part])
    return str(path)
