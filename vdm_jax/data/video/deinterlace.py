"""Deinterlacing: frames whose lines belong to two moments become frames of one moment."""

import collections
import contextlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from vdm_jax.data.video.container import translate_errors

if TYPE_CHECKING:
    from av.filter import Graph
    from av.video.frame import VideoFrame

TICK = Fraction(1, 1000)  # seconds; any will do, for frames are matched by their order


def deinterlace_frames(frames: Iterable[tuple[int, 'VideoFrame']]) -> Iterator[tuple[int, 'VideoFrame']]:
    """Replace interlaced frames in (number, frame) pairs by FFmpeg's bwdif; any other is left as it is.

    The filter looks at the frame before and after each, so that frames come out one behind.
    """
    import av

    graph: Graph | None = None
    kind = None
    waiting: collections.deque[tuple[int, VideoFrame]] = collections.deque()

    def pull_frames() -> Iterator[tuple[int, 'VideoFrame']]:
        with contextlib.suppress(av.BlockingIOError, av.EOFError):
            while graph is not None:
                filtered = graph.vpull()
                number, frame = waiting.popleft()
                yield number, filtered if frame.interlaced_frame else frame

    with translate_errors():
        for number, frame in frames:
            frame_kind = (frame.width, frame.height, frame.format.name)
            if graph is None or frame_kind != kind:
                # A graph takes frames of one size and format: the old one is emptied.
                if graph is not None:
                    graph.push(None)
                yield from pull_frames()
                graph = _make_graph(*frame_kind)
                kind = frame_kind
            waiting.append((number, frame))
            graph.push(frame)
            yield from pull_frames()
        if graph is not None:
            graph.push(None)
        yield from pull_frames()


def _make_graph(width: int, height: int, pixel_format: str) -> 'Graph':
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(None, width, height, pixel_format, time_base=TICK)  # type: ignore[arg-type]  # a name
    # A frame for each frame and not for each field, so that numbers and times stay;
    # `interlaced` judges each by its own flag.
    bwdif = graph.add('bwdif', 'mode=send_frame:deint=interlaced')
    graph.link_nodes(source, bwdif, graph.add('buffersink')).configure()
    return graph
