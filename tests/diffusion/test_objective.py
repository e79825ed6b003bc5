"""The objective: times, context frames, the hybrid loss, and parts that do not fit each other."""

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


def test_context_frames_are_clean_and_have_no_loss(normals):
    objective = Objective(context=2)
    t = objective.draw_times(KEY, 5)[None]
    assert t.shape == (1, 5) and np.all(t[0, :2] == 0) and np.all(t[0, 2:] == t[0, 2]) and t[0, 2] > 0
    x0, eps, prediction = normals(3, 1, 5, 3, 3, 2)
    x_t = objective.process.corrupt(x0, eps, t)
    np.testing.assert_array_equal(x_t[:, :2], x0[:, :2])
    loss = objective.loss(prediction, x0, eps, x_t, t)
    np.testing.assert_array_equal(objective.loss(prediction.at[:, :2].set(9.0), x0, eps, x_t, t), loss)
    goal = target('velocity', objective.process, x0, eps, t)
    np.testing.assert_allclose(loss, jnp.square(prediction - goal)[:, 2:].mean((2, 3, 4)), rtol=1e-5)


def test_clean_context_is_random_and_the_mean_is_over_the_other_frames(normals):
    objective = Objective(per_frame=True, clean_context=0.3)
    many = jax.vmap(lambda key: objective.draw_times(key, 6))(jax.random.split(KEY, 2000))
    np.testing.assert_allclose((many == 0).mean(0), 0.3, atol=0.04)
    usual = jax.vmap(lambda key: Objective(per_frame=True).draw_times(key, 6))(jax.random.split(KEY, 2000))
    np.testing.assert_array_equal(many[many > 0], usual[many > 0])  # the chance moves no other draw
    t = jnp.array([[0.0, 0.4, 0.9, 0.0], [0.2, 0.3, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0]])
    x0, eps, prediction = normals(3, 3, 4, 2, 2, 1)
    x_t = objective.process.corrupt(x0, eps, t)
    loss = objective.loss(prediction, x0, eps, x_t, t)
    plain = Objective(per_frame=True).loss(prediction, x0, eps, x_t, t)
    np.testing.assert_allclose(loss.mean(1), [plain[0, 1:3].mean(), plain[1].mean(), 0], rtol=1e-5)
    grad = jax.grad(lambda prediction: objective.loss(prediction, x0, eps, x_t, t).sum())(prediction)
    assert np.all(grad[t == 0] == 0) and np.all(grad[t > 0] != 0)


def test_context_frames_leave_a_hybrid_loss_and_its_gradient_finite(normals):
    objective = Objective(DDPM(), 'eps', variance='learned_range', per_frame=True, clean_context=0.5)
    x0, eps, prediction, variance = normals(4, 1, 3, 2, 2, 1)
    t = jnp.array([[0.0, 0.5, 0.0]])
    x_t = objective.process.corrupt(x0, eps, t)

    def loss(prediction):
        return objective.loss(jnp.concatenate([prediction, variance], -1), x0, eps, x_t, t).sum()

    value, grad = jax.jit(jax.value_and_grad(loss))(prediction)
    assert value > 0 and np.all(np.isfinite(grad)) and np.all(grad[0, ::2] == 0)


def test_hybrid_loss_is_the_simple_one_and_the_bound_at_its_weight(normals):
    x0, eps, prediction, variance = normals(4, 3, 4, 2, 2, 1)
    hybrid = Objective(DDPM(), 'eps', variance='learned_range')
    t = jnp.array([0.2, 0.6, 1.0])
    x_t = hybrid.process.corrupt(x0, eps, t)
    both = jnp.concatenate([prediction, variance], -1)
    plain = Objective(DDPM(), 'eps').loss(prediction, x0, eps, x_t, t)
    once = jax.jit(hybrid.loss)(both, x0, eps, x_t, t) - plain
    assert np.all(once > 0)
    double = Objective(DDPM(), 'eps', variance='learned_range', vlb_weight=0.002)
    np.testing.assert_allclose(jax.jit(double.loss)(both, x0, eps, x_t, t) - plain, 2 * once, rtol=1e-3)

    def loss(prediction):
        return hybrid.loss(jnp.concatenate([prediction, variance], -1), x0, eps, x_t, t).sum()

    gradient = jax.jit(jax.grad(loss))(prediction)
    # The bound has no gradient in the mean.
    np.testing.assert_allclose(gradient, 2 * (prediction - eps) / (2 * 2), rtol=1e-4)
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


def test_parts_that_fit_each_other_are_accepted():
    Objective(DDPM(zero_terminal_snr=True), 'v', MinSNR())
    Objective(RectifiedFlow(), 'x0', FusedMinSNR(), per_frame=True)


def test_the_least_draw_is_the_first_timestep_and_its_loss_is_finite(normals):
    """A uniform draw may be next to nothing; t = 0 would be no timestep at all."""
    objective = Objective(DDPM(), 'eps', variance='learned_range')
    t = objective.process.snap(jnp.array([2.0**-23, 1e-38, 0.0005, 0.001]))
    np.testing.assert_allclose(t, 0.001, rtol=1e-6)
    x0, eps, prediction, variance = normals(4, 4, 2, 3, 3, 1)
    x_t = objective.process.corrupt(x0, eps, t)

    def loss(prediction):
        return objective.loss(jnp.concatenate([prediction, variance], -1), x0, eps, x_t, t).sum()

    value, grad = jax.jit(jax.value_and_grad(loss))(prediction)
    assert np.isfinite(value) and np.all(np.isfinite(grad))
