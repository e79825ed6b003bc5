"""Leaving conditions out: what "none" is for each of them."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

Conditions = Mapping[str, jax.Array]  # by name; each has a row for each video


def without(
    conditions: Conditions, classes: int, dropped_B: ArrayLike = True, label: int | None = None
) -> dict[str, jax.Array]:
    """Replace label and text by "none" in the videos where `dropped_B` (bool, (B,) or one) is true.

    These are what guidance contrasts; scalars and all else stay. `label` is put in place of "no label", as a negative
    condition.
    """
    none = dict(conditions)

    def each(array: jax.Array) -> jax.Array:
        return jnp.expand_dims(jnp.broadcast_to(dropped_B, len(array)), range(1, array.ndim))

    if 'label' in none:
        # "No label" is a row of the label table of its own, the one behind the last class.
        absent = classes if label is None else label
        none['label'] = jnp.where(each(none['label']), absent, none['label'])

    if 'text' in none:
        # The embeddings may stay: under a mask that is nowhere true the network looks at its learned "no text" instead.
        mask = none.get('text_mask', jnp.ones(none['text'].shape[:2], bool))
        none['text_mask'] = mask & ~each(mask)

    return none
