"""One clip as it lies in a shard: the schema that writer and reader share, and how it becomes bytes and back.

A record is one msgpack map of plain values (no Python object can be in it), so that reading one runs no code. Batching
raw bytes in numpy strips trailing zeros: a record is decoded to frames before anything is stacked.
"""

import dataclasses
import math
from collections.abc import Mapping

import msgpack
import numpy as np

from vdm_jax.config.ranges import is_number
from vdm_jax.data.foreign import is_whole

VERSION = 1
ARRAYS = 'float16', 'float32'  # of latents
MOST = 2**31  # frames, pixels of a side and labels are fewer: the table holds int32
MOST_SECONDS = 1e9


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
        sizes = self.frames, self.height, self.width
        if not 1 <= min(sizes) <= max(sizes) < MOST:
            raise BadRecordError(f'{self.frames} frames of {self.height}x{self.width}')
        if not is_number(self.fps) or self.fps <= 0 or self.frames / self.fps > MOST_SECONDS:
            raise BadRecordError(f'{self.fps} frames a second')
        if not is_number(self.pixel_aspect) or self.pixel_aspect <= 0:
            raise BadRecordError(f'pixels of {self.pixel_aspect} to 1')
        if not is_number(self.start) or not is_number(self.end):
            raise BadRecordError(f'it is from {self.start} s to {self.end} s of its file')
        if self.label is not None and not -MOST <= self.label < MOST:
            raise BadRecordError(f'label is {self.label}')
        if bool(self.video) == (self.latents is not None):
            raise BadRecordError('it wants either a video or latents')
        if self.latents is not None and (self.latents.ndim != 4 or self.latents.dtype.name not in ARRAYS):
            raise BadRecordError(f'latents are {self.latents.dtype} {self.latents.shape}')
        for name, value in self.scores.items():
            if not isinstance(name, str) or not is_number(value):
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
        fields['captions'] = captions_from(fields['captions'])
        if fields['latents'] is not None:
            fields['latents'] = _latents_from(*fields['latents'])
        return Record(**fields)
    except (TypeError, ValueError) as error:
        raise BadRecordError(f'its fields are not those of a record: {error}') from None


def captions_from(values) -> tuple[Caption, ...]:
    """Captions of a list of [text, weight, start, end], as records and tables hold them.

    Raises:
      BadRecordError: they are something else.
    """
    if not isinstance(values, list | tuple):
        raise BadRecordError('captions are no list')
    found = []
    for value in values:
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= 4 or not _is_text(value[0]):
            raise BadRecordError('a caption is no [text, weight, start, end]')
        caption = Caption(*value)
        times = [each for each in (caption.start, caption.end) if each is not None]
        if not all(map(is_number, [caption.weight, *times])):
            raise BadRecordError('weight or times of a caption are no numbers')
        found.append(caption)
    return tuple(found)


def _is_text(value):
    """Whether a value is a text that UTF-8 can hold, which JSON's may not be."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _latents_from(kind, shape, values):
    if kind not in ARRAYS:
        raise BadRecordError(f'latents are {kind!r}'[:60])
    if not isinstance(shape, list) or len(shape) != 4 or not all(is_whole(side, 1) for side in shape):
        raise BadRecordError('latents are of no shape')
    dtype = np.dtype(kind).newbyteorder('<')
    if not isinstance(values, bytes) or len(values) != math.prod(shape) * dtype.itemsize:
        raise BadRecordError(f'latents {shape} are not {len(values)} bytes')
    return np.frombuffer(values, dtype).reshape(shape).astype(kind, copy=False)
