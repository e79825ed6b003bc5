"""Leaving conditions out: what "none" is for each of them."""

import jax.numpy as jnp


def without(conditions: dict, classes: int, dropped_B=True, label: int | None = None) -> dict:
    """The conditions with label and text replaced by "none" in the videos where `dropped_B` (bool, (B,) or one) is
    true.

    These are what guidance contrasts; scalars and all else stay. `label` is put in place of "no label", as a negative
    condition.
    """
    none = dict(conditions)

    def each(array):
        return jnp.expand_dims(jnp.broadcast_to(dropped_B, len(array)), range(1, array.ndim))

    if 'label' in none:
        absent = classes if label is None else label
        none['label'] = jnp.where(each(none['label']), absent, none['label'])
    if 'text' in none:
        mask = none.get('text_mask', jnp.ones(none['text'].shape[:2], bool))
        none['text_mask'] = mask & ~each(mask)
    return none
