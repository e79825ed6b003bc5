"""How fast clips come: from the loader, and from bare PyAV that reads the same frames of the same files."""

import concurrent.futures
import dataclasses
import io
import statistics
import time

import numpy as np

from vdm_jax.data.order.buckets import BucketOrder
from vdm_jax.data.order.order import Order, clip_generator
from vdm_jax.data.pipeline import batches
from vdm_jax.data.source import Reader
from vdm_jax.data.video import decode
from vdm_jax.data.video.extract_clip import ReadPlan
from vdm_jax.data.video.transforms import resize

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

        video, index = self.video, self.video.index
        frames: dict[int, np.ndarray] = {}
        has_times = len(index.keys) and not len(index.digests)  # that tell which frame is which
        wanted = set((index.pts[self.numbers] if has_times else self.numbers).tolist())
        file = io.BytesIO(video.path) if isinstance(video.path, bytes) else video.path
        with av.open(file, 'r') as container:
            stream = container.streams.video[index.stream if has_times else 0]
            stream.codec_context.thread_count = 1
            key = index.key_before(self.numbers.min()) if has_times else 0
            if key:
                container.seek(int(index.key_stamps[key]), stream=stream)
            for number, frame in enumerate(container.decode(stream)):
                position = frame.pts if has_times else number
                if position in wanted:
                    frames[position] = resize(frame.to_ndarray(format='rgb24'), self.height, self.width)
                if len(frames) == len(wanted):
                    break
        return np.stack([frames[position] for position in sorted(frames)])


def read_of(plan: ReadPlan) -> Read:
    """Return what a plan takes of its file: each frame once, as they lie there."""
    height, width = plan.video.index.orientation.stored_size(plan.height, plan.width)
    return Read(plan.video, np.unique(plan.numbers), height, width)


def measure(reader: Reader, seed: int = 0, turns: int = TURNS) -> dict[str, float]:
    """Measure how fast a source's clips come, with no frames kept in memory; medians over the turns.

    Returns:
      'loader_clips_per_second', from the first clip asked for to the last one there; and where the source reads videos
      'pyav_clips_per_second', of `Read.frames` of the same clips in as many threads, in turns, and 'loader_over_pyav'.
      {} for a source that is one constant batch.
    """
    if reader.loading == 'constant':
        return {}
    reader = reader.uncached()
    order = reader.order(min(BATCH, len(reader)), seed)
    steps = -(-CLIPS // max(order.batch_sizes))
    while load_clips(reader, order, 0, steps)[1] < SHORT:  # also a turn to warm up
        steps *= 4

    rates: dict[str, list[float]] = {'loader': [], 'pyav': []}
    for turn in range(turns):
        start, stop = turn * steps, (turn + 1) * steps
        count, seconds = load_clips(reader, order, start, stop)
        rates['loader'].append(count / seconds)

        if reads := planned_reads(reader, order, start, stop):
            began = time.perf_counter()
            with concurrent.futures.ThreadPoolExecutor(max(reader.source.threads, 1)) as pool:
                for _ in pool.map(Read.frames, reads):
                    pass
            rates['pyav'].append(count / (time.perf_counter() - began))

    medians = {f'{name}_clips_per_second': statistics.median(each) for name, each in rates.items() if each}
    if rates['pyav']:
        ratios = [ours / bare for ours, bare in zip(rates['loader'], rates['pyav'], strict=True)]
        medians['loader_over_pyav'] = statistics.median(ratios)
    return medians


def load_clips(reader: Reader, order: Order | BucketOrder, start: int, stop: int) -> tuple[int, float]:
    """Load the batches of steps start, ..., stop - 1: how many clips these are, and seconds."""
    began = time.perf_counter()
    with batches(reader, order, start, stop) as stream:
        count = sum(len(batch['label']) for batch in stream)
    return count, time.perf_counter() - began


def planned_reads(reader: Reader, order: Order | BucketOrder, start: int, stop: int) -> list[Read]:
    """Return what the clips of steps start, ..., stop - 1 read of files; [] where the first comes from no video."""
    reads: list[Read] = []
    for step in range(start, stop):
        ids, positions = order.locate(step, np.arange(order.batch_sizes[order.bucket(step)]))
        for i, position in zip(ids, positions, strict=True):
            reads += map(read_of, reader.read_plans(int(i), clip_generator(order.seed, int(position))))
            if not reads:
                return []
    return reads
