"""Files of numpy's .npy format that somebody else may have made, read in pieces: no memory map, no pickle.

A memory map would count as memory of the process all that it ever touched, and end it without a word where a file is
cut off. Sizes in a header are held against the file before anything is made of them.
"""

import hashlib
import io
import math
import os
import sys
import weakref
from typing import Any, BinaryIO

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.files import check_regular

DIGEST = '<u8'  # the type of what digest_of returns, in files


class DamageError(Exception):
    """What is wrong with a file, without its name."""


def digest_of(content: bytes | memoryview) -> int:
    """Return the first eight bytes of the sha256 of a buffer, as a number."""
    # Damage is what is looked for, not an attacker: eight bytes miss it once in 2^64, and are stored for every row.
    return int.from_bytes(hashlib.sha256(content).digest()[:8], 'little')


def header_of(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return what a file of such an array begins with."""
    header = io.BytesIO()
    about = {'descr': np.lib.format.dtype_to_descr(dtype), 'fortran_order': False, 'shape': shape}
    np.lib.format.write_array_header_1_0(header, about)
    return header.getvalue()


def read_header(file: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return (dtype, shape) of an open file, which is then where its values begin.

    Raises:
      DamageError: it is no header, or one of Python objects or of columns one after the other.
    """
    try:
        version = np.lib.format.read_magic(file)
        # Version 3 is for names of fields beyond Latin-1, which no file here has.
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, is_column_major, dtype = readers[version](file)
        size = dtype.itemsize * math.prod(shape)
    except Exception as error:  # numpy parses headers as Python, which has errors of every kind
        raise DamageError(f'no array of numpy: {type(error).__name__}') from None
    if is_column_major:
        raise DamageError('its columns lie one after the other (Fortran order); save numpy.ascontiguousarray of it')
    if dtype.hasobject or min(shape, default=0) < 0 or size > 2**62:
        raise DamageError('no array of plain rows')
    return dtype, shape


class RowFile:
    """An array in a file, of which bytes are read with pread by any number of threads; closed when it is dropped.

    Attributes:
      dtype: Of the array.
      shape: Of the array.
      number: The file descriptor.

    Raises:
      DamageError: no regular file, no array, or one of another size than the file's.
    """

    def __init__(self, path: str | os.PathLike[str]):
        try:
            size = check_regular(path)
            with open(path, 'rb') as file:
                self.dtype, self.shape = read_header(file)
                self._begin = file.tell()
            # Read with pread, which moves no position: threads share one descriptor without a lock.
            self.number = os.open(path, os.O_RDONLY)
        except UserError as error:
            raise DamageError(str(error).removeprefix(f'{path}: ')) from None
        except OSError as error:
            raise DamageError(error.strerror) from None
        # A finalizer, since __del__ at the exit of Python may find `os` gone, and prints a traceback.
        weakref.finalize(self, os.close, self.number)
        # Known now, and not in the middle of an epoch: a file that was cut off.
        nbytes = self.dtype.itemsize * math.prod(self.shape)
        if size != self._begin + nbytes:
            raise DamageError(f'{size:,} bytes, and its header says {self._begin + nbytes:,}')

    def expect(self, first: int, count: int) -> None:
        """Make the system read `count` bytes of the array ahead, from byte `first`."""
        # macOS has no posix_fadvise; it is a hint, and nothing depends on it.
        if sys.platform == 'linux':
            os.posix_fadvise(self.number, self._begin + first, count, os.POSIX_FADV_WILLNEED)

    def read(self, first: int, into: memoryview) -> None:
        """Fill `into` from byte `first` of the array.

        Raises:
          DamageError: the file ends before, or cannot be read.
        """
        position = self._begin + first
        while into:
            try:
                count = os.preadv(self.number, [into], position)
            except OSError as error:
                raise DamageError(error.strerror) from None
            if not count:
                raise DamageError('a file ends too early')
            # A read may end early: what is left is read on.
            into = into[count:]
            position += count
