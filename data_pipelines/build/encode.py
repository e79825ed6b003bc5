"""Frames -> the bytes of an mp4 (H.264), one frame at a time: equal frames make equal bytes.

One thread, no date, no B-frames: the first frame shown is the first stored. Times are as given, rounded to 1/90000 s.
"""

import io
from fractions import Fraction

import numpy as np

UNIT = 90_000  # ticks a second; whole numbers for 24, 25, 30, 50, 60 and, within 3 microseconds, 24000/1001
PRESET = 'veryfast'  # half the time of `medium` for 5% more bytes, measured on real clips
# Without it x264 takes what is fastest on the machine, which makes other bytes on another one, and bytes that hang on
# what lies in memory it does not clear (x264 165, mbtree): two runs on one machine differed.
EXACT = 'cpu-independent=1'


class Encoder:
    """`add` each frame, then `finish`. crf: quality, 0 to 51; gop: frames from one keyframe to the next at most."""

    def __init__(self, height: int, width: int, crf: int, gop: int, pixel_aspect: float = 1.0):
        """height, width: of the frames, even. pixel_aspect: width over height of a pixel."""
        import av
        from av.video.reformatter import Interpolation, VideoReformatter

        # without these two what a frame becomes hangs on the machine's vector instructions
        self._how = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        self._reformatter = VideoReformatter()  # one for all frames: making one takes longer than what it does
        self._av, self._file = av, io.BytesIO()
        self._container = av.open(self._file, 'w', format='mp4', options={'fflags': '+bitexact'})
        options = {'crf': str(crf), 'preset': PRESET, 'bf': '0', 'threads': '1', 'x264-params': EXACT}
        stream = self._stream = self._container.add_stream('libx264', rate=25, options=options)  # the rate says nothing
        stream.height, stream.width, stream.pix_fmt = height, width, 'yuv420p'
        context = stream.codec_context
        if pixel_aspect != 1:  # players then show it as the file that it was cut from
            context.sample_aspect_ratio = Fraction(pixel_aspect).limit_denominator(1000)
        context.gop_size, context.thread_count, context.time_base = gop, 1, Fraction(1, UNIT)
        flags = (
            av.codec.context.Flags
        )  # frame_duration: how long the last frame is shown is told by it, not by the rate
        context.flags |= flags.bitexact | flags.frame_duration

    def add(self, frame: np.ndarray, start: float, end: float) -> None:
        """The next frame, uint8 (height, width, 3) RGB, and the seconds at which it begins and ends to be shown."""
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format='rgb24')
        picture = self._reformatter.reformat(picture, format='yuv420p', interpolation=self._how, threads=1)
        picture.pts, picture.time_base = round(start * UNIT), Fraction(1, UNIT)
        picture.duration = round(end * UNIT) - picture.pts
        self._container.mux(self._stream.encode(picture))

    def finish(self) -> bytes:
        """The file."""
        self._container.mux(self._stream.encode())
        self._container.close()
        return self._file.getvalue()
