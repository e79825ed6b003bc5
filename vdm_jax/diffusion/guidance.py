"""Classifier-free guidance."""

import jax


def guide(conditional: jax.Array, unconditional: jax.Array, scale: float) -> jax.Array:
    """u + scale (c - u): 0 is unconditional, 1 is no guidance, above 1 stresses the condition.

    Ho & Salimans 2022, eq. 6, whose w is scale - 1. The two predictions are of one kind, any of prediction.KINDS, at
    one x_t: kinds are affine in one another there, and the weights sum to 1, so it is the same whichever is guided.
    """
    return (1 - scale) * unconditional + scale * conditional  # this form is exact at 0 and at 1
