"""How fast clips come: from the loader, and from bare PyAV that reads the same frames of the same files."""

import concurrent.futures
import dataclasses
import io
import statistics
import time
from unittest import mock

import numpy as np

from vdm_jax.data.order import clip_generator, order_of
from vdm_jax.data.pipeline import batches
from vdm_jax.data.transforms import resize
from vdm_jax.data.video import decode

BATCH, CLIPS = 8, 32  # at once; at least so many in a turn
SHORT = 0.5  # seconds; no turn takes less
TURNS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Read:
    """What one clip takes of a file: frames by their numbers, scaled to (height, width) as they lie in it."""

    video: decode.Video
    numbers: np.ndarray
    height: int
    width: int

    def frames(self) -> np.ndarray:
        """uint8 (T, height, width, 3), as one writes it with PyAV: seek, decode, convert, scale, stack."""
        import av

        video, index, found = self.video, self.video.index, {}
        has_times = len(index.keys) and not len(index.digests)  # that tell which frame is which
        wanted = set((index.pts[self.numbers] if has_times else self.numbers).tolist())
        with av.open(io.BytesIO(video.path) if isinstance(video.path, bytes) else video.path) as container:
            stream = container.streams.video[index.stream if has_times else 0]
            stream.codec_context.thread_count = 1
            key = index.key_before(self.numbers.min()) if has_times else 0
            if key:
                container.seek(int(index.key_stamps[key]), stream=stream)
            for number, frame in enumerate(container.decode(stream)):
                place = frame.pts if has_times else number
                if place in wanted:
                    found[place] = resize(frame.to_ndarray(format='rgb24'), self.height, self.width)
                if len(found) == len(wanted):
                    break
        return np.stack([found[place] for place in sorted(found)])


def measure(source, seed: int = 0, turns: int = TURNS) -> dict[str, float]:
    """'loader_clips_per_second' of a source without its cache, from the first clip asked for to the last one there; and
    where it reads videos 'pyav_clips_per_second', of `Read.frames` of the same clips in as many threads, in turns, and
    'loader_over_pyav'. Medians over the turns; {} for a source that is one constant batch.
    """
    if getattr(source, 'constant', False):
        return {}
    source, found = uncached(source), {'loader': [], 'pyav': []}
    order = order_of(source, min(BATCH, len(source)), seed)
    steps = -(-CLIPS // max(order.batches))
    while loaded(source, order, 0, steps)[1] < SHORT:  # also a turn to warm up
        steps *= 4
    for turn in range(turns):
        start, stop = turn * steps, (turn + 1) * steps
        count, seconds = loaded(source, order, start, stop)
        found['loader'].append(count / seconds)
        if plan := reads(source, order, start, stop):
            began = time.perf_counter()
            with concurrent.futures.ThreadPoolExecutor(max(source.threads, 1)) as pool:
                for _ in pool.map(Read.frames, plan):
                    pass
            found['pyav'].append(count / (time.perf_counter() - began))
    rates = {f'{name}_clips_per_second': statistics.median(each) for name, each in found.items() if each}
    if found['pyav']:
        ratios = [ours / bare for ours, bare in zip(found['loader'], found['pyav'], strict=True)]
        rates['loader_over_pyav'] = statistics.median(ratios)
    return rates


def loaded(source, order, start: int, stop: int) -> tuple[int, float]:
    """(how many clips the loader brings from step `start` to `stop`, seconds)."""
    began = time.perf_counter()
    with batches(source, order, start, stop) as stream:
        count = sum(len(batch['label']) for batch in stream)
    return count, time.perf_counter() - began


def reads(source, order, start: int, stop: int) -> list[Read]:
    """What the clips of steps start, ..., stop - 1 are read from; none where they come from no videos."""
    found = []

    def note(video, indices, height=None, width=None):
        height, width = height or video.height, width or video.width
        size = video.index.orientation.stored_size(height, width)
        found.append(Read(video, np.unique(indices), *size))
        return np.zeros((len(indices), height, width, 3), np.uint8)

    if hasattr(source, 'gather'):
        return []
    with mock.patch.object(decode, 'read', note):  # as all sources call it
        for step in range(start, stop):
            ids, positions = order.place(step, np.arange(order.batches[order.bucket(step)]))
            for i, position in zip(ids, positions, strict=True):
                source.draw(int(i), clip_generator(order.seed, int(position)))
                if not found:
                    return []
    return found


def uncached(source):
    """The source, and those in it, without frames kept in memory."""
    if not dataclasses.is_dataclass(source):
        return source
    changes = {'cache_mb': 0} if any(field.name == 'cache_mb' for field in dataclasses.fields(source)) else {}
    for field in dataclasses.fields(source):
        value = getattr(source, field.name)
        if isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
            changes[field.name] = tuple(map(uncached, value))
        elif hasattr(value, 'draw'):
            changes[field.name] = uncached(value)
    return dataclasses.replace(source, **changes) if changes else source
