"""Read a pickle that holds numpy arrays in nested dicts, and nothing else, without running anything of it.

A pickle is a program. Here its hash comes first; then its instructions are compared with those that dicts and arrays
need; and what it may call are three names of numpy, in whose place stand objects of this file. So no function of numpy
sees what the pickle holds: numpy's own `dtype.__setstate__` takes flags by which bytes would pass for pointers.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.files import check_sha256

SEPARATOR = '/'
DEEPEST = 32  # dicts within each other
# Instructions of nested dicts, texts, numbers, bytes, and of an array's parts; the rest is not for weights.
OPCODES = {
    'PROTO', 'FRAME', 'STOP', 'MARK', 'POP', 'POP_MARK', 'DUP',
    'EMPTY_DICT', 'DICT', 'SETITEM', 'SETITEMS', 'EMPTY_TUPLE', 'TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3',
    'PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE', 'GET', 'BINGET', 'LONG_BINGET',
    'NONE', 'NEWTRUE', 'NEWFALSE', 'INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1',
    'UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'SHORT_BINBYTES', 'BINBYTES', 'BINBYTES8',
    'GLOBAL', 'STACK_GLOBAL', 'REDUCE', 'BUILD',
}  # fmt: skip
PUTS = {'PUT', 'BINPUT', 'LONG_BINPUT'}
# By numpy's names of them: kind and bytes.
DTYPES = {
    f'{kind}{size}' for kind, sizes in {'f': (2, 4, 8), 'i': (1, 2, 4, 8), 'u': (1, 2, 4, 8)}.items() for size in sizes
}
DTYPES |= {'b1'}
MODULES = ('numpy.core.multiarray', 'numpy._core.multiarray')  # before numpy 2, and since
# What the machine of pickles raises where its program makes no sense.
SENSELESS = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError, OverflowError, MemoryError,
)  # fmt: skip


class UnsafePickleError(ValueError):
    """What a pickle holds that is no array in nested dicts."""


def load(content: bytes, sha256: str, called: str) -> dict[str, np.ndarray]:
    """Return the arrays of a pickle of nested dicts, by their keys joined with '/': 'params/Conv_0/kernel'.

    Args:
      content: Of the file.
      sha256: That it must have; compared before anything of it is looked at.
      called: What messages call it.

    Raises:
      UserError: It has another hash, is cut short, or holds anything but arrays of plain numbers in dicts by text.
    """
    check_sha256(content, sha256, called)
    try:
        _check_opcodes(content)
        values = _Unpickler(io.BytesIO(content)).load()
        return _flatten(values, most_bytes=len(content))
    except UnsafePickleError as error:
        raise UserError(f'{called}: {error}; it is not read, and nothing of it has run') from None
    except SENSELESS as error:
        reason = str(error).split('\n')[0][:200]
        raise UserError(
            f'{called}: is no pickle of arrays, or is cut short ({reason}); nothing of it has run'
        ) from None


def _check_opcodes(content: bytes) -> None:
    """Check that each instruction is one of those that arrays in dicts need.

    Raises:
      UnsafePickleError: One is not.
    """
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        # Memory is taken for all places up to the highest one that something is put at.
        if opcode.name in PUTS and int(argument or 0) > number:
            raise UnsafePickleError(f'puts something at place {argument:,}, with {number:,} instructions before')
        if opcode.name not in OPCODES:
            raise UnsafePickleError(f'holds the instruction {opcode.name}, which arrays in dicts do not need')


class _Dtype:
    """Stands for a numpy.dtype: which, and in which order of bytes."""

    def __init__(self, name: object, *flags: object):
        if not isinstance(name, str) or name not in DTYPES:
            raise UnsafePickleError(f'holds an array of dtype {name!r:.40}; want plain numbers')
        self.dtype = np.dtype(name)

    def __setstate__(self, state: object) -> None:
        # (version, order of bytes, subarray, names, fields, size, alignment, flags): only the order may say anything.
        order = state[1] if isinstance(state, tuple) and len(state) == 8 else None
        if order not in ('<', '>', '|', '=') or state != (3, order, None, None, None, -1, -1, 0):
            raise UnsafePickleError(f'holds a dtype of its own making ({state!r:.80})')
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for a numpy.ndarray; it has its array once its state is set."""

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise UnsafePickleError(f'holds an array with a state of its own making ({state!r:.80})')
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise UnsafePickleError(f'holds an array of {type(data).__name__}, not of the bytes of numbers')
        if (
            not isinstance(shape, tuple)
            or len(shape) > 32
            or not all(type(side) is int and side >= 0 for side in shape)
        ):
            raise UnsafePickleError(f'holds an array of shape {shape!r:.80}')
        if math.prod(shape) * dtype.dtype.itemsize != len(data):
            raise UnsafePickleError(f'holds an array of shape {shape!r:.80}, {dtype.dtype}, with {len(data):,} bytes')
        array = np.ndarray(shape, dtype.dtype, data, order='F' if is_fortran is True else 'C')
        # In the order of this machine, which is what the file of tensors is written in.
        self.array = array.astype(dtype.dtype.newbyteorder('='))


