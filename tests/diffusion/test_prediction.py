"""Every kind of prediction turns into every other, and stays finite where one of the unknowns is lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.edm import EDM
from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.prediction import KINDS, convert, row, target, to_x0_eps
from vdm_jax.diffusion.process import expand

PROCESSES = [DDPM('cosine'), RectifiedFlow(), RectifiedFlow('gvp'), EDM(sigma_max=5.0)]
each_process = pytest.mark.parametrize('process', PROCESSES, ids=str)
each_kind = pytest.mark.parametrize('kind', KINDS)

INSIDE = jnp.concatenate([jnp.array([0.001, 0.999]), jnp.linspace(0.01, 0.99, 17)])


def inside(process):
    """Times between the ends at which neither alpha nor sigma is lost."""
    return jnp.clip(INSIDE, 0.35, 1) if isinstance(process, EDM) else INSIDE


@each_process
@each_kind
def test_target_and_solution_are_inverse(process, kind, normals):
    t = inside(process)
    x0, eps = normals(2, *t.shape, 2, 3)
    x_t = process.corrupt(x0, eps, t)
    solution = to_x0_eps(kind, process, target(kind, process, x0, eps, t), x_t, t)
    a, b = row(kind, process, t)
    alpha, sigma = process.alpha_sigma(t)
    det = expand(alpha * b - sigma * a, x0.ndim)  # rounding grows by 1 / det, so measure the error in its unit
    for got, want in zip(solution, (x0, eps), strict=True):
        np.testing.assert_allclose(det * got, det * want, rtol=1e-6, atol=2e-6)


@each_process
@pytest.mark.parametrize('source', KINDS)
@pytest.mark.parametrize('to', KINDS)
def test_every_kind_turns_into_every_kind_and_back(process, source, to, normals):
    t = inside(process)[2:]
    t = jnp.clip(t, 0.05, 0.95)
    x0, eps = normals(2, *t.shape, 2, 3)
    x_t = process.corrupt(x0, eps, t)
    prediction = target(source, process, x0, eps, t)
    there = convert(prediction, x_t, t, process, source, to)
    np.testing.assert_allclose(there, target(to, process, x0, eps, t), atol=3e-4)
    np.testing.assert_allclose(convert(there, x_t, t, process, to, source), prediction, atol=3e-4)


@each_process
@each_kind
@pytest.mark.parametrize('t', [0.0, 1.0])
def test_at_the_ends_results_and_gradients_are_finite_and_keep_the_prediction(process, kind, t, normals):
    t = jnp.full(19, t)
    prediction, x_t = normals(2, *t.shape, 2, 3)  # not consistent with each other, as a network's are not
    x0, eps = to_x0_eps(kind, process, prediction, x_t, t)
    assert np.all(np.isfinite(x0)) and np.all(np.isfinite(eps))
    assert np.abs(x0).max() < 1e6 and np.abs(eps).max() < 1e6
    np.testing.assert_allclose(target(kind, process, x0, eps, t), prediction, atol=1e-5)
    gradient = jax.grad(lambda p: sum(jnp.sum(y) for y in to_x0_eps(kind, process, p, x_t, t)))(prediction)
    assert np.all(np.isfinite(gradient))


def test_where_x_t_is_all_noise_the_x0_behind_an_eps_is_0(normals):
    t = jnp.ones(19)
    process = RectifiedFlow()
    prediction, x_t = normals(2, *t.shape, 2, 3)
    x0, eps = to_x0_eps('eps', process, prediction, x_t, t)
    np.testing.assert_array_equal(x0, jnp.zeros_like(x0))
    np.testing.assert_array_equal(eps, prediction)


def test_velocity_is_eps_minus_x0_for_flow_and_v_for_ddpm(normals):
    x0, eps = normals(2, *INSIDE.shape, 2, 3)
    np.testing.assert_allclose(target('velocity', RectifiedFlow(), x0, eps, INSIDE), eps - x0, atol=1e-6)
    np.testing.assert_array_equal(target('velocity', DDPM(), x0, eps, INSIDE), target('v', DDPM(), x0, eps, INSIDE))


@each_process
@each_kind
def test_a_time_per_frame_equals_a_time_per_video_when_constant(process, kind, normals):
    t_B = jnp.array([0.2, 0.5, 0.9])
    t_BT = jnp.broadcast_to(t_B[:, None], (3, 4))
    prediction, x_t = normals(2, 3, 4, 5, 5, 2)
    for per_video, per_frame in zip(
        to_x0_eps(kind, process, prediction, x_t, t_B), to_x0_eps(kind, process, prediction, x_t, t_BT), strict=True
    ):
        np.testing.assert_array_equal(per_video, per_frame)


def test_bfloat16_predictions_are_solved_in_float32(normals):
    t = jnp.full(19, 0.5)
    prediction, x_t = (y.astype(jnp.bfloat16) for y in normals(2, *t.shape, 2, 3))
    assert all(y.dtype == jnp.float32 for y in to_x0_eps('v', DDPM(), prediction, x_t, t))


def test_an_unknown_kind_names_the_key():
    with pytest.raises(ValueError, match=r"config\.diffusion\.prediction is 'score'.*velocity"):
        row('score', DDPM(), jnp.ones(1))
