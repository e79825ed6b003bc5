"""One clip as it lies in a shard: the schema that writer and reader share, and how it becomes bytes and back.

A record is one msgpack map of plain values (no Python object can be in it), so that reading one runs no code. Batching
raw bytes in numpy strips trailing zeros: a record is decoded to frames before anything is stacked.
"""

import dataclasses
import math
from collections.abc import Mapping

import msgpack
import numpy as np

VERSION = 1
ARRAYS = 'float16', 'float32'  # of latents


class BadRecordError(Exception):
    """Bytes that are no record; the message says what is wrong with them, without the record's name."""


@dataclasses.dataclass(frozen=True)
class Caption:
    """What a clip, or the part of it from `start` to `end` (seconds of the clip; None: its own ends), shows.

    weight: how often it is drawn among those of its clip, in proportion.
    """

    text: str
    weight: float = 1.0
    start: float | None = None
    end: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """One clip: a video file's bytes, or latents that a codec made of it.

    key: its name, unique in a set. video: the bytes of a video file (mp4), b'' where there are latents. latents: means
    and log variances of them, float16 or float32 (T', H', W', 2C), before they are normalised; codec: sha256 of the
    weights that made them. frames, height, width, fps: of the upright clip, in frames, pixels and frames a second (the
    mean where the rate varies; timestamps are the video's own).
    source: the file it was cut from, as it was listed; start, end: seconds of that file. captions: none where nothing
    is known. label, label_name: class number and what it is called, None and '' for none. scores: by name, finite.
    pixel_aspect: width over height of a pixel of that file, as it is shown; the clip's own are square unless its video
    file says otherwise.
    """

    key: str
    frames: int
    height: int
    width: int
    fps: float
    video: bytes = b''
    latents: np.ndarray | None = None
    codec: str = ''
    source: str = ''
    start: float = 0.0
    end: float = 0.0
    captions: tuple[Caption, ...] = ()
    label: int | None = None
    label_name: str = ''
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    pixel_aspect: float = 1.0

    def __post_init__(self):
        for name, kinds in KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise BadRecordError(f'{name} is {type(value).__name__}')
        if not self.key:
            raise BadRecordError('it has no key')
        if min(self.frames, self.height, self.width) < 1:
            raise BadRecordError(f'{self.frames} frames of {self.height}x{self.width}')
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise BadRecordError(f'{self.fps} frames a second')
        if not (math.isfinite(self.pixel_aspect) and self.pixel_aspect > 0):
            raise BadRecordError(f'pixels of {self.pixel_aspect} to 1')
        if bool(self.video) == (self.latents is not None):
            raise BadRecordError('it wants either a video or latents')
        if self.latents is not None and (self.latents.ndim != 4 or self.latents.dtype.name not in ARRAYS):
            raise BadRecordError(f'latents are {self.latents.dtype} {self.latents.shape}')
        for name, value in self.scores.items():
            if not isinstance(name, str) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise BadRecordError(f'score {name!r} is {value!r}')


KINDS = {
    'key': str,
    'frames': int,
    'height': int,
    'width': int,
    'fps': (int, float),
    'video': bytes,
    'latents': (np.ndarray, type(None)),
    'codec': str,
    'source': str,
    'start': (int, float),
    'end': (int, float),
    'captions': tuple,
    'label': (int, type(None)),
    'label_name': str,
    'scores': Mapping,
    'pixel_aspect': (int, float),
}
USUAL = {
    'pixel_aspect': 1.0
}  # fields of later versions, left out where they say nothing: old records are read as before


def to_bytes(record: Record) -> bytes:
    """The record as bytes: the same ones for the same record, whatever order its scores came in."""
    fields = {name: getattr(record, name) for name in KINDS}
    for name, usual in USUAL.items():
        if fields[name] == usual:
            del fields[name]
    fields['captions'] = [dataclasses.astuple(caption) for caption in record.captions]
    fields['scores'] = {name: float(record.scores[name]) for name in sorted(record.scores)}
    if record.latents is not None:
        latents = np.ascontiguousarray(record.latents)
        little = latents.astype(latents.dtype.newbyteorder('<'), copy=False)
        fields['latents'] = [latents.dtype.name, list(latents.shape), little.tobytes()]
    return msgpack.packb({'version': VERSION, **fields}, use_bin_type=True)


def from_bytes(data: bytes) -> Record:
    """The record in these bytes.

    Raises:
      BadRecordError: there is none, or one of another version or with other fields.
    """
    try:
        fields = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise BadRecordError(f'no msgpack: {error or type(error).__name__}') from None
    if not isinstance(fields, dict) or fields.pop('version', None) != VERSION:
        raise BadRecordError(f'no record of version {VERSION}')
    fields = USUAL | fields
    if set(fields) != set(KINDS):
        raise BadRecordError(f'its fields are not those of a record: {", ".join(sorted(set(fields) ^ set(KINDS)))}')
    try:
        fields['captions'] = tuple(Caption(*caption) for caption in fields['captions'])
        if fields['latents'] is not None:
            kind, shape, values = fields['latents']
            if kind not in ARRAYS:
                raise BadRecordError(f'latents are {kind}')
            dtype = np.dtype(kind).newbyteorder('<')
            fields['latents'] = np.frombuffer(values, dtype).reshape(shape).astype(kind, copy=False)
        return Record(**fields)
    except (TypeError, ValueError) as error:
        raise BadRecordError(f'its fields are not those of a record: {error}') from None
