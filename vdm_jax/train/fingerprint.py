"""Fingerprints of trees of arrays: whether two are the same, bit for bit, without keeping either."""

import hashlib

import jax
import numpy as np

from vdm_jax.parallel.rules import path_name
from vdm_jax.train.types import ArrayTree


def fingerprint(tree: ArrayTree) -> str:
    """Return sha256 over the names, dtypes, shapes and bytes of every array of a tree, in the order of their names."""
    leaves = {path_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}
    digest = hashlib.sha256()
    for name, array in sorted(leaves.items()):
        digest.update(f'{name} {array.dtype} {array.shape}\n'.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
