"""Encode frames to the bytes of an mp4 (H.264), one frame at a time: equal frames make equal bytes.

One thread, no date, no B-frames: the first frame shown is the first stored. Times are those of the frames, rounded to
1/90000 s.
"""

import io
from fractions import Fraction

import numpy as np

TICKS_PER_SECOND = 90_000  # whole ones for 24, 25, 30, 50, 60 and, within 3 microseconds, 24000/1001
PRESET = 'veryfast'  # half the time of `medium` for 5% more bytes, measured on real clips
# Without it x264 takes what is fastest on the machine, which makes other bytes on another one, and bytes that hang on
# what lies in memory it does not clear (x264 165, mbtree): two runs on one machine differed.
X264_PARAMS = 'cpu-independent=1'


class Encoder:
    """`add` each frame, then `finish`.

    Args:
      height: Of the frames, even.
      width: Of the frames, even.
      crf: Quality, 0 (lossless) to 51.
      gop: Frames from one keyframe to the next at most.
      pixel_aspect: Width over height of a pixel.
    """

    def __init__(self, height: int, width: int, crf: int, gop: int, pixel_aspect: float = 1.0) -> None:
        import av
        from av.video.reformatter import Interpolation, VideoReformatter

        self._av = av
        # Without the last two what a frame becomes hangs on the machine's vector instructions.
        self._interpolation = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        self._reformatter = VideoReformatter()  # one for all frames: making one takes longer than what it does

        self._file = io.BytesIO()
        self._container = av.open(self._file, 'w', format='mp4', options={'fflags': '+bitexact'})
        options = {'crf': str(crf), 'preset': PRESET, 'bf': '0', 'threads': '1', 'x264-params': X264_PARAMS}
        self._stream = self._container.add_stream('libx264', rate=25, options=options)  # the rate means nothing
        self._stream.height = height
        self._stream.width = width
        self._stream.pix_fmt = 'yuv420p'

        context = self._stream.codec_context
        if pixel_aspect != 1:  # players then show it as the file that it was cut from
            context.sample_aspect_ratio = Fraction(pixel_aspect).limit_denominator(1000)
        context.gop_size = gop
        context.thread_count = 1
        context.time_base = Fraction(1, TICKS_PER_SECOND)
        # frame_duration: how long the last frame is shown is stored with it, and not guessed from the rate.
        flags = av.codec.context.Flags
        context.flags |= flags.bitexact | flags.frame_duration

    def add(self, frame: np.ndarray, start: float, end: float) -> None:
        """Encode the next frame, uint8 (height, width, 3) RGB, shown from second `start` to `end`."""
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format='rgb24')
        picture = self._reformatter.reformat(picture, format='yuv420p', interpolation=self._interpolation, threads=1)
        picture.pts = round(start * TICKS_PER_SECOND)
        picture.time_base = Fraction(1, TICKS_PER_SECOND)
        picture.duration = round(end * TICKS_PER_SECOND) - picture.pts
        self._container.mux(self._stream.encode(picture))

    def finish(self) -> bytes:
        """Return the bytes of the file."""
        self._container.mux(self._stream.encode())
        self._container.close()
        return self._file.getvalue()
