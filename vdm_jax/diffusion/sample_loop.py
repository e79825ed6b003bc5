"""From noise to data: one scan over the steps of a sampler. Knows no network."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.process import Pair, Process, expand
from vdm_jax.diffusion.samplers import Sampler


def sample(
    denoise: Callable[[jax.Array, jax.Array], Pair],
    sampler: Sampler,
    process: Process,
    noise: jax.Array,
    keys: jax.Array | None = None,
    t_shape: tuple[int, ...] | None = None,
) -> jax.Array:
    """Walks x from t = 1 to t = 0 over process.times(sampler.steps).

    denoise: (x, t) -> (x0, eps), each of x's shape; t is float32 of shape t_shape; guidance is its own affair.
    noise: (B, T, H, W, C), x at t = 1. t_shape: (B,) unless given; (B, T) for a network that takes a time per frame.
    keys: (B,), one for each example, where the sampler is stochastic; the noise of step i is drawn from
        fold_in(keys[b], i), so that a sample does not depend on the batch it is in.

    Returns: (B, T, H, W, C) float32, x at t = 0.
    Raises: ValueError for a stochastic sampler without a key for each example.
    """
    if sampler.stochastic and (keys is None or len(keys) != len(noise)):
        found = 'none' if keys is None else len(keys)
        raise ValueError(f'config.sampler draws noise (eta > 0): want {len(noise)} keys, one an example; found {found}')
    t_shape = noise.shape[:1] if t_shape is None else t_shape

    def step(carry, moment):
        x, state = carry
        i, t, s = moment
        t, s = jnp.full(t_shape, t), jnp.full(t_shape, s)
        x0, eps = denoise(x, t)
        if sampler.clip is not None:
            x0, eps = _clipped(x0, x, t, process, sampler.clip)
        fresh = _noise(keys, i, x.shape[1:]) if sampler.stochastic else None
        return sampler.step(state, x, x0, eps, t, s, process, fresh), None

    x = noise.astype(jnp.float32)
    times = process.times(sampler.steps)
    moments = jnp.arange(sampler.steps), times[:-1], times[1:]
    (x, _), _ = jax.lax.scan(step, (x, sampler.init(x)), moments)
    return x


def _clipped(x0: jax.Array, x: jax.Array, t: jax.Array, process: Process, bound: float) -> Pair:
    """x0 within the bound, and the eps that goes with it and x."""
    alpha, sigma = (expand(c, x.ndim) for c in process.alpha_sigma(t))
    x0 = jnp.clip(x0, -bound, bound)
    return x0, (x - alpha * x0) / sigma


def _noise(keys: jax.Array, i: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, i), shape))(keys)
