"""Physics-IQ's masks: which pixels of each frame change, as the benchmark's own program finds them with OpenCV.

Its order of operations (google-deepmind/physics-iq-benchmark at e457754, code/binary_mask_generator.py): grey; a
Gaussian blur of 5x5; a running average that starts as the first frame and takes in 0.3 of each next one, before that
frame is held against it; the absolute difference from the average, rounded to bytes, above 10; opening, then closing by
5x5. The first frame's mask is empty. What OpenCV does to the last bit is done here in numpy and scipy.

Not done: the program stores its masks as a compressed video and reads them back, which moves a few pixels.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from scipy import ndimage

from vdm_jax.errors import UserError

THRESHOLD = 10  # of values of 0 to 255
RATE = 0.3  # of a new frame in the running average
KERNEL = 5  # pixels
GREY = np.array([9798, 19235, 3735])  # Rec. 601 in units of 2^-15
BLUR = (1, 4, 6, 4, 1)  # in units of 1/16


def detect_changes(videos: np.ndarray, threshold: int = THRESHOLD) -> np.ndarray:
    """Return the masks of clips, uint8 (N, T, H, W, C) -> bool (N, T, H, W)."""
    masks = np.zeros(videos.shape[:-1], bool)
    for number, clip in enumerate(videos):
        for t, mask in enumerate(stream_changes(clip, threshold)):
            masks[number, t] = mask
    return masks


def stream_changes(frames: Iterable[np.ndarray], threshold: int = THRESHOLD) -> Iterator[np.ndarray]:
    """Yield the mask of each frame of one clip, bool (H, W), with a few frames in memory at a time.

    Args:
      frames: uint8 (H, W, C), C 1 or 3.
      threshold: What a difference of grey values has to exceed.

    Raises:
      UserError: Frames are no bytes, or have another number of channels.
    """
    average = None
    for frame in frames:
        grey = blur(to_grey(frame))
        if average is None:
            average = grey.astype(np.float64)
            yield np.zeros(grey.shape, bool)
            continue
        average = (1 - RATE) * average + RATE * grey
        # OpenCV rounds the average as a float32, and ties to the even number: a change by 15 levels hangs on that.
        change = np.abs(grey - np.rint(average.astype(np.float32)))
        yield clean(change > threshold)


def to_grey(frame: np.ndarray) -> np.ndarray:
    """Return a frame's luma as OpenCV rounds it: uint8 (H, W, C) -> int64 (H, W), 0 to 255."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] not in (1, 3):
        raise UserError(f'a frame of {frame.dtype} {frame.shape}: masks want uint8 (height, width, 1 or 3)')
    if frame.shape[-1] == 1:
        return frame[..., 0].astype(np.int64)
    grey: np.ndarray = (frame @ GREY + 2**14) >> 15
    return grey


def blur(grey: np.ndarray) -> np.ndarray:
    """Blur by OpenCV's Gaussian of 5x5 for bytes, binomial weights: int64 (H, W) -> (H, W), whole numbers.

    Beyond an edge the picture is mirrored, without the edge itself.
    """
    soft = np.pad(grey, 2, mode='reflect')
    for axis in (0, 1):
        count = soft.shape[axis] - KERNEL + 1
        soft = sum(
            (weight * np.take(soft, range(first, first + count), axis) for first, weight in enumerate(BLUR)),
            start=np.zeros((), np.int64),
        )
    blurred: np.ndarray = (soft + 128) >> 8
    return blurred


def clean(mask: np.ndarray) -> np.ndarray:
    """Open, then close a mask, bool (H, W), by 5x5: what is thinner than 5 pixels goes, and gaps narrower than that."""
    opened = _dilate(_erode(mask))
    return _erode(_dilate(opened))


def _erode(mask: np.ndarray) -> np.ndarray:
    # What lies beyond the frame decides nothing, here and below.
    least: np.ndarray = ndimage.minimum_filter(mask, KERNEL, mode='constant', cval=True)
    return least


def _dilate(mask: np.ndarray) -> np.ndarray:
    greatest: np.ndarray = ndimage.maximum_filter(mask, KERNEL, mode='constant', cval=False)
    return greatest
