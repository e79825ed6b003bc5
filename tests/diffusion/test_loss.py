"""Weights are the published ones, mean the same for every kind, and the losses of one network's predictions agree."""

import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.edm import EDM
from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.loss import (
    Constant,
    EDMWeight,
    FusedMinSNR,
    MinSNR,
    Sigmoid,
    Truncated,
    Velocity,
    by_time,
    loss_per_frame,
)
from vdm_jax.diffusion.prediction import KINDS, convert, target, to_x0_eps

PROCESSES = [DDPM('cosine'), RectifiedFlow()]
each_process = pytest.mark.parametrize('process', PROCESSES, ids=str)
PUBLISHED = {
    'eps': lambda snr, gamma: np.minimum(1, gamma / snr),
    'x0': lambda snr, gamma: np.minimum(snr, gamma),
    'v': lambda snr, gamma: np.minimum(snr, gamma) / (snr + 1),
}


@pytest.mark.parametrize('kind', PUBLISHED)
@pytest.mark.parametrize('schedule', ['linear', 'cosine'])
@pytest.mark.parametrize('gamma', [1.0, 5.0])
def test_min_snr_has_the_published_weights(kind, schedule, gamma):
    process = DDPM(schedule)
    t = jnp.linspace(0.001, 1, 19)
    alpha, sigma = (np.asarray(c, np.float64) for c in process.alpha_sigma(t))
    want = PUBLISHED[kind]((alpha / sigma) ** 2, gamma)
    np.testing.assert_allclose(MinSNR(gamma).weight(kind, process, t), want, rtol=1e-5)


@each_process
def test_min_snr_weighs_the_same_error_of_x0_the_same_for_every_kind(process, normals):
    t = jnp.linspace(0.05, 0.95, 19)
    x_t, prediction, other = normals(3, 19)
    alpha, sigma = process.alpha_sigma(t)
    for kind in KINDS:
        error_x0 = (to_x0_eps(kind, process, prediction, x_t, t)[0] - to_x0_eps(kind, process, other, x_t, t)[0]) ** 2
        weighted = MinSNR().weight(kind, process, t) * (prediction - other) ** 2
        np.testing.assert_allclose(weighted, jnp.minimum((alpha / sigma) ** 2, 5) * error_x0, rtol=2e-3, atol=1e-6)


@each_process
@pytest.mark.parametrize('kind', KINDS)
def test_min_snr_is_finite_without_signal_and_without_noise(process, kind):
    weight = MinSNR().weight(kind, process, jnp.linspace(0, 1, 19))
    assert np.all(np.isfinite(weight)) and np.all(weight >= 0) and np.all(weight <= 5.001)


def test_min_snr_at_the_ends_of_a_flow_is_the_limit():
    weights = {kind: np.asarray(MinSNR(5.0).weight(kind, RectifiedFlow(), jnp.linspace(0, 1, 19))) for kind in KINDS}
    np.testing.assert_allclose(weights['eps'][[0, -1]], [0, 1], atol=1e-6)
    np.testing.assert_allclose(weights['x0'][[0, -1]], [5, 0], atol=1e-6)


@each_process
@pytest.mark.parametrize('kind', KINDS)
def test_velocity_weighs_every_kind_as_its_error_in_velocity(process, kind, normals):
    t = jnp.linspace(0.1, 0.9, 19)
    x_t, prediction, other = normals(3, 19)

    def as_velocity(p):
        return convert(p, x_t, t, process, kind, 'velocity')

    weighted = Velocity(floor=1e-3).weight(kind, process, t) * (prediction - other) ** 2
    np.testing.assert_allclose(weighted, (as_velocity(prediction) - as_velocity(other)) ** 2, rtol=2e-3, atol=1e-5)


def test_velocity_weight_of_x0_on_a_flow_is_one_over_t_squared_down_to_the_floor():
    weight = Velocity(floor=0.1).weight('x0', RectifiedFlow(), jnp.array([1.0, 0.5, 0.1, 0.01, 0.0]))
    np.testing.assert_allclose(weight, [1, 4, 100, 100, 100], rtol=1e-5)


WEIGHTINGS = [MinSNR(), Truncated(), Sigmoid(), EDMWeight(), Velocity(floor=1e-3)]


