"""Sampling: one scan over the steps of a sampler, from noise to data. Knows no network."""

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

    Args:
      denoise: (x, t, previous_x0) -> objective.Denoised, whose x0 and eps have x's shape; t is float32 of shape
        t_shape; `previous_x0` is that of the step before, of x's shape and 0 at first (for self-conditioning);
        it applies guidance itself.
      sampler: What takes each step.
      process: That is reversed.
      noise: (B, T, H, W, C), standard normal.
      keys: (B,), one for each example, where the sampler is stochastic; the noise of step i is drawn from
        fold_in(keys[b], i), so that a sample does not depend on the batch it is in.
      t_shape: (B,) by default; (B, T) for a network that takes a time per frame.

    Returns:
      (B, T, H, W, C) float32, x at the last time, t = 0 unless the spacing ends before.

    Raises:
      ValueError: a stochastic sampler without a key for each example.
    """
    if sampler.stochastic and (keys is None or len(keys) != len(noise)):
        count = 'none' if keys is None else len(keys)
        raise ValueError(f'config.sampler draws noise: want {len(noise)} keys, one an example; found {count}')
    t_shape = noise.shape[:1] if t_shape is None else t_shape

    def step(carry: Carry, index_and_times: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[Carry, None]:
        x, previous_x0, state = carry
        i, t, s = index_and_times
        t = jnp.full(t_shape, t)
        s = jnp.full(t_shape, s)

        def denoise_float32(x: jax.Array, t: jax.Array) -> Denoised:
            # The sampler's own arithmetic is in float32, whatever the network computes in: it adds many small steps.
            denoised: Denoised = jax.tree.map(lambda y: y.astype(jnp.float32), denoise(x, t, previous_x0))
            return denoised if sampler.clip is None else _clip_x0(denoised, x, t, process, sampler.clip)

        step_noise = _draw_noise(keys, i, x.shape[1:]) if sampler.stochastic and keys is not None else None
        result = sampler.step(denoise_float32, state, x, t, s, process, step_noise)
        return (result.x, result.x0, result.state), None

    times = sampler.spacing.times(process, sampler.steps)
    x = sampler.begin(process, noise.astype(jnp.float32), times[0])
    steps = (jnp.arange(sampler.steps), times[:-1], times[1:])
    # A scan compiles one step and runs it for all, however many there are.
    (x, _, _), _ = jax.lax.scan(step, (x, jnp.zeros_like(x), sampler.init(x)), steps)
    return x


def _clip_x0(denoised: Denoised, x: jax.Array, t: jax.Array, process: Process, bound: float) -> Denoised:
    """Clip x0 to the bound, and take the eps that goes with it and x."""
    alpha, sigma = (expand(c, x.ndim) for c in process.alpha_sigma(t))
    x0 = jnp.clip(denoised.x0, -bound, bound)
    # Else a step would mix the clipped x0 with the noise that belongs to another.
    return denoised._replace(x0=x0, eps=(x - alpha * x0) / jnp.maximum(sigma, 1e-12))


def _draw_noise(keys: jax.Array, i: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    def draw(key: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(key, i), shape)

    return jax.vmap(draw)(keys)
