"""The choice of a caption for a clip."""

from collections.abc import Sequence

import numpy as np

from vdm_jax.data.latents.text_store import is_empty
from vdm_jax.data.records.schema import Caption

# Share of a clip that a caption has to hold for: half, and a little less, as times are rounded.
MIN_COVER = 0.5 - 1e-6


def choose_caption(
    captions: Sequence[Caption], window: tuple[float, float], rng: np.random.Generator | None
) -> Caption | None:
    """Return one of the captions that hold for at least half of a clip, None where none does.

    Args:
      captions: Those of the clip's record.
      window: Seconds of the record at which the clip begins and ends.
      rng: Draws one of them by their weights; None takes the first.
    """
    fitting = [caption for caption in captions if _fits(caption, window)]
    if not fitting:
        return None
    if rng is None:
        return fitting[0]
    sums = np.cumsum([caption.weight for caption in fitting])
    index = int(np.searchsorted(sums, rng.random() * sums[-1], 'right'))
    # The last sum is rounded too, so that the index may lead one past the end.
    return fitting[min(index, len(fitting) - 1)]


def _fits(caption: Caption, window: tuple[float, float]) -> bool:
    return caption.weight > 0 and not is_empty(caption.text) and covered_share(caption, window) >= MIN_COVER


def covered_share(caption: Caption, window: tuple[float, float]) -> float:
    """Return how much of the window (seconds) the caption holds for, 0 to 1."""
    first, stop = window
    start = first if caption.start is None else max(caption.start, first)
    end = stop if caption.end is None else min(caption.end, stop)
    return max(end - start, 0.0) / (stop - first)