@pytest.mark.parametrize('process', [*PROCESSES, RectifiedFlow('gvp'), EDM(sigma_max=5.0)], ids=str)
@pytest.mark.parametrize('weighting', WEIGHTINGS, ids=str)
def test_losses_of_one_network_agree_for_every_kind_of_prediction(weighting, process, normals):
    """eps, x0, v, velocity and edm of the same prediction, each against its own target under its own weight."""
    t = jnp.linspace(0.35, 0.95, 19)
    x0, eps, prediction = normals(3, 19, 2, 3)
    x_t = process.corrupt(x0, eps, t)
    losses = [
        loss_per_frame(
            convert(prediction, x_t, t, process, 'v', kind),
            target(kind, process, x0, eps, t),
            weighting.weight(kind, process, t),
        )
        for kind in KINDS
    ]
    for loss in losses[1:]:
        np.testing.assert_allclose(loss, losses[0], rtol=5e-3)


@pytest.mark.parametrize('process', [*PROCESSES, DDPM(zero_terminal_snr=True), EDM()], ids=str)
@pytest.mark.parametrize(
    'weighting, kind',
    [(weighting, kind) for weighting in WEIGHTINGS for kind in KINDS] + [(FusedMinSNR(), 'eps'), (FusedMinSNR(), 'x0')],
    ids=str,
)
def test_weights_are_finite_from_no_noise_to_no_signal(weighting, process, kind):
    weight = weighting.weight(kind, process, jnp.linspace(0, 1, 21).reshape(3, 7))
    assert weight.shape == (3, 7) and np.all(np.isfinite(weight)) and np.all(weight >= 0)


@pytest.mark.parametrize(
    'weighting, kind, published',
    [
        (Truncated(), 'x0', lambda snr, sigma: np.maximum(snr, 1)),
        (Truncated(), 'eps', lambda snr, sigma: np.maximum(1, 1 / snr)),
        (Sigmoid(-1.0), 'eps', lambda snr, sigma: 1 / (1 + np.exp(1 + np.log(snr)))),
        (Sigmoid(2.0), 'x0', lambda snr, sigma: snr / (1 + np.exp(-2 + np.log(snr)))),
        (MinSNR(), 'v', lambda snr, sigma: np.minimum(snr, 5) / (snr + 1)),
    ],
)
def test_weights_are_the_published_ones(weighting, kind, published):
    t = jnp.linspace(0.05, 0.95, 19)
    alpha, sigma = (np.asarray(c, np.float64) for c in DDPM('cosine').alpha_sigma(t))
    weights = weighting.weight(kind, DDPM('cosine'), t)
    np.testing.assert_allclose(weights, published((alpha / sigma) ** 2, sigma), rtol=1e-4)


def test_min_snr_of_v_is_0_where_there_is_no_signal():
    np.testing.assert_allclose(MinSNR().weight('v', DDPM(zero_terminal_snr=True), jnp.ones(1)), 0, atol=1e-9)


def test_edm_weighs_its_own_prediction_1_and_x0_as_the_paper_does():
    process = EDM()
    t = jnp.linspace(0.3, 1, 11)
    sigma = np.asarray(process.clock(t), np.float64)
    np.testing.assert_allclose(EDMWeight().weight('edm', process, t), 1, rtol=1e-5)
    np.testing.assert_allclose(EDMWeight().weight('x0', process, t), (sigma**2 + 0.25) / (sigma * 0.5) ** 2, rtol=1e-4)


