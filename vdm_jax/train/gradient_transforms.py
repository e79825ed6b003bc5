"""What gradients go through before an optimizer's rule sees them, whichever rule it is."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


def clip_by_global_norm(bound: float, first_update: int = 0) -> optax.GradientTransformation:
    """Return a transformation that bounds the global norm of the gradients, from update `first_update` on."""
    # It holds no state: the count of updates takes its place where clipping begins late.
    clip = optax.clip_by_global_norm(bound)
    if not first_update:
        return clip

    def init(params: optax.Params) -> jax.Array:
        return jnp.zeros((), jnp.int32)

    def update(
        grads: optax.Updates, count: jax.Array, params: optax.Params | None = None
    ) -> tuple[optax.Updates, jax.Array]:
        bounded, _ = clip.update(grads, clip.init(grads))
        updates = jax.tree.map(lambda grad, bound: jnp.where(count < first_update, grad, bound), grads, bounded)
        return updates, count + 1

    return optax.GradientTransformation(init, update)


class JoinedState(NamedTuple):
    """State of `join_first_gradients`.

    Attributes:
      count: Updates that were asked for, () int32.
      waiting: Gradients of the first step until the second; zeros after it.
      inner: State of the transformation that they are meant for.
    """

    count: jax.Array  # type: ignore[assignment]  # a tuple has a method of that name
    waiting: optax.Updates
    inner: optax.OptState


def join_first_gradients(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Return `inner` with the gradients of the first two steps added up as its first update.

    The first step changes nothing.
    """

    def init(params: optax.Params) -> JoinedState:
        return JoinedState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params), inner.init(params))

    def update(
        grads: optax.Updates, state: JoinedState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, JoinedState]:
        # Both outcomes are computed in every step and one is chosen: under jit there is no branch.
        is_first = state.count == 0
        updates, after = inner.update(jax.tree.map(jnp.add, grads, state.waiting), state.inner, params)

        def keep_while_first(before: optax.OptState, after: optax.OptState) -> optax.OptState:
            return jax.tree.map(lambda a, b: jnp.where(is_first, a, b), before, after)

        waiting = jax.tree.map(lambda grad: jnp.where(is_first, grad, 0), grads)
        updates = jax.tree.map(lambda update: jnp.where(is_first, 0, update), updates)
        return updates, JoinedState(state.count + 1, waiting, keep_while_first(state.inner, after))

    return optax.GradientTransformation(init, update)
