"""Masks of what changes: by hand, and to the last pixel as OpenCV makes them in the benchmark's order."""

import numpy as np
import pytest

from vdm_jax.errors import UserError
from vdm_jax.evals.physics_iq.masks import blur, clean, detect_changes, stream_changes, to_grey


def make_masks_by_opencv(cv2, clip):
    kernel = np.ones((5, 5), np.uint8)
    masks = []
    for frame in clip:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.shape[-1] == 3 else frame[..., 0]
        grey = cv2.GaussianBlur(grey, (5, 5), 0)
        if not masks:
            average = grey.astype(float)
            masks.append(np.zeros(grey.shape, bool))
            continue
        cv2.accumulateWeighted(grey, average, 0.3)
        difference = cv2.absdiff(grey, cv2.convertScaleAbs(average))
        _, mask = cv2.threshold(difference, 10, 255, cv2.THRESH_BINARY)
        for operation in (cv2.MORPH_OPEN, cv2.MORPH_CLOSE):
            mask = cv2.morphologyEx(mask, operation, kernel)
        masks.append(mask > 0)
    return np.stack(masks)


@pytest.mark.parametrize('size', [(48, 64), (33, 47), (5, 4), (2, 3)])
@pytest.mark.parametrize('channels', [1, 3])
def test_masks_are_opencv_s_to_the_last_pixel(size, channels):
    cv2 = pytest.importorskip('cv2')
    rng = np.random.default_rng(0)
    share = []
    for spread in (8, 20, 60, 255):
        walk = 128 + rng.normal(0, spread, (10, *size, channels)).cumsum(0) / 2
        clip = np.clip(walk, 0, 255).astype(np.uint8).repeat(3, 1).repeat(3, 2)[:, : size[0], : size[1]]
        expected = make_masks_by_opencv(cv2, clip)
        np.testing.assert_array_equal(detect_changes(clip[None])[0], expected)
        share.append(expected.mean())
    assert max(share) > 0.1 or max(size) <= 5, 'most of the frames of a few pixels do not change'


def test_changes_at_the_threshold_are_opencv_s():
    """A change by 15 levels differs from the average by 10.5, which rounding decides."""
    cv2 = pytest.importorskip('cv2')
    start = np.arange(240, dtype=np.uint8).repeat(12)[None, :, None].repeat(12, 0)
    for change in (14, 15, 16):
        clip = np.stack([start, start + np.uint8(change), start])
        np.testing.assert_array_equal(detect_changes(clip[None])[0], make_masks_by_opencv(cv2, clip))


def test_a_square_that_appears_is_its_mask():
    clip = np.zeros((1, 4, 40, 40, 3), np.uint8)
    clip[0, 2:, 10:22, 15:31] = 255
    masks = detect_changes(clip)[0]
    assert not masks[:2].any()
    square = clip[0, 2, ..., 0] > 0
    assert masks[2][square].all()
    rows, columns = np.nonzero(masks[2])
    # The blur reaches two pixels further: 255 / 16 of them is above 10, less the 0.3 that the average has taken in.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 23, 13, 32)


def test_stillness_and_slow_change_leave_masks_empty():
    still = np.full((1, 6, 20, 20, 3), 80, np.uint8)
    assert not detect_changes(still).any()
    fade = still + np.arange(0, 12, 2, dtype=np.uint8)[None, :, None, None, None]
    assert not detect_changes(fade).any()


def test_what_is_thin_goes_and_narrow_gaps_close():
    mask = np.zeros((30, 30), bool)
    mask[5:15, 5:15] = True
    mask[5:15, 18:24] = True  # three pixels further
    mask[20:24, 3:28] = True  # four pixels high
    expected = np.zeros((30, 30), bool)
    expected[5:15, 5:24] = True
    np.testing.assert_array_equal(clean(mask), expected)


def test_grey_and_blur_keep_what_is_even():
    for level in (0, 1, 127, 255):
        even = np.full((6, 7, 3), level, np.uint8)
        assert (to_grey(even) == level).all() and (blur(to_grey(even)) == level).all()
    np.testing.assert_array_equal(to_grey(np.eye(3, dtype=np.uint8)[None] * 255)[0], [76, 150, 29])


@pytest.mark.parametrize('frame', [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)])
def test_what_is_no_frame_is_refused(frame):
    with pytest.raises(UserError, match=r'^a frame of .*: masks want uint8 \(height, width, 1 or 3\)$'):
        list(stream_changes([frame]))
