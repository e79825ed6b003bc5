"""What is behind the errors of Orbax and TensorStore."""

import contextlib
import os
from collections.abc import Iterator

import jax

from vdm_jax.files import DISK_ERRORS
from vdm_jax.parallel.rules import path_name


@contextlib.contextmanager
def plain_disk_errors(directory) -> Iterator[None]:
    """Within it, what Orbax and TensorStore say of a disk that takes no more is an OSError of that directory."""
    try:
        yield
    except Exception as error:
        for number in DISK_ERRORS:
            if os.strerror(number) in str(root_of(error)):
                raise OSError(number, os.strerror(number), str(directory)) from None
        raise


def shapes_in(tree) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a tree, or of what says of them, by their paths."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_name(path): tuple(leaf.shape) for path, leaf in leaves if getattr(leaf, 'shape', None) is not None}


def root_of(error: BaseException) -> BaseException:
    """What an error comes from in the end: Orbax calls whatever is raised while it reads an incompatible handler."""
    while error.__cause__:
        error = error.__cause__
    return error
