"""A clip as a record of a shard: the schema that writer and reader share, and how it becomes bytes and back.

A record is one msgpack map of plain values (no Python object can be in it), so that reading one runs no code. Batching
raw bytes in numpy strips trailing zeros: a record is decoded to frames before anything is stacked.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from vdm_jax.config.ranges import is_number
from vdm_jax.data.json_values import is_integer

VERSION = 1
ARRAYS = 'float16', 'float32'  # of latents
# Frames, pixels of a side and labels are below: the table holds int32.
LIMIT = 2**31
MAX_SECONDS = 1e9


class BadRecordError(Exception):
    """Bytes that are no record; the message says what is wrong with them, without the record's name."""


@dataclasses.dataclass(frozen=True)
class Caption:
    """A text that says what a clip shows, or a part of it.

    Attributes:
      text: In any language.
      weight: How often it is drawn among those of its clip, in proportion.
      start: Second of the clip from which it holds; None: from the beginning.
      end: Second of the clip up to which it holds; None: to the end.
    """

    text: str
    weight: float = 1.0
    start: float | None = None
    end: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """One clip: a video file's bytes, or latents that a codec made of it.

    Attributes:
      key: Its name, unique in a set.
      frames: Of the clip.
      height: Of the upright clip, in pixels.
      width: The same.
      fps: Frames a second, the mean where the rate varies; timestamps are the video's own.
      video: The bytes of a video file (mp4), b'' where there are latents.
      latents: Means and log variances of them, float16 or float32 (T', H', W', 2C), before they are normalised.
      codec: sha256 of the weights that made the latents.
      source: The file it was cut from, as it was listed.
      start: Second of that file where it begins.
      end: Second of that file where it ends.
      captions: None where nothing is known.
      label: Number of its class, None for none.
      label_name: What the class is called, '' for none.
      scores: Finite numbers by name.
      pixel_aspect: Width over height of a pixel of that file, as it is shown; the clip's own are square unless its
        video file says otherwise.

    Raises:
      BadRecordError: a value is of another type, or out of its range.
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

    def __post_init__(self) -> None:
        for name, kinds in FIELD_TYPES.items():
            value = getattr(self, name)
            # For Python a bool is an int.
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise BadRecordError(f'{name} is {type(value).__name__}')
        if not self.key:
            raise BadRecordError('it has no key')
        self._check_numbers()
        self._check_content()

    def _check_numbers(self) -> None:
        sizes = self.frames, self.height, self.width
        if not 1 <= min(sizes) <= max(sizes) < LIMIT:
            raise BadRecordError(f'{self.frames} frames of {self.height}x{self.width}')
        if not is_number(self.fps) or self.fps <= 0 or self.frames / self.fps > MAX_SECONDS:
            raise BadRecordError(f'{self.fps} frames a second')
        if not is_number(self.pixel_aspect) or self.pixel_aspect <= 0:
            raise BadRecordError(f'pixels of {self.pixel_aspect} to 1')
        if not is_number(self.start) or not is_number(self.end):
            raise BadRecordError(f'it is from {self.start} s to {self.end} s of its file')
        if self.label is not None and not -LIMIT <= self.label < LIMIT:
            raise BadRecordError(f'label is {self.label}')

    def _check_content(self) -> None:
        if bool(self.video) == (self.latents is not None):
            raise BadRecordError('it wants either a video or latents')
        if self.latents is not None and (self.latents.ndim != 4 or self.latents.dtype.name not in ARRAYS):
            raise BadRecordError(f'latents are {self.latents.dtype} {self.latents.shape}')
        for name, value in self.scores.items():
            if not isinstance(name, str) or not is_number(value):
                raise BadRecordError(f'score {name!r} is {value!r}')


FIELD_TYPES: dict[str, type | tuple[type, ...]] = {
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
# Fields of later versions, left out where they have these values: old records are read as before.
DEFAULTS: dict[str, Any] = {'pixel_aspect': 1.0}


def to_bytes(record: Record) -> bytes:
    """Return the record as bytes: the same ones for the same record, whatever order its scores came in."""
    fields = {name: getattr(record, name) for name in FIELD_TYPES}
    for name, default in DEFAULTS.items():
        if fields[name] == default:
            del fields[name]

    fields['captions'] = [dataclasses.astuple(caption) for caption in record.captions]
    fields['scores'] = {name: float(record.scores[name]) for name in sorted(record.scores)}
    if record.latents is not None:
        # Little-endian, whatever machine writes them.
        latents = np.ascontiguousarray(record.latents)
        little = latents.astype(latents.dtype.newbyteorder('<'), copy=False)
        fields['latents'] = [latents.dtype.name, list(latents.shape), little.tobytes()]
    # With a type for bytes beside that for texts, which msgpack once did not have.
    packed: bytes = msgpack.packb({'version': VERSION, **fields}, use_bin_type=True)
    return packed


def from_bytes(data: bytes) -> Record:
    """Return the record in these bytes.

    Raises:
      BadRecordError: there is none, or one of another version or with other fields.
    """
    try:
        fields = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        # Some of msgpack's errors have no text.
        raise BadRecordError(f'no msgpack: {error or type(error).__name__}') from None
    if not isinstance(fields, dict) or fields.pop('version', None) != VERSION:
        raise BadRecordError(f'no record of version {VERSION}')

    # A field that is not there has its default; one that is unknown is a mistake.
    fields = DEFAULTS | fields
    strange = sorted(set(fields) ^ set(FIELD_TYPES))
    if strange:
        raise BadRecordError(f'its fields are not those of a record: {", ".join(strange)}')
    try:
        fields['captions'] = parse_captions(fields['captions'])
        if fields['latents'] is not None:
            fields['latents'] = _parse_latents(*fields['latents'])
        return Record(**fields)
    except (TypeError, ValueError) as error:
        raise BadRecordError(f'its fields are not those of a record: {error}') from None


def parse_captions(values: object) -> tuple[Caption, ...]:
    """Return the captions in a list of [text, weight, start, end], as records and tables hold them.

    Raises:
      BadRecordError: they are something else.
    """
    if not isinstance(values, list | tuple):
        raise BadRecordError('captions are no list')
    return tuple(map(_parse_caption, values))


def _parse_caption(value: object) -> Caption:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= 4 or not _is_text(value[0]):
        raise BadRecordError('a caption is no [text, weight, start, end]')
    caption = Caption(*value)
    times = [time for time in (caption.start, caption.end) if time is not None]
    if not all(map(is_number, [caption.weight, *times])):
        raise BadRecordError('weight or times of a caption are no numbers')
    return caption


def _is_text(value: object) -> bool:
    """Whether a value is a text that UTF-8 can hold, which JSON's may not be."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse_latents(kind: object, shape: Any, values: Any) -> np.ndarray:
    if not isinstance(kind, str) or kind not in ARRAYS:
        raise BadRecordError(f'latents are {kind!r}'[:60])
    if not isinstance(shape, list) or len(shape) != 4 or not all(is_integer(side, 1) for side in shape):
        raise BadRecordError('latents are of no shape')
    dtype = np.dtype(kind).newbyteorder('<')
    if not isinstance(values, bytes) or len(values) != math.prod(shape) * dtype.itemsize:
        raise BadRecordError(f'latents {shape} are not {len(values)} bytes')
    # In the byte order of this machine again, which mostly is that of the file: then nothing is copied.
    return np.frombuffer(values, dtype).reshape(shape).astype(kind, copy=False)
