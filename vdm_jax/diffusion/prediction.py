"""What a network may predict, and the way from any of it to (x0, eps).

Every kind is a row (a, b): prediction = a x0 + b eps. Together with x_t = alpha x0 + sigma eps that makes two equations
for two unknowns, solved once, in to_x0_eps, for all kinds and processes.
"""

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.process import SMALLEST, Pair, Process, expand

KINDS = ('eps', 'x0', 'v', 'velocity', 'edm')


def row(kind: str, process: Process, t: jax.Array) -> Pair:
    """Return the coefficients (a, b) of a kind of prediction at t, float32 of t's shape.

    'eps' (Ho et al. 2020, eq. 14), 'x0', 'v' = alpha eps - sigma x0 (Salimans & Ho 2022, section 4 and appendix D),
    'velocity' = d x_t / d clock (Lipman et al. 2023, eq. 14), which is eps - x0 for a rectified flow and v for DDPM,
    and 'edm', the F of Karras et al. 2022, eq. 7 and 8: of all mixtures of x0 / data_std and eps the one of variance 1
    that x_t says nothing of; given here for any alpha, where with alpha = 1 it is (x0 - c_skip x_t) / c_out.

    Raises:
      ValueError: a kind not in KINDS.
    """
    alpha, sigma = process.alpha_sigma(t)
    match kind:
        case 'eps':
            return jnp.zeros_like(alpha), jnp.ones_like(alpha)
        case 'x0':
            return jnp.ones_like(alpha), jnp.zeros_like(alpha)
        case 'v':
            return -sigma, alpha
        case 'velocity':
            return process.rates(t)
        case 'edm':
            norm = process.data_std * jnp.hypot(process.data_std * alpha, sigma)
            return sigma / norm, -(process.data_std**2) * alpha / norm
    raise ValueError(f'config.diffusion.prediction is {kind!r}: want one of {KINDS}')


def target(kind: str, process: Process, x0: jax.Array, eps: jax.Array, t: jax.Array) -> jax.Array:
    """Return the target of a network of this kind: a x0 + b eps, float32 of x0's shape; t is (B,) or (B, T)."""
    a, b = (expand(c, x0.ndim) for c in row(kind, process, t))
    return a * x0 + b * eps


def to_x0_eps(kind: str, process: Process, prediction: jax.Array, x_t: jax.Array, t: jax.Array) -> Pair:
    """Solve a x0 + b eps = prediction, alpha x0 + sigma eps = x_t; float32 of x_t's shape; t is (B,) or (B, T).

    Finite everywhere. Where the two rows are parallel ('eps' at alpha = 0, 'x0' at sigma = 0), x_t says nothing of the
    other unknown, and the shortest solution of the first equation stands: the prediction is kept, the other is 0.
    """
    a, b = (expand(c, x_t.ndim) for c in row(kind, process, t))
    alpha, sigma = (expand(c, x_t.ndim) for c in process.alpha_sigma(t))
    det = alpha * b - sigma * a
    solvable = jnp.abs(det) > SMALLEST
    # Before the division, so that gradients stay finite too: `where` passes 0 times infinity back from the other
    # branch.
    det = jnp.where(solvable, det, 1)
    x0 = jnp.where(solvable, (b * x_t - sigma * prediction) / det, a * prediction)
    eps = jnp.where(solvable, (alpha * prediction - a * x_t) / det, b * prediction)
    return x0, eps


def convert(prediction: jax.Array, x_t: jax.Array, t: jax.Array, process: Process, source: str, to: str) -> jax.Array:
    """Convert a prediction of kind `source` to kind `to`, of KINDS; float32 of x_t's shape; t is (B,) or (B, T)."""
    x0, eps = to_x0_eps(source, process, prediction, x_t, t)
    return target(to, process, x0, eps, t)
