"""From noise to data: one scan over the steps of a sampler. Knows no network."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.objective import Denoised
from vdm_jax.diffusion.process import Process, expand
from vdm_jax.diffusion.samplers import Sampler

Carry = tuple[jax.Array, jax.Array, Any]  # x, the x0 of the step before, the sampler's memory


def sample(
    denoise: Callable[[jax.Array, jax.Array, jax.Array], Denoised],
    sampler: Sampler,
    process: Process,
    noise: jax.Array,
    keys: jax.Array | None = None,
    t_shape: tuple[int, ...] | None = None,
) -> jax.Array:
    """Walk x from noise to data over the times of sampler.spacing.

    denoise: (x, t, before) -> objective.Denoised, whose x0 and eps have x's shape; t is float32 of shape t_shape;
        `before` is the x0 of the step before, of x's shape and 0 at first (for self-conditioning); guidance is its own
        affair.
    noise: (B, T, H, W, C), standard normal. t_shape: (B,) unless given; (B, T) for a network that takes a time per
        frame.
    keys: (B,), one for each example, where the sampler is stochastic; the noise of step i is drawn from
        fold_in(keys[b], i), so that a sample does not depend on the batch it is in.

    Returns: (B, T, H, W, C) float32, x at the last time, t = 0 unless the spacing ends before.
    Raises: ValueError for a stochastic sampler without a key for each example.
    """
    if sampler.stochastic and (keys is None or len(keys) != len(noise)):
        found = 'none' if keys is None else len(keys)
        raise ValueError(f'config.sampler draws noise: want {len(noise)} keys, one an example; found {found}')
    t_shape = noise.shape[:1] if t_shape is None else t_shape

    def step(carry: Carry, moment: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[Carry, None]:
        x, before, state = carry
        i, t, s = moment
        t, s = jnp.full(t_shape, t), jnp.full(t_shape, s)

        def ask(x: jax.Array, t: jax.Array) -> Denoised:
            said: Denoised = jax.tree.map(lambda y: y.astype(jnp.float32), denoise(x, t, before))
            return said if sampler.clip is None else _clipped(said, x, t, process, sampler.clip)

        fresh = _noise(keys, i, x.shape[1:]) if sampler.stochastic and keys is not None else None
        after = sampler.step(ask, state, x, t, s, process, fresh)
        return (after.x, after.x0, after.state), None

    times = sampler.spacing.times(process, sampler.steps)
    x = sampler.begin(process, noise.astype(jnp.float32), times[0])
    moments = jnp.arange(sampler.steps), times[:-1], times[1:]
    last, _ = jax.lax.scan(step, (x, jnp.zeros_like(x), sampler.init(x)), moments)
    return last[0]


def _clipped(said: Denoised, x: jax.Array, t: jax.Array, process: Process, bound: float) -> Denoised:
    """Clip x0 to the bound, and take the eps that goes with it and x."""
    alpha, sigma = (expand(c, x.ndim) for c in process.alpha_sigma(t))
    x0 = jnp.clip(said.x0, -bound, bound)
    return said._replace(x0=x0, eps=(x - alpha * x0) / jnp.maximum(sigma, 1e-12))


def _noise(keys: jax.Array, i: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, i), shape))(keys)
