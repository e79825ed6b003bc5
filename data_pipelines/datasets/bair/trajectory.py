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

from vdm_jax.data.video.broken import BrokenVideoError

SHAPE = (64, 64, 3)


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """The frames of one camera in `size` bytes of a file at `offset`."""

    path: str
    offset: int
    size: int
    camera: str
    fps: float

    def __len__(self):
        return len(self._pictures)

    def frames(self, first=0):
        yield from self._pictures[first:]

    @property
    def _pictures(self):
        try:
            with open(self.path, 'rb') as file:
                file.seek(self.offset)
                found = features(memoryview(file.read(self.size)))
        except (OSError, ValueError, IndexError) as error:
            raise BrokenVideoError(f'the example at byte {self.offset} does not decode: {error}') from None
        frames = []
        while (data := found.get(f'{len(frames)}/{self.camera}/encoded')) is not None:
            if len(data) != np.prod(SHAPE):
                raise BrokenVideoError(f'frame {len(frames)} has {len(data)} bytes, want {np.prod(SHAPE)} raw pixels')
            frames.append(np.frombuffer(data, np.uint8).reshape(SHAPE))
        return frames


def examples(path) -> Iterator[tuple[int, int]]:
    """Yields (offset, size) of every example of a TFRecord file; only lengths are read.

    Raises: BrokenVideoError where a length's checksum is wrong or the file ends early.
    """
    end = os.path.getsize(path)
    with open(path, 'rb') as file:
        while head := file.read(12):
            at = file.tell()
            size = struct.unpack('<Q', head[:8])[0] if len(head) == 12 else 0
            if len(head) < 12 or masked_crc(head[:8]) != struct.unpack('<I', head[8:])[0]:
                raise BrokenVideoError(f'no TFRecord at byte {at - len(head)}')
            if at + size + 4 > end:
                raise BrokenVideoError(f'cut off: the example at byte {at} ends at byte {at + size + 4} of {end}')
            yield at, size
            file.seek(size + 4, os.SEEK_CUR)


def features(example) -> dict[str, memoryview]:
    """{name: its first bytes value} of a serialized Example, for those features that are lists of bytes.

    Raises: ValueError, IndexError for what is none.
    """
    found = {}
    for features_ in _fields(example, 1):
        for pair in _fields(features_, 1):
            name = bytes(next(_fields(pair, 1), b'')).decode()
            for feature in _fields(pair, 2):
                for bytes_list in _fields(feature, 1):
                    for value in _fields(bytes_list, 1):
                        found.setdefault(name, value)
    return found


def _fields(message, wanted):
    """The values of a length-delimited field of a protocol buffer (https://protobuf.dev/programming-guides/encoding)."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(message, at)
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f'wire type {kind}')
        size, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        if at + size > len(message):
            raise ValueError('a field is longer than its message')
        if kind == 2 and tag >> 3 == wanted:
            yield message[at : at + size]
        at += size


def _varint(message, at):
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError('a number of more than 64 bits')


def masked_crc(data: bytes) -> int:
    """CRC-32C (Castagnoli) of a few bytes, turned and shifted as TFRecords store it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
