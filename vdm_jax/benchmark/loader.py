"""Throughput of the loader, and of bare PyAV that reads the same frames of the same files."""

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

BATCH = 8  # clips at once
CLIPS = 32  # in a turn, at least
SHORT = 0.5  # seconds; no turn takes less
TURNS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Read:
    """What one clip takes of a file.

    Attributes:
      video: The file and its index.
      numbers: Of the frames, rising.
      height: That frames are scaled to, as they lie in the file: before any rotation.
      width: Likewise.
    """

    video: decode.Video
    numbers: np.ndarray
    height: int
    width: int

    def frames(self) -> np.ndarray:
        """Return uint8 (T, height, width, 3), as one writes it with PyAV: seek, decode, convert, scale, stack."""
        import av

        path = self.video.path
        index = self.video.index
        # Where time stamps do not tell which frame is which, frames are counted from the start of the file.
        has_times = len(index.keys) and not len(index.digests)
        wanted = set((index.pts[self.numbers] if has_times else self.numbers).tolist())

        frames: dict[int, np.ndarray] = {}
        file = io.BytesIO(path) if isinstance(path, bytes) else path
        with av.open(file, 'r') as container:
            stream = container.streams.video[index.stream if has_times else 0]
            # One, as the loader too has a thread for each clip.
            stream.codec_context.thread_count = 1

            key = index.key_before(self.numbers.min()) if has_times else 0
            if key:  # the first one is where the file begins
                container.seek(int(index.key_stamps[key]), stream=stream)
            for number, frame in enumerate(container.decode(stream)):
                position = frame.pts if has_times else number
                if position is not None and position in wanted:
                    frames[position] = resize(frame.to_ndarray(format='rgb24'), self.height, self.width)
                if len(frames) == len(wanted):
                    break
        return np.stack([frames[position] for position in sorted(frames)])


def make_read(plan: ReadPlan) -> Read:
    """Return what a plan takes of its file: each frame once, in the order of the file."""
    height, width = plan.video.index.orientation.stored_size(plan.height, plan.width)
    return Read(plan.video, np.unique(plan.numbers), height, width)


def measure(reader: Reader, seed: int = 0, turns: int = TURNS) -> dict[str, float]:
    """Measure how fast a source's clips come, with no frames kept in memory; medians over the turns.

    Returns:
      'loader_clips_per_second', from the first request to the last clip; and where the source reads videos
      'pyav_clips_per_second', of `Read.frames` of the same clips in as many threads, in turns, and 'loader_over_pyav'.
      {} for a source that is one constant batch.
    """
    if reader.loading == 'constant':
        return {}
    # Frames kept in memory would be counted as read, and bare PyAV keeps none.
    reader = reader.without_cache()
    order = reader.order(min(BATCH, len(reader)), seed)
    steps = -(-CLIPS // max(order.batch_sizes))
    # Turns too short to be timed are made longer; the first one also warms up.
    while load_clips(reader, order, 0, steps)[1] < SHORT:
        steps *= 4

    loader_rates: list[float] = []
    pyav_rates: list[float] = []
    for turn in range(turns):
        start = turn * steps
        stop = start + steps
        count, seconds = load_clips(reader, order, start, stop)
        loader_rates.append(count / seconds)

        # In turns, so that a machine that slows down or is busy for a while slows both.
        if reads := planned_reads(reader, order, start, stop):
            pyav_rates.append(count / _read_with_pyav(reads, max(reader.source.threads, 1)))

    medians = {'loader_clips_per_second': statistics.median(loader_rates)} if loader_rates else {}
    if pyav_rates:
        medians['pyav_clips_per_second'] = statistics.median(pyav_rates)
        # The median of the turns' ratios, not a ratio of medians: only the two sides of one turn met the same machine.
        ratios = [ours / bare for ours, bare in zip(loader_rates, pyav_rates, strict=True)]
        medians['loader_over_pyav'] = statistics.median(ratios)
    return medians


def _read_with_pyav(reads: list[Read], threads: int) -> float:
    """Seconds of reading all of it in so many threads."""
    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(Read.frames, reads):
            pass
    return time.perf_counter() - began


def load_clips(reader: Reader, order: Order | BucketOrder, start: int, stop: int) -> tuple[int, float]:
    """Load the batches of steps start, ..., stop - 1; return (number of clips, seconds)."""
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
            reads += map(make_read, reader.read_plans(int(i), clip_generator(order.seed, int(position))))
            if not reads:  # the other clips come from no video either
                return []
    return reads
