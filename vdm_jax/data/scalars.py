"""Scalars: numbers of a clip, by name, that a network may be conditioned on.

SCALARS measures them, or the source of the clip has them.
"""

from collections.abc import Sequence

import numpy as np

from vdm_jax.data.source import Clip, Reader
from vdm_jax.errors import UserError


def motion(video: np.ndarray) -> float:
    """Return the mean absolute difference of neighbouring frames of uint8 (T, H, W, C), 0 to 1; 0 for one frame."""
    if len(video) < 2:
        return 0.0
    # In int16: differences of uint8 wrap around at 0.
    return float(np.abs(np.diff(video.astype(np.int16), axis=0)).mean() / 255)


SCALARS = {'motion': motion}


def attach_scalars(clip: Clip, names: Sequence[str]) -> Clip:
    """Return the clip with the scalars of these names as float32, and without what else its source says of it."""
    known = clip.get('scalars', {})
    attached = {name: value for name, value in clip.items() if name not in ('scalars', 'draws')}
    for name in names:
        # What a source says goes first: records may have a score called motion, measured over the whole clip.
        value = known[name] if name in known else SCALARS[name](clip['video'])
        attached[name] = np.float32(value)
    return attached


def available_scalars(reader: Reader) -> tuple[str, ...]:
    """Return the names of all scalars of its clips: nothing is measured of latents."""
    measured = () if reader.latents else SCALARS
    return tuple(dict.fromkeys((*reader.scalars, *measured)))


def check(reader: Reader, names: Sequence[str]) -> None:
    """Check that there are scalars of these names.

    Raises:
      UserError: neither the source has one of them nor SCALARS measures it.
    """
    known = available_scalars(reader)
    for name in names:
        if name not in known:
            raise UserError(
                f'config.model.scalars={name}: clips of this source have the scalars {", ".join(known)}; '
                'choose among these'
            )
