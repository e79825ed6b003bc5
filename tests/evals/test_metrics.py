"""Metrics of plain pixels have the values that their definitions give, by hand and by scikit-image."""

import numpy as np
import pytest

from vdm_jax.evals.metrics import (
    CLIP,
    FRAME,
    compute_frame_psnr,
    compute_mae,
    compute_mse,
    compute_psnr,
    compute_ssim,
    find_nearest,
)


def test_psnr_is_exact_and_of_whatever_axes_it_is_taken_over():
    a = np.full((2, 3, 4, 4, 3), 100, np.uint8)
    b = a.copy()
    b[1] -= 10
    assert compute_psnr(a, a, CLIP).tolist() == [np.inf, np.inf]
    np.testing.assert_allclose(compute_psnr(a, b, CLIP), [np.inf, 20 * np.log10(25.5)])
    np.testing.assert_allclose(compute_psnr(b, a, CLIP), compute_psnr(a, b, CLIP))  # no wrap around 0
    b[1, 0] += 10
    mean_square = 100 * 2 / 3
    np.testing.assert_allclose(compute_psnr(a, b, CLIP)[1], 10 * np.log10(255**2 / mean_square))
    np.testing.assert_allclose(compute_psnr(a, b, FRAME)[1], [np.inf, 20 * np.log10(25.5), 20 * np.log10(25.5)])


def test_psnr_of_one_clip_beside_each_of_several():
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (4, 2, 5, 6, 3), np.uint8)
    decibels = compute_psnr(clips[2], clips, CLIP)
    assert decibels.shape == (4,) and decibels.argmax() == 2 and decibels[2] == np.inf
    np.testing.assert_array_equal(decibels, compute_psnr(np.broadcast_to(clips[2], clips.shape), clips, CLIP))


@pytest.mark.parametrize('chunk', [1, 7, 1024])
def test_nearest_finds_what_a_plain_search_finds(chunk):
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (20, 2, 4, 4, 3), dtype=np.uint8)
    videos = rng.integers(0, 256, (6, 2, 4, 4, 3), dtype=np.uint8)
    videos[2] = train[11]
    plain = np.sqrt(np.square(videos[:, None].astype(float) - train[None]).mean((2, 3, 4, 5)))
    error, index = find_nearest(videos, train, chunk=chunk)
    np.testing.assert_allclose(error, plain.min(1))
    np.testing.assert_array_equal(index, plain.argmin(1))
    assert error[2] == 0 and index[2] == 11


def waves(seed, shape=(3, 4, 16, 20, 1)):
    """The same waves under noise that depends on the seed, so that two of them are similar and not equal."""
    wave = np.sin(np.arange(shape[-2])[:, None] / 3 + np.arange(shape[0])[:, None, None, None, None])
    noise = np.random.default_rng(seed).normal(0, 30, shape)
    return np.clip(127 + 80 * wave + noise, 0, 255).astype(np.uint8)


def test_errors_are_summed_over_a_frame_and_averaged_over_frames():
    true = np.zeros((1, 2, 64, 64, 1), np.uint8)
    predicted = true.copy()
    predicted[0, 0] = 255  # one frame wrong everywhere, the other right
    assert compute_mse(predicted, true).tolist() == compute_mae(predicted, true).tolist() == [2048.0]
    predicted[0] = 51  # 0.2 of the range
    np.testing.assert_allclose(compute_mse(predicted, true), 4096 * 0.04)
    np.testing.assert_allclose(compute_mae(predicted, true), 4096 * 0.2)
    np.testing.assert_allclose(compute_mse(true, predicted), 4096 * 0.04)  # no wrap around 0
    colour = np.zeros((1, 2, 64, 64, 3), np.uint8)
    np.testing.assert_allclose(compute_mse(colour + np.uint8(51), colour), 3 * 4096 * 0.04)


def test_psnr_is_taken_frame_by_frame():
    true = np.zeros((1, 2, 8, 8, 1), np.uint8)
    predicted = true.copy()
    predicted[0, 0] = 255
    predicted[0, 1] = 51
    np.testing.assert_allclose(compute_frame_psnr(predicted, true), (0 + 20 * np.log10(5)) / 2)
    assert compute_frame_psnr(true, true).tolist() == [np.inf]


def test_ssim_of_known_pictures():
    true = waves(0)
    np.testing.assert_allclose(compute_ssim(true, true), 1.0)
    black = np.zeros((1, 1, 8, 8, 1), np.uint8)
    white = np.full((1, 1, 8, 8, 1), 255, np.uint8)
    np.testing.assert_allclose(compute_ssim(white, black), 0.0004 / 1.0004)  # C1 / (1 + C1) with a data range of 2
    with pytest.raises(ValueError, match='6x20'):
        compute_ssim(true[..., :6, :, :], true[..., :6, :, :])


def test_ssim_equals_stored_values_of_scikit_image():
    """Found with scikit-image 0.26: structural_similarity(a, b, data_range=2) of each frame as float64, averaged."""
    known = [0.513154721174832, 0.5593551783545407, 0.5948644267116067]
    np.testing.assert_allclose(compute_ssim(waves(1), waves(2)), known, atol=1e-9)


def test_ssim_is_scikit_image_s():
    similarity = pytest.importorskip('skimage.metrics', reason='scikit-image is not installed').structural_similarity
    for shape in ((3, 4, 16, 20, 1), (2, 2, 9, 7, 3)):
        a = waves(1, shape)
        b = waves(2, shape)
        theirs = np.empty(shape[:2])
        for i in np.ndindex(*theirs.shape):
            theirs[i] = similarity(a[i] / 255, b[i] / 255, data_range=2, channel_axis=-1)
        np.testing.assert_allclose(compute_ssim(a, b), theirs.mean(1), atol=1e-12)
