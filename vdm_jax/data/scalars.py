"""Numbers that a network may be told of a clip, by name: SCALARS measures them, or the source gives them."""

from collections.abc import Sequence

import numpy as np

from vdm_jax.errors import UserError


def motion(video: np.ndarray) -> float:
    """Mean absolute difference of neighbouring frames of uint8 (T, H, W, C), 0 to 1; 0 for one frame."""
    if len(video) < 2:
        return 0.0
    return float(np.abs(np.diff(video.astype(np.int16), axis=0)).mean() / 255)


SCALARS = {'motion': motion}


def told(clip: dict, names: Sequence[str]) -> dict:
    """The clip with the scalars of these names as float32, and without others that its source gives."""
    known = clip.get('scalars', {})
    rest = {name: value for name, value in clip.items() if name not in ('scalars', 'drawn')}
    return rest | {name: np.float32(known[name] if name in known else SCALARS[name](clip['video'])) for name in names}


def given(source) -> tuple[str, ...]:
    """All that clips of this source can tell: nothing is measured of latents."""
    measured = () if getattr(source, 'latents', ('',))[0] else SCALARS
    return tuple(dict.fromkeys((*getattr(source, 'scalars', ()), *measured)))


def check(source, names: Sequence[str]) -> None:
    """Raises: UserError for a name that neither the source gives nor SCALARS measures."""
    known = given(source)
    for name in names:
        if name not in known:
            raise UserError(
                f'config.model.scalars={name}: clips of this source tell {", ".join(known)}; choose among these'
            )
