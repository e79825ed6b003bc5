"""TensorBoard's event files, read without its code."""

import struct


def records(path):
    """The payloads of a TFRecord file."""
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack('<Q', data[:8])
        yield data[12 : 12 + length]
        data = data[16 + length :]
