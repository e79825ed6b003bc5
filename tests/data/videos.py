"""Video files whose frames carry their numbers. Whoever imports this is skipped where PyAV is not installed."""

from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip('av')

BITS = 8


def encode_numbers(count, height=32, width=64):
    """uint8 (count, height, width, 3): frame i carries i as eight black or white bars."""
    bits = (np.arange(count)[:, None] >> np.arange(BITS)) & 1
    bars = (bits * 219 + 18).astype(np.uint8).repeat(width // BITS, 1)
    return np.broadcast_to(bars[:, None, :, None], (count, height, width, 3))


def numbers(video):
    """The numbers that frames of any size carry, (T,)."""
    column = video.mean((1, 3))
    bars = column.reshape(len(video), BITS, -1).mean(2)
    return ((bars > 128) << np.arange(BITS)).sum(1)


def encode(path, video, codec='libx264', fps=25, gop=10, times=None, pix_fmt='yuv420p', **options):
    """A file in the format of its suffix; times: of the frames, in units of 1/1000 s."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.codec_context.gop_size = gop
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, pixels in enumerate(video):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format='rgb24')
            frame.pts = i if times is None else int(times[i])
            if times is not None:
                frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
