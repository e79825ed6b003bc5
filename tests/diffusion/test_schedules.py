"""The schedules have the values of their papers."""

import numpy as np
import pytest

from vdm_jax.diffusion.schedules import (
    cosine_alpha_bar,
    linear_alpha_bar,
    sigmoid_alpha_bar,
    zero_terminal_snr,
)


def test_linear_has_the_values_of_ddpm():
    alpha_bar = linear_alpha_bar(1000)
    assert alpha_bar.shape == (1001,)
    assert alpha_bar[0] == 1
    np.testing.assert_allclose(alpha_bar[1], 1 - 1e-4, rtol=1e-12)
    np.testing.assert_allclose(alpha_bar[1000], 4.0358e-5, rtol=1e-4)


def test_linear_ends_near_the_same_place_for_other_steps():
    np.testing.assert_allclose(np.log(linear_alpha_bar(4000)[-1]), np.log(linear_alpha_bar(1000)[-1]), rtol=0.02)


def test_cosine_is_the_squared_cosine_up_to_the_clipped_end():
    alpha_bar = cosine_alpha_bar(1000)
    t = np.arange(1001) / 1000
    published = (np.cos((t + 0.008) / 1.008 * np.pi / 2) / np.cos(0.008 / 1.008 * np.pi / 2)) ** 2
    assert alpha_bar[0] == 1
    np.testing.assert_allclose(alpha_bar[:-1], published[:-1], rtol=1e-9)
    np.testing.assert_allclose(alpha_bar[-1] / alpha_bar[-2], 1 - 0.999, rtol=1e-9)


def test_sigmoid_is_the_published_curve_up_to_the_clipped_end():
    """Jabri et al. 2022: from sigmoid(-3) to sigmoid(3), turned round and stretched to [0, 1]."""
    alpha_bar = sigmoid_alpha_bar(1000)
    t = np.arange(1001) / 1000

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    published = (sigmoid(3) - sigmoid(-3 + 6 * t)) / (sigmoid(3) - sigmoid(-3))
    np.testing.assert_allclose(alpha_bar[:-1], published[:-1], rtol=1e-9)
    np.testing.assert_allclose(alpha_bar[500], 0.5, rtol=1e-9)


@pytest.mark.parametrize('table', [linear_alpha_bar, cosine_alpha_bar, sigmoid_alpha_bar])
def test_zero_terminal_snr_is_the_published_shift_and_scale(table):
    """Lin et al. 2024, algorithm 1, for every timestep."""
    before = np.sqrt(table(1000)[1:])
    published = (before - before[-1]) * before[0] / (before[0] - before[-1])
    after = zero_terminal_snr(table(1000))
    np.testing.assert_allclose(np.sqrt(after[1:]), published, rtol=1e-12)
    assert after[0] == 1 and after[-1] == 0


@pytest.mark.parametrize('table', [linear_alpha_bar, cosine_alpha_bar, sigmoid_alpha_bar])
@pytest.mark.parametrize('steps', [21, 1000, 4000])
def test_noise_only_grows(table, steps):
    alpha_bar = table(steps)
    assert np.all(np.diff(alpha_bar) < 0) and alpha_bar[-1] > 0


def test_too_few_steps_name_the_key():
    with pytest.raises(ValueError, match=r'config\.diffusion\.process\.steps=20'):
        linear_alpha_bar(20)
    with pytest.raises(ValueError, match=r'config\.diffusion\.process\.steps=0'):
        cosine_alpha_bar(0)
