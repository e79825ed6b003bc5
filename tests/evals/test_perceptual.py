"""LPIPS of videos, frame by frame: the same however they are batched, and of bytes and floats alike."""

import numpy as np
import pytest

from tests.codecs.small_lpips import small_lpips
from vdm_jax import pretrained
from vdm_jax.codecs import lpips
from vdm_jax.errors import UserError
from vdm_jax.evals import perceptual
from vdm_jax.evals.perceptual import measure_lpips

RNG = np.random.default_rng(0)
VIDEOS = RNG.integers(0, 256, (3, 2, 32, 40, 3), np.uint8)
TRUE = RNG.integers(0, 256, VIDEOS.shape, np.uint8)


@pytest.fixture(scope='module', params=[lpips.VGG16, lpips.ALEXNET], ids=lambda backbone: backbone.name)
def measure(request):
    weights = small_lpips(request.param)
    return lambda videos, true: measure_lpips(videos, true, weights, request.param)


def test_each_frame_by_itself_however_they_are_batched(measure, monkeypatch):
    distances = measure(VIDEOS, TRUE)
    assert distances.shape == (3, 2) and distances.dtype == np.float32 and np.all(distances > 1e-3)
    for frames in (1, 4):  # 4 of 6: the last batch begins earlier
        monkeypatch.setattr(perceptual, 'PIXELS_AT_ONCE', frames * 32 * 40)
        np.testing.assert_allclose(measure(VIDEOS, TRUE), distances, rtol=1e-4)
    mixed = TRUE.copy()
    mixed[1, 1] = VIDEOS[1, 1]
    same = measure(mixed, TRUE)
    assert np.all(np.delete(same.ravel(), 3) < 1e-6)
    np.testing.assert_allclose(same[1, 1], distances[1, 1], rtol=1e-4)


def test_bytes_and_floats_colour_and_grey(measure):
    distances = measure(VIDEOS, TRUE)
    for dtype in (np.float64, np.float32, np.int32, np.uint16):
        np.testing.assert_allclose(measure(VIDEOS.astype(dtype), TRUE), distances, rtol=1e-4)
    grey = measure(VIDEOS[..., :1], TRUE[..., :1])
    np.testing.assert_allclose(grey, measure(VIDEOS[..., [0, 0, 0]], TRUE[..., [0, 0, 0]]), rtol=1e-4)


def test_no_videos_have_no_distances(measure):
    assert measure(VIDEOS[:0], TRUE[:0]).shape == (0, 2)


@pytest.mark.parametrize(
    'videos, true, message',
    [
        (VIDEOS, TRUE[:1], r'found \(3, 2, 32, 40, 3\) and \(1, 2, 32, 40, 3\)'),
        (VIDEOS[0], TRUE[0], 'takes two videos'),
        (VIDEOS[..., :2], TRUE[..., :2], 'takes two videos'),
        (VIDEOS[:, :, :8], TRUE[:, :, :8], 'pixels or more'),
        (VIDEOS / np.float32(127.5) - 1, TRUE, '3 of 3 of videos have others or nan: number 0 to 2'),
        (VIDEOS, np.where(np.arange(3)[:, None, None, None, None] == 1, np.nan, TRUE), '1 of 3 of true .* number 1'),
        (VIDEOS > 100, TRUE, 'videos are bool'),
    ],
)
def test_other_videos_are_refused(measure, videos, true, message):
    with pytest.raises(UserError, match=message):
        measure(videos, true)


@pytest.mark.weights
def test_the_published_weights_order_distortions(real_weights):
    """Noise looks worse the more of it there is, and both networks say so."""
    y, x = np.mgrid[:64, :64]
    picture = np.stack([128 + 100 * np.sin(x / 9), 128 + 100 * np.cos(y / 7), 2 * x + y], -1)
    true = np.broadcast_to(picture, (1, 3, 64, 64, 3)).clip(0, 255).astype(np.uint8)
    noise = RNG.normal(size=(64, 64, 3))
    videos = np.stack([true[0, 0] + sigma * noise for sigma in (2, 10, 40)])[None].clip(0, 255)
    for name in ('lpips', 'lpips_alex'):
        model = pretrained.load('lpips', real_weights(name))
        distances = measure_lpips(videos, true, model.params, model.config)[0]
        assert np.all(np.diff(distances) > 0.02) and distances[0] < 0.1, distances
