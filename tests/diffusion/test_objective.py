"""What is learned, together: times, given frames, the hybrid loss, and mistakes of putting parts together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.loss import FusedMinSNR, MinSNR
from vdm_jax.diffusion.objective import Objective
from vdm_jax.diffusion.prediction import target

KEY = jax.random.key(0)


def test_times_are_one_a_video_or_independent_a_frame():
    assert Objective().draw_times(KEY, 6).shape == ()
    many = jax.vmap(lambda key: Objective(per_frame=True).draw_times(key, 6))(jax.random.split(KEY, 2000))
    assert many.shape == (2000, 6)
    np.testing.assert_allclose(np.corrcoef(many.T), np.eye(6), atol=0.08)
    np.testing.assert_allclose(many.mean(0), 0.5, atol=0.03)


def test_given_frames_are_clean_and_count_nothing(normals):
    objective = Objective(context=2)
    t = objective.draw_times(KEY, 5)[None]
    assert t.shape == (1, 5) and np.all(t[0, :2] == 0) and np.all(t[0, 2:] == t[0, 2]) and t[0, 2] > 0
    x0, eps, said = normals(3, 1, 5, 3, 3, 2)
    x_t = objective.process.corrupt(x0, eps, t)
    np.testing.assert_array_equal(x_t[:, :2], x0[:, :2])
    loss = objective.loss(said, x0, eps, x_t, t)
    np.testing.assert_array_equal(objective.loss(said.at[:, :2].set(9.0), x0, eps, x_t, t), loss)
    goal = target('velocity', objective.process, x0, eps, t)
    np.testing.assert_allclose(loss, jnp.square(said - goal)[:, 2:].mean((2, 3, 4)), rtol=1e-5)


def test_frames_are_given_by_chance_and_the_mean_is_over_the_others(normals):
    objective = Objective(per_frame=True, clean_context=0.3)
    many = jax.vmap(lambda key: objective.draw_times(key, 6))(jax.random.split(KEY, 2000))
    np.testing.assert_allclose((many == 0).mean(0), 0.3, atol=0.04)
    usual = jax.vmap(lambda key: Objective(per_frame=True).draw_times(key, 6))(jax.random.split(KEY, 2000))
    np.testing.assert_array_equal(many[many > 0], usual[many > 0])  # the chance moves no other draw
    t = jnp.array([[0.0, 0.4, 0.9, 0.0], [0.2, 0.3, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0]])
    x0, eps, said = normals(3, 3, 4, 2, 2, 1)
    x_t = objective.process.corrupt(x0, eps, t)
    loss = objective.loss(said, x0, eps, x_t, t)
    plain = Objective(per_frame=True).loss(said, x0, eps, x_t, t)
    np.testing.assert_allclose(loss.mean(1), [plain[0, 1:3].mean(), plain[1].mean(), 0], rtol=1e-5)
    grad = jax.grad(lambda said: objective.loss(said, x0, eps, x_t, t).sum())(said)
    assert np.all(grad[t == 0] == 0) and np.all(grad[t > 0] != 0)


def test_given_frames_leave_a_hybrid_loss_and_its_gradient_finite(normals):
    objective = Objective(DDPM(), 'eps', variance='learned_range', per_frame=True, clean_context=0.5)
    x0, eps, said, variance = normals(4, 1, 3, 2, 2, 1)
    t = jnp.array([[0.0, 0.5, 0.0]])
    x_t = objective.process.corrupt(x0, eps, t)

    def loss(said):
        return objective.loss(jnp.concatenate([said, variance], -1), x0, eps, x_t, t).sum()

    value, grad = jax.jit(jax.value_and_grad(loss))(said)
    assert value > 0 and np.all(np.isfinite(grad)) and np.all(grad[0, ::2] == 0)


def test_hybrid_loss_is_the_simple_one_and_the_bound_at_its_weight(normals):
    x0, eps, said, variance = normals(4, 3, 4, 2, 2, 1)
    hybrid = Objective(DDPM(), 'eps', variance='learned_range')
    t = jnp.array([0.2, 0.6, 1.0])
    x_t = hybrid.process.corrupt(x0, eps, t)
    both = jnp.concatenate([said, variance], -1)
    plain = Objective(DDPM(), 'eps').loss(said, x0, eps, x_t, t)
    once = jax.jit(hybrid.loss)(both, x0, eps, x_t, t) - plain
    assert np.all(once > 0)
    double = Objective(DDPM(), 'eps', variance='learned_range', vlb_weight=0.002)
    np.testing.assert_allclose(jax.jit(double.loss)(both, x0, eps, x_t, t) - plain, 2 * once, rtol=1e-3)

    def loss(said):
        return hybrid.loss(jnp.concatenate([said, variance], -1), x0, eps, x_t, t).sum()

    of_said = jax.jit(jax.grad(loss))(said)
    np.testing.assert_allclose(of_said, 2 * (said - eps) / (2 * 2), rtol=1e-4)  # the bound has no say in the mean
    fixed = Objective(DDPM(), 'eps')  # a network with the channels, trained without: they are left aside
    np.testing.assert_array_equal(fixed.loss(both, x0, eps, x_t, t), plain)
    assert fixed.denoise(both, x_t, t).variance is None
    np.testing.assert_array_equal(hybrid.denoise(both, x_t, t).variance, variance)


@pytest.mark.parametrize('spread, wanted', [(0.0, -1.0), (1.0, 1.0)])
def test_the_least_hybrid_loss_has_the_true_variance(spread, wanted):
    """For data that is one point the posterior's own variance is right, for white noise the other bound (section
    3.1)."""
    process = DDPM(steps=10, schedule='cosine')
    t = jnp.full(4096, 0.3)
    objective = Objective(process, 'eps', variance='learned_range', vlb_weight=1.0)
    x0 = spread * jax.random.normal(KEY, (4096, 1, 1))
    eps = jax.random.normal(jax.random.key(1), x0.shape)
    x_t = process.corrupt(x0, eps, t)
    alpha, sigma = (c[0] for c in process.alpha_sigma(t))
    best_eps = sigma * x_t / (alpha**2 * spread**2 + sigma**2)

    def output(share):
        return jnp.concatenate([best_eps, jnp.full_like(best_eps, share)], -1)

    shares = np.linspace(-1.5, 1.5, 13)
    losses = jax.lax.map(lambda share: objective.loss(output(share), x0, eps, x_t, t).mean(), shares)
    np.testing.assert_allclose(shares[np.argmin(losses)], wanted, atol=0.26)


@pytest.mark.parametrize(
    'make, key',
    [
        (lambda: Objective(condition_dropout=2.0), 'condition_dropout'),
        (lambda: Objective(self_conditioning=-0.1), 'self_conditioning'),
        (lambda: Objective(context=-1), 'context'),
        (lambda: Objective(per_frame=True, clean_context=1.5), 'clean_context'),
        (lambda: Objective(clean_context=0.1), 'clean_context'),
        (lambda: Objective(variance='learned_range'), 'variance'),
        (lambda: Objective(DDPM(zero_terminal_snr=True), 'eps'), 'prediction'),
        (lambda: Objective(prediction='x0', weighting=FusedMinSNR()), 'weighting'),
        (lambda: Objective(weighting=FusedMinSNR(), per_frame=True), 'weighting'),
    ],
)
def test_bad_values_name_their_key(make, key):
    with pytest.raises(ValueError, match=rf'config\.diffusion\.{key}'):
        make()


def test_what_goes_together_is_taken():
    Objective(DDPM(zero_terminal_snr=True), 'v', MinSNR())
    Objective(RectifiedFlow(), 'x0', FusedMinSNR(), per_frame=True)


def test_the_least_draw_is_the_first_timestep_and_its_loss_is_finite(normals):
    """A uniform draw may be next to nothing; t = 0 would be no timestep at all."""
    objective = Objective(DDPM(), 'eps', variance='learned_range')
    t = objective.process.snap(jnp.array([2.0**-23, 1e-38, 0.0005, 0.001]))
    np.testing.assert_allclose(t, 0.001, rtol=1e-6)
    x0, eps, said, variance = normals(4, 4, 2, 3, 3, 1)
    x_t = objective.process.corrupt(x0, eps, t)

    def loss(said):
        return objective.loss(jnp.concatenate([said, variance], -1), x0, eps, x_t, t).sum()

    value, grad = jax.jit(jax.value_and_grad(loss))(said)
    assert np.isfinite(value) and np.all(np.isfinite(grad))
