"""Interlaced frames made whole: lines of one moment only."""

import collections
import contextlib
from collections.abc import Iterable, Iterator
from fractions import Fraction

from vdm_jax.data.video.container import reasons

TICK = Fraction(1, 1000)  # seconds; any will do, for frames are told apart by their order


def deinterlace_frames(frames: Iterable[tuple]) -> Iterator[tuple]:
    """The (number, PyAV frame) pairs with interlaced frames replaced by FFmpeg's bwdif, which looks at the frame before
    and after each; any other is left as it is. They come one behind.
    """
    import av

    graph, kind, waiting = None, None, collections.deque()

    def ready():
        with contextlib.suppress(av.BlockingIOError, av.EOFError):
            while graph is not None:
                filtered = graph.vpull()
                number, frame = waiting.popleft()
                yield number, filtered if frame.interlaced_frame else frame

    with reasons():
        for number, frame in frames:
            if kind != (kind := (frame.width, frame.height, frame.format.name)):
                if graph is not None:
                    graph.push(None)
                yield from ready()
                graph = _graph(*kind)
            waiting.append((number, frame))
            graph.push(frame)
            yield from ready()
        if graph is not None:
            graph.push(None)
        yield from ready()


def _graph(width, height, pixel_format):
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(None, width, height, pixel_format, time_base=TICK)
    bwdif = graph.add('bwdif', 'mode=send_frame:deint=interlaced')
    graph.link_nodes(source, bwdif, graph.add('buffersink')).configure()
    return graph