class _Class:
    """Stands for the class numpy.ndarray, which a pickle passes on and never calls."""

    def __setstate__(self, state: object) -> NoReturn:
        raise UnsafePickleError('changes numpy.ndarray')


_ARRAY_CLASS = _Class()


class _Reconstruct:
    """Stands for numpy's _reconstruct."""

    def __call__(self, subtype: object, shape: object, typecode: object) -> _Array:
        if subtype is not _ARRAY_CLASS:
            raise UnsafePickleError(f'makes an array of {subtype!r:.80}')
        return _Array()

    def __setstate__(self, state: object) -> NoReturn:
        raise UnsafePickleError('changes numpy.core.multiarray._reconstruct')


class _MakeDtype:
    """Stands for the class numpy.dtype, which a pickle calls."""

    def __call__(self, *arguments: object) -> _Dtype:
        return _Dtype(*arguments)

    def __setstate__(self, state: object) -> NoReturn:
        raise UnsafePickleError('changes numpy.dtype')


class _Unpickler(pickle.Unpickler):
    """A machine for pickles that knows three names."""

    def find_class(self, module: str, name: str, /) -> Any:
        """Return what stands for a name.

        Raises:
          UnsafePickleError: It is none of the three.
        """
        names: dict[tuple[str, str], Callable[[], object]] = {
            **{(each, '_reconstruct'): _Reconstruct for each in MODULES},
            ('numpy', 'ndarray'): lambda: _ARRAY_CLASS,
            ('numpy', 'dtype'): _MakeDtype,
        }
        if (module, name) not in names:
            raise UnsafePickleError(f'calls {module}.{name}'[:200])
        return names[module, name]()

    def persistent_load(self, pid: object, /) -> NoReturn:
        """Refuse what lies outside of the pickle."""
        raise UnsafePickleError(f'refers to something outside of itself ({pid!r:.80})')


def _flatten(values: object, most_bytes: int) -> dict[str, np.ndarray]:
    """Return arrays by joined keys.

    Raises:
      UnsafePickleError: Something else is there; or dicts hold themselves, or the same arrays over and over.
    """
    if not isinstance(values, dict):
        raise UnsafePickleError(f'holds {_describe(values)}, not dicts')
    arrays: dict[str, np.ndarray] = {}
    num_bytes = 0
    for name, array in _walk(values, ''):
        # Each array is in the pickle once; one that comes again could come without end.
        num_bytes += array.nbytes + 1
        # A key may have the separator in it, too: two arrays must not get one name.
        if name in arrays or num_bytes > most_bytes:
            raise UnsafePickleError(f'holds arrays several times ({name:.80})')
        arrays[name] = array
    return arrays


def _walk(values: dict[Any, Any], prefix: str, depth: int = 1) -> Iterator[tuple[str, np.ndarray]]:
    if depth > DEEPEST:
        raise UnsafePickleError(f'holds dicts more than {DEEPEST} deep')
    for key, value in values.items():
        if not isinstance(key, str) or not key:
            raise UnsafePickleError(f'has the key {key!r:.80}; want text')
        if isinstance(value, dict):
            yield from _walk(value, f'{prefix}{key}{SEPARATOR}', depth + 1)
        elif isinstance(value, _Array) and value.array is not None:
            yield prefix + key, value.array
        else:
            raise UnsafePickleError(f'holds {_describe(value)} at {prefix}{key:.80}, not an array')


def _describe(value: object) -> str:
    return 'an empty array' if isinstance(value, _Array) else f'a {type(value).__name__.lstrip("_")}'
