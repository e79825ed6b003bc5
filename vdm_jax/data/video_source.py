"""What sources have in common whose clips are cut from videos."""

from vdm_jax.config.frame_size import FrameSize, height_width, read_pixels
from vdm_jax.config.ranges import Fps, Frames, Stride
from vdm_jax.data.source import Shape, Source
from vdm_jax.data.video.extract_clip import ClipOptions, CropMode, Short, Start


class VideoSource(Source):
    """A source whose clips are cut from videos as ClipOptions say.

    The group is declared here; the keys of a config stay flat and in an order of each source's own, so a source has
    them as fields among its others. One that has less of them, or takes less, says so.

    Attributes:
      frames: Frames of a clip.
      pixels: Size of a frame: a video is resized, its aspect kept, to just cover it, and the rest is cut off.
      stride: A clip takes every so many-th frame.
      fps: A clip takes the frames nearest in time to a grid of so many a second (then every `stride`-th of those);
        none: all frames, by their numbers.
      short: What happens to a video too short for a clip: its last frame is held (hold), it starts again (loop), or it
        is left out (drop).
      start: Where a training clip begins: at a random frame, at the first, or halfway between first and last (center).
      crop: Which part of the picture a training clip shows: the centre, or a random one.
      flip: Whether half of the training clips are mirrored.
    """

    frames: Frames = 16
    pixels: FrameSize = 64
    stride: Stride = 1
    fps: Fps | None = None
    short: Short = 'hold'
    start: Start = 'random'
    crop: CropMode = 'center'
    flip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        # 64 and '64x64' are one config.
        object.__setattr__(self, 'pixels', read_pixels(self.pixels))

    @property
    def shape(self) -> Shape:
        """(T, H, W, C) of a clip, in colour."""
        return self.frames, *height_width(self.pixels), 3

    @property
    def clip_options(self) -> ClipOptions:
        """How its clips are cut."""
        size = self.frames, *height_width(self.pixels)
        return ClipOptions(size, self.stride, self.fps, self.short, self.start, self.crop, self.flip)

    @property
    def clip_fps(self) -> float | None:
        """Frames a second of its clips, where the config sets them."""
        return self.fps / self.stride if self.fps else None

    @property
    def drops_short(self) -> bool:
        """Whether videos too short for `frames` are left out."""
        return self.short == 'drop'
