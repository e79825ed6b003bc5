"""One input of a build, and how it is named."""

import dataclasses
import os
from collections.abc import Mapping

from data_pipelines.inputs.stills import Stills
from vdm_jax.data.records.schema import Caption


@dataclasses.dataclass(frozen=True)
class Item:
    """One input: a video, or a window of one.

    Attributes:
      name: Its path below the source, as listed, with / between folders, and the window's times where it has one.
        Unique in a listing.
      path: Where to open it.
      captions: With times in seconds of the file.
      label: Class number.
      label_name: What the class is called.
      scores: By name, as the source has them (aesthetic, clip).
      start: Second of the file that it begins at; None: the beginning.
      end: Second of the file that it ends at; None: the end.
      split: Such as 'train'.
      problem: 'reason: detail' where it cannot be used, else ''.
      stills: The frames where they lie in no video file, else None.
    """

    name: str
    path: str
    captions: tuple[Caption, ...] = ()
    label: int | None = None
    label_name: str = ''
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    start: float | None = None
    end: float | None = None
    split: str = ''
    problem: str = ''
    stills: Stills | None = None

    @property
    def source(self) -> str:
        """Return the name without the window."""
        return self.name.removesuffix(format_window(self.start, self.end))


def format_window(start: float | None, end: float | None) -> str:
    """Return what a window of time adds to a name: '#12.5-20', '' for none."""
    if start is None and end is None:
        return ''
    return f'#{_format_seconds(start)}-{_format_seconds(end)}'


def _format_seconds(seconds: float | None) -> str:
    # 12.5 and 12.500 are one window, however a list writes it.
    return '' if seconds is None else f'{seconds:.3f}'.rstrip('0').rstrip('.')


def to_utf8(name: str) -> str:
    r"""Return a file name, or any other text, as one that UTF-8 can hold: other bytes become \x escapes."""
    try:
        # Python holds what is no UTF-8 in a file's name as surrogates; these are its bytes again.
        return os.fsencode(name).decode('utf-8', 'backslashreplace')
    except UnicodeEncodeError:
        return name.encode('utf-8', 'backslashreplace').decode()
