"""Limits on what a video file may ask for."""

import dataclasses
from typing import Annotated

from vdm_jax.config.ranges import Above0, AtLeast, Ranged
from vdm_jax.data.video.broken import BrokenVideoError

Most = Annotated[int, AtLeast(1, 2**62)]


@dataclasses.dataclass(frozen=True)
class Limits(Ranged, where='config.data.limits'):
    """What a file may ask for; one that asks for more is broken.

    Attributes:
      frame_pixels: Width times height of a frame.
      frames: Frames of one file.
      seconds: Length of one file.
      read_pixels: Pixels decoded in one `read`.
      index_pixels: Pixels decoded once to find out what a file holds, where its packets do not suffice.
    """

    frame_pixels: Most = 2**25  # 8K (7680 x 4320) fits
    frames: Most = 2**20  # 12 hours at 24 frames/s
    seconds: Annotated[float, Above0(high=1e12)] = 86400.0
    read_pixels: Most = 2**36  # 20 minutes of 1080p
    index_pixels: Most = 2**40  # 5 hours of 1080p

    def check_size(self, width: int, height: int) -> None:
        """Check the size of a frame.

        Raises:
          BrokenVideoError: It is too large.
        """
        if width * height > self.frame_pixels:
            raise BrokenVideoError(f'{width}x{height} frames are larger than {self.frame_pixels} pixels')

    def check_frames(self, frames: int) -> None:
        """Check the number of frames of a file.

        Raises:
          BrokenVideoError: There are too many.
        """
        if frames > self.frames:
            raise BrokenVideoError(f'more than {self.frames} frames')

    def check_seconds(self, seconds: float) -> None:
        """Check the length of a file.

        Raises:
          BrokenVideoError: It lasts longer than it may, or not at all.
        """
        if not 0 < seconds <= self.seconds:
            raise BrokenVideoError(f'{seconds:.1f} seconds are more than {self.seconds:.1f}')