@pytest.mark.parametrize('causal', [True, False])
def test_fused_min_snr_counts_what_other_frames_carry(causal):
    """Against the formula of Chen et al. 2024, frame by frame in plain Python."""
    process = DDPM('cosine')
    decay = 0.9
    gamma = 5.0
    t = jnp.array([[0.2, 0.9, 0.5, 0.7, 0.4], [0.8, 0.8, 0.3, 0.1, 1.0]])
    snr = np.exp(np.asarray(process.logsnr(t), np.float64)) / gamma
    clipped = np.minimum(snr, 1)

    def carry(row):
        before = None
        carried_values = []
        for value in row:
            carried_values.append(0 if before is None else before)
            before = value if before is None else decay * before + (1 - decay) * value
        return np.array(carried_values)

    cum = np.stack([carry(row) for row in clipped])
    if not causal:
        cum = (cum + np.stack([carry(row[::-1])[::-1] for row in clipped])) / 2
    fused_clipped = gamma * (1 - (1 - decay * cum) * (1 - clipped))
    fused = gamma * (1 - (1 - decay * cum) * (1 - snr))
    weighting = FusedMinSNR(gamma, decay, causal)
    for kind, want in (
        ('x0', fused_clipped),
        ('eps', fused_clipped / fused),
        ('v', fused_clipped / (fused + 1)),
    ):
        np.testing.assert_allclose(weighting.weight(kind, process, t), want, rtol=1e-3, atol=1e-6)


def test_fused_min_snr_of_one_frame_is_min_snr():
    t = jnp.linspace(0.05, 0.95, 7)[:, None]
    for kind in ('eps', 'x0', 'v'):
        np.testing.assert_allclose(
            FusedMinSNR().weight(kind, DDPM('cosine'), t), MinSNR().weight(kind, DDPM('cosine'), t), rtol=1e-3
        )


def test_losses_by_time_are_means_of_what_fell_there():
    t = jnp.array([0.05, 0.1, 0.101, 0.95, 1.0])
    means = by_time(jnp.array([1.0, 3.0, 5.0, 7.0, 9.0]), t)
    np.testing.assert_allclose(means, [2, 5, *[np.nan] * 7, 8])
    grid = jnp.arange(1, 1001) / 1000  # every timestep in its tenth, those at the edges in the one below
    np.testing.assert_allclose(by_time(grid, grid), (np.arange(10) + 0.5) / 10 + 0.0005, rtol=1e-5)


@each_process
def test_constant_weighs_every_time_equally(process):
    t = jnp.linspace(0, 1, 6).reshape(2, 3)
    np.testing.assert_array_equal(Constant().weight('eps', process, t), np.ones((2, 3)))


def test_loss_is_the_weighted_mean_within_each_frame(normals):
    prediction, target = normals(2, 3, 4, 5, 5, 2)
    weight = jnp.array([1.0, 2.0, 0.0])
    want = np.asarray(weight)[:, None] * np.mean((np.asarray(prediction) - np.asarray(target)) ** 2, axis=(2, 3, 4))
    loss = loss_per_frame(prediction, target, weight)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    np.testing.assert_allclose(loss_per_frame(prediction[::-1], target[::-1], weight[::-1]), loss[::-1], rtol=1e-6)
    per_frame = jnp.broadcast_to(weight[:, None], (3, 4))
    np.testing.assert_allclose(loss_per_frame(prediction, target, per_frame), loss, rtol=1e-6)


def test_loss_of_bfloat16_is_taken_in_float32():
    prediction = jnp.full((1, 1, 4096), 1, jnp.bfloat16)
    target = jnp.zeros((1, 1, 4096), jnp.bfloat16)
    loss = loss_per_frame(prediction, target, jnp.full(1, 1 + 2**-12))
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, 1 + 2**-12, rtol=1e-6)


def test_wrong_shapes_and_values_are_refused():
    with pytest.raises(ValueError, match='shape'):
        loss_per_frame(jnp.ones((2, 4, 2)), jnp.ones((2, 4, 1)), jnp.ones(2))
    with pytest.raises(ValueError, match=r'config\.diffusion\.weighting\.gamma'):
        MinSNR(0.0)
    with pytest.raises(ValueError, match=r'config\.diffusion\.weighting\.floor'):
        Velocity(0.0)
    with pytest.raises(ValueError, match=r'config\.diffusion\.weighting\.decay'):
        FusedMinSNR(decay=1.0)
    with pytest.raises(ValueError, match=r'config\.diffusion\.weighting\.bias'):
        Sigmoid(float('nan'))
    with pytest.raises(ValueError, match='variance-preserving'):
        FusedMinSNR().weight('v', RectifiedFlow(), jnp.ones((1, 2)))
    with pytest.raises(ValueError, match="not 'velocity'"):
        FusedMinSNR().weight('velocity', RectifiedFlow(), jnp.ones((1, 2)))
