"""Warp error: does the next frame, carried back along its flow, look like this one?

It is that of Lai et al. 2018 (arXiv:1808.00449). Pixels that flow cannot carry are left out: occluded ones and the
edges of motion, as detected by the authors' code (phoenix104104/fast_blind_video_consistency at bce0c7e), and here also
those whose flow leaves the frame. The authors hold such against the frame's edge, which no exact flow makes zero.
"""

import numpy as np

OCCLUDED = (0.01, 0.5)  # share of the squared flows, px^2
EDGE = (0.01, 0.002)  # share of the squared flow, of the squared gradient


def compute_warp_errors(
    clip: np.ndarray, forward: np.ndarray, backward: np.ndarray, leavers: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the warp error of each pair of frames, and how much of the frame it was measured on.

    A pair of which no pixel is left has no error (nan); the authors' code takes it for a perfect one.

    Args:
      clip: (T, H, W, C), 0 to 255.
      forward: Flow to the next frame, (T - 1, H, W, 2).
      backward: Flow from the next frame, (T - 1, H, W, 2).
      leavers: Whether pixels that leave the frame count, as they do in the authors' code.

    Returns:
      errors: (T - 1,), mean squared difference of values of 0 to 1.
      visible: (T - 1,), share of the pixels that count.
    """
    errors = []
    visible = []
    for t in range(len(clip) - 1):
        is_visible = ~detect_occlusions(forward[t], backward[t])
        if not leavers:
            is_visible &= stays_inside(forward[t])
        difference = (warp(clip[t + 1], forward[t]) - clip[t])[is_visible] / 255
        errors.append(np.square(difference).mean() if is_visible.any() else np.nan)
        visible.append(is_visible.mean())
    return np.array(errors, np.float64), np.array(visible, np.float64)


def detect_occlusions(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Return where a frame's pixels cannot be found in the next one, or flow changes abruptly.

    Occluded: |b + f|^2 > 0.01 (|b|^2 + |f|^2) + 0.5, b the flow back, looked up where f leads. Edge of motion: the
    squared differences of f to the pixel right and the one below sum to more than 0.01 |f|^2 + 0.002.

    Args:
      forward: Flow from the frame to the next, (H, W, 2).
      backward: Flow from the next frame to this one, (H, W, 2).

    Returns:
      bool (H, W).
    """
    forward = np.asarray(forward, np.float64)
    back = warp(backward, forward)
    length = _square(forward)
    is_occluded = _square(back + forward) > OCCLUDED[0] * (_square(back) + length) + OCCLUDED[1]

    gradient = np.zeros(forward.shape[:2])
    gradient[:, :-1] += _square(np.diff(forward, axis=1))
    gradient[:-1] += _square(np.diff(forward, axis=0))
    is_edge = gradient > EDGE[0] * length + EDGE[1]
    occlusions: np.ndarray = is_occluded | is_edge
    return occlusions


def stays_inside(flow: np.ndarray) -> np.ndarray:
    """Return which pixels flow (H, W, 2) leads to a place between the centres of pixels: bool (H, W)."""
    x, y = _find_targets(flow)
    is_inside: np.ndarray = (x >= 0) & (x <= flow.shape[1] - 1) & (y >= 0) & (y <= flow.shape[0] - 1)
    return is_inside


def warp(frame: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Look up where flow leads: frame (H, W, C), flow (H, W, 2) -> float64 (H, W, C).

    Between pixels bilinearly; outside of the frame there is what is on its edge.
    """
    return sample_bilinear(frame, *_find_targets(flow))


def sample_bilinear(frame: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the values of a frame (H, W, C) at places (...): float64 (..., C); edges reach on for ever."""
    height, width = frame.shape[:2]
    x = np.clip(x, 0, width - 1)
    y = np.clip(y, 0, height - 1)
    left = np.floor(x).astype(int)
    top = np.floor(y).astype(int)
    right = np.minimum(left + 1, width - 1)
    bottom = np.minimum(top + 1, height - 1)

    across = (x - left)[..., None]
    down = (y - top)[..., None]
    above = frame[top, left] * (1 - across) + frame[top, right] * across
    below = frame[bottom, left] * (1 - across) + frame[bottom, right] * across
    values: np.ndarray = above * (1 - down) + below * down
    return values


def _find_targets(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of where each pixel goes."""
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width]
    return x + flow[..., 0], y + flow[..., 1]


def _square(flow: np.ndarray) -> np.ndarray:
    length: np.ndarray = np.square(flow).sum(-1)
    return length
