"""What is behind the errors of Orbax and TensorStore."""

import contextlib
import os
from collections.abc import Iterator

import jax

from vdm_jax.errors import UserError, first_line
from vdm_jax.files import DISK_ERRORS, is_local
from vdm_jax.parallel.rules import path_name

# What Orbax and TensorStore raise where a file is not what they want; of memory that is full it is another.
UNREADABLE = OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError


@contextlib.contextmanager
def plain_errors(directory) -> Iterator[None]:
    """Within it, what Orbax and TensorStore say of a disk that takes no more is an OSError of that directory, and of a
    directory that is none a UserError.
    """
    try:
        yield
    except Exception as error:
        for number in DISK_ERRORS:
            if os.strerror(number) in str(root_of(error)):
                raise OSError(number, os.strerror(number), str(directory)) from None
        if is_local(directory) and os.path.lexists(directory) and not os.path.isdir(directory):
            raise UserError(f'{directory}: is not a directory') from None
        raise


@contextlib.contextmanager
def explain_unreadable(directory) -> Iterator[None]:
    """Within it, nothing but reading is done: files that Orbax cannot read are a UserError of that directory."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not is_unreadable(error):
            raise
        raise UserError(f'{directory}: cannot be read ({first_line(root_of(error))})') from error


def is_unreadable(error: BaseException) -> bool:
    """Whether an error of Orbax says that files are not what it wants, rather than that a disk or memory is full."""
    root = root_of(error)
    return isinstance(root, UNREADABLE) and getattr(root, 'errno', None) not in DISK_ERRORS


def misfit(wanted: dict, there: dict, partial: bool = False) -> str:
    """The first array that a checkpoint has in another shape than is wanted, or has not; '' for none, and where an item
    says nothing of its arrays.

    Args:
      wanted, there: trees of what says of arrays, by item.
      partial: the checkpoint may have more.
    """
    for item, tree in wanted.items():
        ours, theirs = shapes_in(tree), shapes_in(there.get(item))
        if ours and not theirs:  # it is damaged: no item is written without arrays
            return ''
        names = ours.keys() if partial else ours.keys() | theirs.keys()
        for name in sorted(names):
            if ours.get(name) != theirs.get(name):
                has, wants = (f'of shape {each[name]}' if name in each else 'not there' for each in (theirs, ours))
                return f'{item} {name} is {has} in the checkpoint, and {wants} in the config'
    return ''


def check_arrays(tree) -> None:
    """Whether a tree that was read holds arrays alone: of what is not there, Orbax may give back what was asked for.

    Raises:
      ValueError: an array is missing.
    """
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree)):
        raise ValueError('an array is missing')


def shapes_in(tree) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a tree, or of what says of them, by their paths."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_name(path): tuple(leaf.shape) for path, leaf in leaves if getattr(leaf, 'shape', None) is not None}


def root_of(error: BaseException) -> BaseException:
    """What an error comes from in the end: Orbax calls whatever is raised while it reads an incompatible handler."""
    while error.__cause__:
        error = error.__cause__
    return error
