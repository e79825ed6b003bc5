"""Errors of Orbax and TensorStore, translated: what a user can do something about is one line."""

import contextlib
import os
from collections.abc import Iterator, Mapping

import jax
from etils import epath

from vdm_jax.errors import UserError, first_line
from vdm_jax.files import DISK_ERRORS, is_local
from vdm_jax.parallel.rules import path_name
from vdm_jax.train.types import ArrayTree, ShapeTree

# What Orbax and TensorStore raise where a file is not what they want; where memory is full they raise others.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError)


@contextlib.contextmanager
def explain_disk_errors(directory: epath.Path) -> Iterator[None]:
    """Translate what Orbax and TensorStore raise where they cannot write.

    Raises:
      OSError: The disk takes no more; names the directory.
      UserError: The directory is none.
    """
    try:
        yield
    except Exception as error:
        # TensorStore has no errno: the system's words are in its message.
        message = str(root_cause(error))
        for number in DISK_ERRORS:
            if os.strerror(number) in message:
                raise OSError(number, os.strerror(number), str(directory)) from None
        if is_local(directory) and os.path.lexists(directory) and not os.path.isdir(directory):
            raise UserError(f'{directory}: is not a directory') from None
        raise


@contextlib.contextmanager
def explain_unreadable(directory: epath.Path) -> Iterator[None]:
    """Translate what Orbax raises where nothing but reading is done.

    Raises:
      UserError: Files of the directory cannot be read.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not is_unreadable(error):
            raise
        raise UserError(f'{directory}: cannot be read ({first_line(root_cause(error))})') from error


def is_unreadable(error: BaseException) -> bool:
    """Return whether an error of Orbax says that files are not what it wants, not that a disk or memory is full."""
    cause = root_cause(error)
    if isinstance(cause, OSError) and cause.errno in DISK_ERRORS:
        return False
    return isinstance(cause, UNREADABLE)


def describe_misfit(wanted: Mapping[str, ShapeTree], present: Mapping[str, ShapeTree], partial: bool = False) -> str:
    """Return which array a checkpoint has in another shape than is wanted, or lacks: the first by name.

    Args:
      wanted: Trees of shapes by item.
      present: The same of the checkpoint.
      partial: Whether the checkpoint may have more.

    Returns:
      '' where there is none, and where an item has no shapes.
    """
    for item, tree in wanted.items():
        ours = array_shapes(tree)
        theirs = array_shapes(present.get(item))
        # No item is written without arrays: it is damaged, which others tell better.
        if ours and not theirs:
            return ''
        names = ours.keys() if partial else ours.keys() | theirs.keys()
        for name in sorted(names):
            if ours.get(name) != theirs.get(name):
                has = _describe_shape(theirs, name)
                wants = _describe_shape(ours, name)
                return f'{item} {name} is {has} in the checkpoint, and {wants} in the config'
    return ''


def _describe_shape(shapes: dict[str, tuple[int, ...]], name: str) -> str:
    return f'of shape {shapes[name]}' if name in shapes else 'not there'


def check_arrays(tree: ArrayTree) -> None:
    """Check that a tree that was read holds arrays alone: for one that is missing Orbax may return its shape.

    Raises:
      ValueError: An array is missing.
    """
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree)):
        raise ValueError('an array is missing')


def array_shapes(tree: ShapeTree) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the leaves of a tree by path; leaves without one are left out."""
    shapes = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        # Orbax's metadata of a value that is no array has no shape, or none that it knows.
        shape = getattr(leaf, 'shape', None)
        if shape is not None:
            shapes[path_name(path)] = tuple(shape)
    return shapes


def root_cause(error: BaseException) -> BaseException:
    """Return what an error was raised from in the end: Orbax calls any error while it reads an incompatible handler."""
    while error.__cause__:
        error = error.__cause__
    return error
