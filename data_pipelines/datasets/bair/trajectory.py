"""One trajectory of the BAIR archive: TFRecord framing and the protocol buffer inside, read without TensorFlow.

A TFRecord file is a row of: length (uint64), masked CRC-32C of it, that many bytes, masked CRC-32C of them
(https://www.tensorflow.org/tutorials/load_data/tfrecord). Here the bytes are an Example (or a SequenceExample, whose
context has the same place): a map from '0/image_main/encoded' to a list of one bytes value, 64x64x3 raw pixels, and so
on for every frame, camera, action and end effector position. The lengths' checksums are checked, those of the bytes are
not (there are no fast ones without another library); sizes of all pictures are.
"""

import dataclasses
import os
import struct
from collections.abc import Iterator

import numpy as np

from data_pipelines.inputs.stills import NO_LIMITS, Stills
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.limits import Limits

SHAPE = (64, 64, 3)

# Wire types of protocol buffers (https://protobuf.dev/programming-guides/encoding).
VARINT = 0
FIXED64 = 1
LENGTH_DELIMITED = 2
FIXED32 = 5
FIXED_SIZES = {FIXED64: 8, FIXED32: 4}


@dataclasses.dataclass(frozen=True)
class Trajectory(Stills):
    """The frames of one camera in `size` bytes of a file at `offset`."""

    path: str
    offset: int
    size: int
    camera: str
    fps: float

    def __len__(self) -> int:
        return len(self._pictures)

    def frames(self, first: int = 0, limits: Limits = NO_LIMITS) -> Iterator[np.ndarray]:
        yield from self._pictures[first:]

    @property
    def _pictures(self) -> list[np.ndarray]:
        try:
            with open(self.path, 'rb') as file:
                file.seek(self.offset)
                features = read_features(memoryview(file.read(self.size)))
        except (OSError, ValueError, IndexError) as error:
            raise BrokenVideoError(f'the example at byte {self.offset} does not decode: {error}') from None

        frames: list[np.ndarray] = []
        while (data := features.get(f'{len(frames)}/{self.camera}/encoded')) is not None:
            if len(data) != np.prod(SHAPE):
                raise BrokenVideoError(f'frame {len(frames)} has {len(data)} bytes, want {np.prod(SHAPE)} raw pixels')
            frames.append(np.frombuffer(data, np.uint8).reshape(SHAPE))
        return frames


def find_examples(path: str) -> Iterator[tuple[int, int]]:
    """Yield (offset, size) of every example of a TFRecord file; only lengths are read.

    Raises:
      BrokenVideoError: a length's checksum is wrong, or the file ends early.
    """
    end = os.path.getsize(path)
    with open(path, 'rb') as file:
        while header := file.read(12):
            offset = file.tell()
            if len(header) < 12 or masked_crc(header[:8]) != struct.unpack('<I', header[8:])[0]:
                raise BrokenVideoError(f'no TFRecord at byte {offset - len(header)}')
            size = struct.unpack('<Q', header[:8])[0]
            example_end = offset + size + 4
            if example_end > end:
                raise BrokenVideoError(f'cut off: the example at byte {offset} ends at byte {example_end} of {end}')
            yield offset, size
            # Past the example and its own checksum.
            file.seek(size + 4, os.SEEK_CUR)


def read_features(example: memoryview) -> dict[str, memoryview]:
    """Return {name: its first bytes value} of a serialized Example, for those features that are lists of bytes.

    Raises:
      ValueError, IndexError: it is none.
    """
    # Fields as tensorflow/core/example numbers them: the features of an Example are 1, their map 1, of its entries the
    # name 1 and the feature 2, of a feature its list of bytes 1, and of that the values 1.
    values: dict[str, memoryview] = {}
    for features in _read_fields(example, 1):
        for entry in _read_fields(features, 1):
            name = bytes(next(_read_fields(entry, 1), memoryview(b''))).decode()
            for feature in _read_fields(entry, 2):
                for bytes_list in _read_fields(feature, 1):
                    for value in _read_fields(bytes_list, 1):
                        # Of several values the first counts.
                        values.setdefault(name, value)
    return values


def _read_fields(message: memoryview, number: int) -> Iterator[memoryview]:
    """Yield the values of a length-delimited field of a protocol buffer, by its number."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        wire_type = tag & 7
        if wire_type == VARINT:
            _, position = _read_varint(message, position)
            continue

        if wire_type == LENGTH_DELIMITED:
            size, position = _read_varint(message, position)
        elif wire_type in FIXED_SIZES:
            size = FIXED_SIZES[wire_type]
        else:
            raise ValueError(f'wire type {wire_type}')
        if position + size > len(message):
            raise ValueError('a field is longer than its message')

        if wire_type == LENGTH_DELIMITED and tag >> 3 == number:
            yield message[position : position + size]
        position += size


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return (value, position behind it) of a number in groups of seven bits, the lowest first."""
    value = 0
    shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
        if shift > 63:
            raise ValueError('a number of more than 64 bits')


def masked_crc(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of a few bytes, rotated and shifted as TFRecords store it."""
    # Bit by bit, by the reversed polynomial: a table does not pay for the eight bytes of a length.
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
