"""Figures of predicted frames have the values their definitions give, by hand and by scikit-image."""

import numpy as np
import pytest

from vdm_jax.evals import prediction


def frames(seed, shape=(3, 4, 16, 20, 1)):
    """The same waves under noise that depends on the seed, so that two of them are alike and not equal."""
    wave = np.sin(np.arange(shape[-2])[:, None] / 3 + np.arange(shape[0])[:, None, None, None, None])
    noise = np.random.default_rng(seed).normal(0, 30, shape)
    return np.clip(127 + 80 * wave + noise, 0, 255).astype(np.uint8)


def test_errors_are_summed_over_a_frame_and_averaged_over_frames():
    true = np.zeros((1, 2, 64, 64, 1), np.uint8)
    predicted = true.copy()
    predicted[0, 0] = 255  # one frame wrong everywhere, the other right
    assert prediction.mse(predicted, true).tolist() == prediction.mae(predicted, true).tolist() == [2048.0]
    predicted[0] = 51  # 0.2 of the range
    np.testing.assert_allclose(prediction.mse(predicted, true), 4096 * 0.04)
    np.testing.assert_allclose(prediction.mae(predicted, true), 4096 * 0.2)
    np.testing.assert_allclose(prediction.mse(true, predicted), 4096 * 0.04)  # no wrap around 0
    colour = np.zeros((1, 2, 64, 64, 3), np.uint8)
    np.testing.assert_allclose(prediction.mse(colour + np.uint8(51), colour), 3 * 4096 * 0.04)


def test_psnr_is_taken_frame_by_frame():
    true = np.zeros((1, 2, 8, 8, 1), np.uint8)
    predicted = true.copy()
    predicted[0, 0], predicted[0, 1] = 255, 51
    np.testing.assert_allclose(prediction.psnr(predicted, true), (0 + 20 * np.log10(5)) / 2)
    assert prediction.psnr(true, true).tolist() == [np.inf]


def test_ssim_of_known_pictures():
    true = frames(0)
    np.testing.assert_allclose(prediction.ssim(true, true), 1.0)
    black, white = np.zeros((1, 1, 8, 8, 1), np.uint8), np.full((1, 1, 8, 8, 1), 255, np.uint8)
    np.testing.assert_allclose(prediction.ssim(white, black), 0.0004 / 1.0004)  # C1 / (1 + C1) with a data range of 2
    with pytest.raises(ValueError, match='6x20'):
        prediction.ssim(true[..., :6, :, :], true[..., :6, :, :])


def test_ssim_is_what_scikit_image_said_of_these():
    """Found with scikit-image 0.26: structural_similarity(a, b, data_range=2) of each frame as float64, averaged."""
    known = [0.513154721174832, 0.5593551783545407, 0.5948644267116067]
    np.testing.assert_allclose(prediction.ssim(frames(1), frames(2)), known, atol=1e-9)


def test_ssim_is_scikit_image_s():
    similarity = pytest.importorskip('skimage.metrics', reason='scikit-image is not installed').structural_similarity
    for shape in ((3, 4, 16, 20, 1), (2, 2, 9, 7, 3)):
        a, b = frames(1, shape), frames(2, shape)
        theirs = np.empty(shape[:2])
        for i in np.ndindex(*theirs.shape):
            theirs[i] = similarity(a[i] / 255, b[i] / 255, data_range=2, channel_axis=-1)
        np.testing.assert_allclose(prediction.ssim(a, b), theirs.mean(1), atol=1e-12)


def test_one_sample_the_mean_and_the_best():
    true = np.full((2, 3, 8, 8, 1), 100, np.uint8)
    samples = np.repeat(true[:, None], 2, axis=1)
    samples[:, 0] += 51
    samples[:, 1] -= 51
    samples[1, 1] = 100 - 25  # the second clip has a better sample
    found = prediction.figures(samples, true)
    assert list(found) == ['one sample', 'mean of 2', 'best of 2']
    wrong, less = 64 * 0.04, 64 * (25 / 255) ** 2
    assert found['one sample']['mse'] == pytest.approx((wrong + (wrong + less) / 2) / 2)
    assert found['mean of 2']['mse'] == pytest.approx((0 + 64 * (13 / 255) ** 2) / 2)
    assert found['best of 2']['mse'] == pytest.approx((wrong + less) / 2)
    assert found['best of 2']['mae'] == pytest.approx(64 * (51 + 25) / 255 / 2)
    assert found['best of 2']['psnr'] == pytest.approx(10 * np.log10(5) + 10 * np.log10(255 / 25))
    assert found['mean of 2']['psnr'] == np.inf
    assert found['best of 2']['ssim'] > found['one sample']['ssim']


def test_best_is_chosen_for_each_figure_by_that_figure():
    true = np.zeros((1, 1, 8, 8, 1), np.uint8)
    spread, spike = np.full_like(true, 20), np.zeros_like(true)
    spike[0, 0, 0, 0] = 255
    found = prediction.figures(np.stack([spread, spike], 1), true)['best of 2']
    assert found['mse'] == pytest.approx(64 * (20 / 255) ** 2)  # of the spread one: 0.39 against 1
    assert found['mae'] == pytest.approx(1.0)  # of the spike: 5.0 against 1


def test_the_floors_are_the_last_known_frame_and_the_mean_picture():
    known = np.zeros((2, 2, 8, 8, 1), np.uint8)
    known[0, 1], known[1] = 102, 51  # last: 0.4 and 0.2; mean of all: (0 + 0.4 + 0.2 + 0.2) / 4 = 0.2
    true = np.full((2, 3, 8, 8, 1), 51, np.uint8)
    found = prediction.floors(known, true)
    assert list(found) == ['copy last frame', 'mean picture']
    assert found['copy last frame']['mse'] == pytest.approx(64 * 0.04 / 2)
    assert found['copy last frame']['mae'] == pytest.approx(64 * 0.2 / 2)
    assert found['mean picture']['mse'] == 0
