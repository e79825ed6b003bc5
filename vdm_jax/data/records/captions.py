"""Which of a clip's captions it is told."""

from collections.abc import Sequence

import numpy as np

from vdm_jax.data.latents.text_store import is_none
from vdm_jax.data.records.schema import Caption

HALF = 0.5 - 1e-6  # of a clip, that a caption has to hold for


def caption_of(
    captions: Sequence[Caption], window: tuple[float, float], rng: np.random.Generator | None
) -> Caption | None:
    """One of the captions that hold for at least half of the `window` (seconds of the record), None where none does.

    rng draws one of them by their weights; None takes the first.
    """
    fit = [each for each in captions if each.weight > 0 and not is_none(each.text) and share(each, window) >= HALF]
    if not fit:
        return None
    if rng is None:
        return fit[0]
    sums = np.cumsum([each.weight for each in fit])
    return fit[min(int(np.searchsorted(sums, rng.random() * sums[-1], 'right')), len(fit) - 1)]


def share(caption: Caption, window: tuple[float, float]) -> float:
    """How much of the window the caption holds for, 0 to 1."""
    first, stop = window
    begins = first if caption.start is None else max(caption.start, first)
    ends = stop if caption.end is None else min(caption.end, stop)
    return max(ends - begins, 0.0) / (stop - first)
