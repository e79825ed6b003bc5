"""The variational bound is what the normals it is made of say, and the best network's is the least."""

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.posterior import learned_log_variance, posterior_mean, variances
from vdm_jax.diffusion.variational import bound, log_likelihood

PROCESS = DDPM()


def published_coefficients(steps=1000):
    """betas, alpha_bar, posterior variance and mean coefficients of Ho et al. 2020, eq. 7, at their timesteps."""
    betas = np.linspace(1e-4, 0.02, steps)
    alpha_bar = np.cumprod(1 - betas)
    before = np.append(1.0, alpha_bar[:-1])
    return {
        'betas': betas,
        'variance': betas * (1 - before) / (1 - alpha_bar),
        'of_x0': betas * np.sqrt(before) / (1 - alpha_bar),
        'of_x_t': (1 - before) * np.sqrt(1 - betas) / (1 - alpha_bar),
    }


def test_posterior_is_ddpm_s():
    t = jnp.array([1, 2, 10, 500, 1000]) / 1000
    s = t - 0.001
    at = np.array([0, 1, 9, 499, 999])
    want = published_coefficients()
    small, large = variances(PROCESS, t, s)
    np.testing.assert_allclose(large, want['betas'][at], rtol=2e-3)
    np.testing.assert_allclose(small, want['variance'][at], rtol=2e-3, atol=1e-9)
    one = jnp.ones((5, 1))
    nothing = jnp.zeros((5, 1))
    np.testing.assert_allclose(posterior_mean(PROCESS, one, nothing, t, s)[:, 0], want['of_x0'][at], rtol=2e-3)
    np.testing.assert_allclose(
        posterior_mean(PROCESS, nothing, one, t, s)[:, 0], want['of_x_t'][at], rtol=2e-3, atol=1e-5
    )


def test_bound_is_the_divergence_of_two_normals(normals):
    t = jnp.array([0.3, 0.9])
    x0, x_t, predicted_mean = normals(3, 2, 4, 3)
    share = jnp.full_like(x0, 0.2)
    bits = bound(PROCESS, x0, x_t, t, predicted_mean, share)
    small, large = (np.asarray(v, np.float64)[:, None, None] for v in variances(PROCESS, t, t - 0.001))
    model = np.exp(0.6 * np.log(large) + 0.4 * np.log(small))
    apart = np.square(posterior_mean(PROCESS, x0 - predicted_mean, 0 * x_t, t, t - 0.001))
    kl = 0.5 * (np.log(model / small) + small / model + apart / model - 1)
    np.testing.assert_allclose(bits, kl.mean(2) / np.log(2), rtol=2e-3, atol=5e-8)


def test_bound_of_the_truth_is_0_with_the_posterior_s_own_variance_and_grows_with_another(normals):
    x0, x_t = normals(2, 3, 4, 3)
    t = jnp.full(3, 0.003)  # early, where the two bounds of the variance are far apart

    def at(share):
        return np.asarray(bound(PROCESS, x0, x_t, t, x0, jnp.full_like(x0, share)))

    np.testing.assert_allclose(at(-1.0), 0, atol=1e-6)
    assert np.all(at(0.0) > at(-0.5)) and np.all(at(-0.5) > at(-1.0))


def test_only_the_variance_learns_from_the_bound(normals):
    x0, x_t, predicted_mean, share = normals(4, 2, 4, 3)
    t = jnp.full(2, 0.5)

    def total(predicted_mean, share):
        return bound(PROCESS, x0, x_t, t, predicted_mean, share).sum()

    of_mean, of_share = jax.grad(total, argnums=(0, 1))(predicted_mean, share)
    assert np.all(of_mean == 0) and np.abs(of_share).min() > 0


def test_likelihood_of_the_256_values_adds_up_to_1():
    values = jnp.asarray(np.arange(256) / 127.5 - 1, jnp.float32)
    for mean, std in ((0.0, 0.1), (0.97, 0.3), (-1.5, 0.02)):
        mass = jnp.exp(log_likelihood(values, jnp.full(256, mean), jnp.full(256, np.log(std))))
        np.testing.assert_allclose(mass.sum(), 1, atol=1e-4)


def test_the_first_timestep_is_scored_by_likelihood():
    t = jnp.array([0.001])
    x0 = jnp.full((1, 1, 1), 0.2)
    sure = bound(PROCESS, x0, x0, t, x0, jnp.full_like(x0, -1.0))
    small = variances(PROCESS, jnp.array([0.002]), jnp.array([0.001]))[0]  # that of the timestep after, as in the code
    want = -log_likelihood(x0, x0, jnp.full_like(x0, 0.5 * float(jnp.log(small[0])))) / np.log(2)
    np.testing.assert_allclose(sure, want[..., 0], rtol=1e-2)


def test_learned_variance_is_a_mixture_of_logarithms():
    small = jnp.array([0.01])
    large = jnp.array([0.04])
    for output, want in ((-1, 0.01), (1, 0.04), (0, 0.02)):
        variance = jnp.exp(learned_log_variance(jnp.full((1, 2), output), small, large))
        np.testing.assert_allclose(variance, want, rtol=1e-5)


def test_a_time_per_frame_equals_a_time_per_video_when_constant(normals):
    x0, x_t, predicted_mean, share = normals(4, 2, 4, 3)
    t = jnp.array([0.3, 0.001])
    frames = jnp.broadcast_to(t[:, None], (2, 4))
    per_frame, per_video = (bound(PROCESS, x0, x_t, times, predicted_mean, share) for times in (frames, t))
    np.testing.assert_allclose(per_frame, per_video, rtol=1e-5)
