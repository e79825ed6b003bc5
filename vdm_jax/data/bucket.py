"""A bucket, which is one shape of clips, and the choice of the bucket that suits a clip best."""

import dataclasses
import re

import numpy as np

from vdm_jax.config.frame_size import height_width
from vdm_jax.config.ranges import BatchSize, Frames, Pixels, Ranged, RangeError
from vdm_jax.data.source import Size
from vdm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Bucket(Ranged, where='config.data.buckets'):
    """One shape of clips.

    Attributes:
      frames: Frames of a clip.
      height: Of a frame, in pixels.
      width: Of a frame, in pixels.
      batch: Clips in a batch; none: config.train.batch_size.
    """

    frames: Frames
    height: Pixels
    width: Pixels
    batch: BatchSize | None = None

    @property
    def size(self) -> Size:
        """(T, H, W) of its clips."""
        return self.frames, self.height, self.width

    def __str__(self) -> str:
        return 'x'.join(map(str, self.size)) + (f'@{self.batch}' if self.batch else '')


def read_bucket(text: str) -> Bucket:
    """Read the bucket of 'FRAMESxHEIGHTxWIDTH' or 'FRAMESxHEIGHTxWIDTH@BATCH'.

    Raises:
      UserError: it is written otherwise, or a number is out of its range.
    """
    # Nine digits at most: of thousands of them int() raises an error of its own.
    match = re.fullmatch(r'(\d{1,9})x(\d{1,9}x\d{1,9})(?:@(\d{1,9}))?', text)
    if not match:
        raise UserError(f'config.data.buckets={text}: want FRAMESxHEIGHTxWIDTH or FRAMESxHEIGHTxWIDTH@BATCH')
    frames, picture, batch = match.groups()
    height, width = height_width(picture, f'config.data.buckets={text}: its size')
    try:
        return Bucket(int(frames), height, width, int(batch) if batch else None)
    except RangeError as error:
        raise UserError(f'config.data.buckets={text}: {error.mistake}') from None


def assign(extents: np.ndarray, shapes: list[Size], short: str = 'hold') -> np.ndarray:
    """Assign clips to buckets, as Bucketed says; of two that are the same in all that, the first is taken.

    Args:
      extents: int64 (N, 3), the frames, height and width that each clip has.
      shapes: (T, H, W) of the buckets.
      short: As in Bucketed.

    Returns:
      int64 (N,), the number of each clip's bucket, -1 for none.
    """
    # A broken clip has sides of 0, which have no logarithm; it gets no bucket in the end.
    frames, height, width = np.maximum(extents, 1).T[..., None]
    T, H, W = np.array(shapes).T
    fits = frames >= T if short == 'drop' else (frames >= T) | (T == T.min())
    # Rounded, so that aspects which differ in the last bits of a logarithm alone are the same, and pixels decide.
    aspect_distance = np.abs(np.log(height / width) - np.log(H / W)).round(6)
    enlarges = np.maximum(H / height, W / width) > 1

    # The least of: does not fit, fewer frames, aspect, enlarges, then pixels: most, or fewest. lexsort has it last.
    area = np.where(enlarges, 1, -1) * (H * W)
    best = np.lexsort(np.broadcast_arrays(area, enlarges, aspect_distance, -T, ~fits), axis=1)[:, 0]

    best_fits = np.take_along_axis(fits, best[:, None], 1)[:, 0]
    is_broken = extents[:, 0] <= 0
    return np.where(best_fits & ~is_broken, best, -1).astype(np.int64)
