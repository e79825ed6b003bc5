"""Files of numpy's .npy format that somebody else may have made, read in pieces: no memory map, no pickle.

A memory map would count as memory of the process all that it ever touched, and end it without a word where a file is
cut off. Sizes in a header are held against the file before anything is made of them.
"""

import hashlib
import io
import math
import os
import weakref

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.files import check_regular

DIGEST = '<u8'  # the type of what digest_of gives, in files


class DamageError(Exception):
    """What is wrong with a file, without its name."""


def digest_of(content) -> int:
    """The first eight bytes of the sha256 of a buffer, as a number."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], 'little')


def header_of(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """What a file of such an array begins with."""
    header = io.BytesIO()
    about = {'descr': np.lib.format.dtype_to_descr(dtype), 'fortran_order': False, 'shape': shape}
    np.lib.format.write_array_header_1_0(header, about)
    return header.getvalue()


def read_header(file) -> tuple[np.dtype, tuple[int, ...]]:
    """(dtype, shape) of an open file, which is then where its values begin.

    Raises:
      DamageError: it is no header, or one of Python objects or of columns one after the other.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, columns, dtype = read(file)
        size = dtype.itemsize * math.prod(shape)
    except Exception as error:  # the parser of Python is beneath, which has errors of every kind
        raise DamageError(f'no array of numpy: {type(error).__name__}') from None
    if columns or dtype.hasobject or min(shape, default=0) < 0 or size > 2**62:
        raise DamageError('no array of plain rows')
    return dtype, shape


class RowFile:
    """An array in a file, of which bytes are read with pread by any number of threads; closed when it is dropped.

    Attributes:
      dtype, shape: of the array.

    Raises:
      DamageError: no regular file, no array, or one of another size than the file's.
    """

    def __init__(self, path):
        try:
            size = check_regular(path)
            with open(path, 'rb') as file:
                self.dtype, self.shape = read_header(file)
                self._begin = file.tell()
            self.number = os.open(path, os.O_RDONLY)
        except UserError as error:
            raise DamageError(str(error).removeprefix(f'{path}: ')) from None
        except OSError as error:
            raise DamageError(error.strerror) from None
        weakref.finalize(self, os.close, self.number)
        nbytes = self.dtype.itemsize * math.prod(self.shape)
        if size != self._begin + nbytes:
            raise DamageError(f'{size:,} bytes, and its header says {self._begin + nbytes:,}')

    def expect(self, first: int, count: int) -> None:
        """Has the system read `count` bytes of the array ahead, from byte `first`."""
        if hasattr(os, 'posix_fadvise'):
            os.posix_fadvise(self.number, self._begin + first, count, os.POSIX_FADV_WILLNEED)

    def read(self, first: int, into: memoryview) -> None:
        """Fills `into` from byte `first` of the array.

        Raises:
          DamageError: the file ends before, or cannot be read.
        """
        at = self._begin + first
        while into:
            try:
                count = os.preadv(self.number, [into], at)
            except OSError as error:
                raise DamageError(error.strerror) from None
            if not count:
                raise DamageError('a file ends too early')
            into = into[count:]
            at += count
