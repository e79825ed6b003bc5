"""Figures of plain pixels have the values their definitions give."""

import numpy as np
import pytest

from vdm_jax.evals import frames


def test_psnr_is_exact_and_per_clip():
    a = np.full((2, 3, 4, 4, 3), 100, np.uint8)
    b = a.copy()
    b[1] -= 10
    assert frames.psnr(a, a).tolist() == [np.inf, np.inf]
    np.testing.assert_allclose(frames.psnr(a, b), [np.inf, 20 * np.log10(25.5)])
    np.testing.assert_allclose(frames.psnr(b, a), frames.psnr(a, b))  # no wrap around 0


def test_flicker_of_known_videos():
    fade = np.broadcast_to(np.arange(0, 80, 10, dtype=np.uint8)[None, :, None, None, None], (2, 8, 4, 4, 3))
    assert frames.flicker(fade) == 0
    blink = np.zeros((1, 8, 4, 4, 3), np.uint8)
    blink[:, ::2] = 50
    assert frames.flicker(blink) == 100
    noise = np.random.default_rng(0).normal(128, 20, (4, 16, 32, 32, 3)).astype(np.uint8)
    assert frames.flicker(noise) == pytest.approx(20 * np.sqrt(12 / np.pi), rel=0.01)
    assert np.isnan(frames.flicker(blink[:, :2]))


@pytest.mark.parametrize('chunk', [1, 7, 1024])
def test_nearest_finds_what_a_plain_search_finds(chunk):
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (20, 2, 4, 4, 3), dtype=np.uint8)
    videos = rng.integers(0, 256, (6, 2, 4, 4, 3), dtype=np.uint8)
    videos[2] = train[11]
    plain = np.sqrt(np.square(videos[:, None].astype(float) - train[None]).mean((2, 3, 4, 5)))
    error, index = frames.nearest(videos, train, chunk=chunk)
    np.testing.assert_allclose(error, plain.min(1))
    np.testing.assert_array_equal(index, plain.argmin(1))
    assert error[2] == 0 and index[2] == 11
