"""Rectified flow and the other paths of SiT."""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.process import Pair, Process

# Of the VP path.
BETA_MIN = 0.1
BETA_MAX = 20.0
EARLIEST = 1e-5  # its rates are taken no earlier, as in SiT's training


@dataclasses.dataclass(frozen=True)
class RectifiedFlow(Process):
    """Paths walked in t itself, whose 'velocity' is d x_t / d t (Lipman et al. 2023; SiT, Ma et al. 2024).

    Attributes:
      path: 'linear', x_t = (1 - t) x0 + t eps, whose velocity is eps - x0 (Liu et al. 2023, eq. 1); 'gvp',
        cos(pi t / 2) x0 + sin(pi t / 2) eps; 'vp', alpha = exp(-(t^2 (20 - 0.1) + 2 t 0.1) / 4), sigma^2 = 1 - alpha^2.
      numbering: Whose time it is. 'thousand': the network is fed 1000 t (SD3 and its kin); 'thousand_floor': that
        without its fraction (diffusers' DPM-Solver++ and UniPC with flow sigmas, which sample Wan there). 'sit': it is
        fed 1 - t, as in SiT's code, whose time runs from noise at 0 to data at 1; so does the clock then, and the
        velocity is d x_t / d (1 - t), SiT's own, the negative of the other's.
    """

    path: Literal['linear', 'gvp', 'vp'] = 'linear'
    numbering: Literal['thousand', 'thousand_floor', 'sit'] = 'thousand'

    def alpha_sigma(self, t: jax.Array) -> Pair:
        t = jnp.asarray(t, jnp.float32)
        match self.path:
            case 'linear':
                return 1 - t, t
            case 'gvp':
                # Sines from both ends, so that both are exactly 0 where they should be.
                return jnp.sin(math.pi / 2 * (1 - t)), jnp.sin(math.pi / 2 * t)
            case 'vp':
                log_alpha = _log_alpha(t)
                # expm1 keeps the digits of a sigma near 0, where 1 - alpha^2 would cancel.
                return jnp.exp(log_alpha), jnp.sqrt(-jnp.expm1(2 * log_alpha))

    def time_of(self, logsnr: jax.Array) -> jax.Array:
        logsnr = jnp.asarray(logsnr, jnp.float32)
        match self.path:
            case 'linear':
                return jax.nn.sigmoid(-logsnr / 2)
            case 'gvp':
                return 2 / math.pi * jnp.arctan(jnp.exp(-logsnr / 2))
            case 'vp':
                # log_alpha = -(d t^2 + 2 b t) / 4 = log sigmoid(logsnr) / 2, solved for t in the form whose terms do
                # not cancel at small t.
                b = BETA_MIN
                d = BETA_MAX - BETA_MIN
                c = -2 * jax.nn.log_sigmoid(logsnr)
                return jnp.minimum(c / (b + jnp.sqrt(b * b + d * c)), 1)

    def clock(self, t: jax.Array) -> jax.Array:
        """Return t itself, or SiT's 1 - t."""
        t = jnp.asarray(t, jnp.float32)
        return 1 - t if self.numbering == 'sit' else t

    def rates(self, t: jax.Array) -> Pair:
        dalpha, dsigma = self._slopes(t)
        return (-dalpha, -dsigma) if self.numbering == 'sit' else (dalpha, dsigma)

    def _slopes(self, t: jax.Array) -> Pair:
        """Return d alpha / d t and d sigma / d t."""
        alpha, sigma = self.alpha_sigma(t)
        match self.path:
            case 'linear':
                return -jnp.ones_like(alpha), jnp.ones_like(sigma)
            case 'gvp':
                return -math.pi / 2 * sigma, math.pi / 2 * alpha
            case 'vp':
                # sigma' = -alpha alpha' / sigma has no bound at t = 0, where sigma grows as a square root.
                t = jnp.asarray(t, jnp.float32)
                alpha, sigma = self.alpha_sigma(jnp.maximum(t, EARLIEST))
                slope = -(t * (BETA_MAX - BETA_MIN) + BETA_MIN) / 2
                return slope * alpha, -slope * alpha**2 / sigma

    def model_time(self, t: jax.Array) -> jax.Array:
        """Return 1000 t, the range that sinusoidal embeddings were made for, its floor, or 1 - t: see `numbering`."""
        t = jnp.asarray(t, jnp.float32)
        match self.numbering:
            case 'thousand':
                return 1000 * t
            case 'thousand_floor':
                return jnp.floor(1000 * t)
            case 'sit':
                return 1 - t


def _log_alpha(t: jax.Array) -> jax.Array:
    return -(t * t * (BETA_MAX - BETA_MIN) + 2 * t * BETA_MIN) / 4
