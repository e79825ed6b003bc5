"""Gather weights that are split over fsdp, where they are used and not before (ZeRO, Rajbhandari et al. 2020)."""

from typing import TypeVar

import jax
import jax.typing
from jax.ad_checkpoint import checkpoint_name

from vdm_jax.parallel.rules import KeyPath, Rules, axes_for, path_name
from vdm_jax.parallel.sharding import axis_size, constrain

GATHERED = 'gathered'  # what rematerialisation calls them: the backward pass gathers them anew

Tree = TypeVar('Tree')


def gather_weights(weights: Tree, dtype: jax.typing.DTypeLike, rules: Rules, but: str | None = None) -> Tree:
    """Gather each weight of a tree that the rules split over fsdp, in the dtype it is used in, which is what is sent.

    What lies below `but` stays. Left to itself the partitioner would rather move what small weights are multiplied
    with, the conditioning of all videos, and that between slices too.
    """
    if axis_size('fsdp') == 1:
        return weights

    def gather_leaf(path: KeyPath, leaf: jax.Array) -> jax.Array:
        name = path_name(path)
        axes = axes_for(name, leaf.ndim, rules)
        if 'fsdp' not in axes or (but and name.startswith(f'{but}/')):
            return leaf
        # In the dtype of its use first, so that half the bytes are sent; still split as the other axes say.
        other_axes = (None if axis == 'fsdp' else axis for axis in axes)
        full_leaf: jax.Array = checkpoint_name(constrain(leaf.astype(dtype), *other_axes), GATHERED)
        return full_leaf

    full_weights: Tree = jax.tree_util.tree_map_with_path(gather_leaf, weights)
    return full_weights
