"""IDX files, plain or gzipped: the format in which images of the MNIST family are published."""

import gzip
import os
import struct
import zlib

import numpy as np

from vdm_jax.errors import UserError

IMAGES = 0x00000803  # unsigned bytes in three dimensions
MOST = 2**20  # images: the largest set of the family, EMNIST by class, has 814,255


def find_file(folder: str, name: str) -> str | None:
    """Find `name` or `name`.gz in a folder.

    Returns:
      The path, that of the plain one where there are both; None where there is neither.
    """
    paths = (os.path.join(folder, name + ending) for ending in ('', '.gz'))
    return next((path for path in paths if os.path.isfile(path)), None)


def read_images(path: str, side: int = 28) -> np.ndarray:
    """Read the images of an IDX file: uint8 (N, side, side), read-only.

    The format (yann.lecun.com/exdb/mnist): four big-endian numbers (magic, images, rows, columns), then the pixels.

    Raises:
      UserError: another kind of file, images of another size, or a file that ends too soon.
    """
    try:
        with gzip.open(path, 'rb') if path.endswith('.gz') else open(path, 'rb') as file:
            header = file.read(16)
            if len(header) < 16:
                raise UserError(f'{path} is no IDX file: it has {len(header)} bytes; fetch it again')

            magic, count, rows, columns = struct.unpack('>4I', header)
            if magic != IMAGES:
                raise UserError(f'{path} holds no images: magic number {magic:#010x}, want {IMAGES:#010x}')
            if (rows, columns) != (side, side) or not 1 <= count <= MOST:
                raise UserError(f'{path} holds {count} images of {rows}x{columns}: want 1 or more of {side}x{side}')

            # No more than the header says: a small .gz may unpack to anything.
            pixels = file.read(count * side * side)
            # A gzipped file's checksum stands at its end, and is looked at when that is reached.
            file.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f'{path} cannot be read: {error}; fetch it again') from None
    if len(pixels) < count * side * side:
        raise UserError(f'{path} is cut off: {len(pixels) // side**2} of {count} images; fetch it again')
    return np.frombuffer(pixels, np.uint8).reshape(count, side, side)
