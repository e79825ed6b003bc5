"""Our loader against PyTorch's DataLoader with as many workers, on videos and on cached latents.

Run as `python tests/parity/bench_loader.py DIR [--json]`; DIR is a folder of videos. It is no part of vdm_jax, which
imports no PyTorch.

Videos: random clips of 16 frames at 128 pixels, nothing cached, in two threads of ours, two threads of bare PyAV and
two workers of a DataLoader, whose items are read with the same bare PyAV; the same clips for all three, which are first
shown to be equal. Latents: moments of 16x32x32 latents of 4 channels (524 kB a clip in float32), random clips of 2,000
in batches of 32, from the cache of vdm_jax and, in a DataLoader, item by item from one memory-mapped .npy file, from a
file a clip, and from ArrayRecord; from the first batch on, so that starting workers does not count.

Each side has a process of its own, pinned to the same CPUs; they take turns. Compare ratios, medians of what each turn
gives; beside other load, those of CPU time.
"""

import argparse
import gc
import json
import multiprocessing
import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

# The workload of videos.
WORKERS = 2
BATCH = 8
CLIPS = 96

# The workload of latents.
COUNT = 2000
SHAPE = (16, 32, 32, 8)
ROWS = 32
STEPS = 120


class Videos:
    """Clips of one turn, read in three ways."""

    def __init__(self, path):
        from vdm_jax.data.video_folder import VideoFolder

        self.reader = VideoFolder(path=path, frames=16, pixels=128, threads=WORKERS, cache_mb=0).open()
        self.order = self.reader.order(BATCH)
        self.steps = CLIPS // BATCH

    def reads(self, turn):
        from vdm_jax.benchmark import loader

        return loader.planned_reads(self.reader, self.order, turn * self.steps, (turn + 1) * self.steps)

    def ours(self, turn):
        from vdm_jax.benchmark import loader

        count, seconds = loader.load_clips(self.reader, self.order, turn * self.steps, (turn + 1) * self.steps)
        return count / seconds

    def pyav(self, turn):
        from concurrent.futures import ThreadPoolExecutor

        from vdm_jax.benchmark.loader import Read

        plan = self.reads(turn)
        return rate(lambda: ThreadPoolExecutor(WORKERS).map(Read.frames, plan))

    def torch(self, turn):
        from torch.utils.data import DataLoader

        loader = DataLoader(Clips(self.reads(turn)), batch_size=BATCH, num_workers=WORKERS)
        return rate(lambda: (clip for batch in loader for clip in batch['video']))

    def check(self):
        """Whether all three read the same."""
        from vdm_jax.data.video import decode

        for read in self.reads(0)[::7]:
            orientation = read.video.index.orientation
            ours = decode.read(read.video, read.numbers, *orientation.stored_size(read.height, read.width))
            np.testing.assert_array_equal(orientation.apply(read.frames()), ours)


class Clips:
    """A Dataset of PyTorch's: each item is opened, sought, decoded and scaled; a square is cut out."""

    def __init__(self, plan):
        self.plan = plan

    def __len__(self):
        return len(self.plan)

    def __getitem__(self, i):
        import torch

        frames = self.plan[i].frames()
        y, x = ((side - 128) // 2 for side in frames.shape[1:3])
        clip = np.zeros((16, 128, 128, 3), np.uint8)
        clip[: len(frames)] = frames[:, y : y + 128, x : x + 128]
        return {'video': torch.from_numpy(clip), 'label': i}


class Latents:
    """Batches of moments, from each kind of file."""

    def __init__(self, directory, kind):
        self.directory = pathlib.Path(directory)
        self.kind = kind

    def ours(self, turn):
        from vdm_jax.data.latents.source import CachedLatents
        from vdm_jax.data.order.order import Order
        from vdm_jax.data.pipeline import batches
        from vdm_jax.data.worlds.bouncing_balls import BouncingBalls

        if not hasattr(self, 'cached'):
            self.cached = CachedLatents(str(self.directory / self.kind), BouncingBalls(size=COUNT))
        with batches(self.cached, Order(COUNT, ROWS), turn * STEPS, (turn + 1) * STEPS) as stream:
            return after_first(stream)

    def torch(self, turn):
        import torch
        from torch.utils.data import DataLoader, RandomSampler

        items = {'one .npy': OneFile, 'a .npy a clip': ManyFiles, 'ArrayRecord': Records}[self.kind](self.directory)
        torch.manual_seed(turn)
        sampler = RandomSampler(items, num_samples=ROWS * STEPS, replacement=True)
        loader = DataLoader(items, batch_size=ROWS, sampler=sampler, num_workers=WORKERS)
        return after_first(iter(loader))

    def grain(self, turn):
        """ArrayRecord the way Grain reads it: item by item in threads, then stacked."""
        import grain

        records = Records(self.directory)
        rng = np.random.default_rng(turn)
        ids = rng.integers(0, COUNT, ROWS * STEPS)
        read = grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=2 * ROWS)

        def one(k):
            return {'moments': records.moments(int(ids[k])), 'label': k}

        stream = grain.MapDataset.range(0, len(ids)).map(one).to_iter_dataset(read).batch(ROWS)
        return after_first(iter(stream))


class Items:
    """A Dataset of PyTorch's over moments, opened where it is read."""

    def __init__(self, directory):
        self.directory = directory
        self.file = None

    def __len__(self):
        return COUNT

    def __getitem__(self, i):
        import torch

        return {'moments': torch.from_numpy(self.moments(i)), 'label': i}


class OneFile(Items):
    def moments(self, i):
        if self.file is None:
            self.file = np.load(self.directory / 'float32' / 'moments-00000-of-00001.npy', mmap_mode='r')
        return np.array(self.file[i, 0])


class ManyFiles(Items):
    def moments(self, i):
        return np.load(self.directory / 'clips' / f'{i}.npy')


class Records(Items):
    def moments(self, i):
        if self.file is None:
            from array_record.python.array_record_module import ArrayRecordReader

            path = str(self.directory / 'clips.array_record')
            self.file = ArrayRecordReader(path, 'readahead_buffer_size:0', file_reader_buffer_size=2**15)
        return np.frombuffer(self.file.read([i])[0], np.float32).reshape(SHAPE).copy()


def rate(items):
    """Of items() in items a second, from nothing to the last one."""
    began = time.perf_counter()
    count = sum(1 for _ in items())
    return count / (time.perf_counter() - began)


def after_first(stream):
    """Clips a second of batches, once the first one is there."""
    next(stream)
    return rate(lambda: (label for batch in stream for label in batch['label']))


def write_latents(directory):
    """The same moments as a cache in both precisions, a file a clip, and one ArrayRecord file."""
    from array_record.python.array_record_module import ArrayRecordWriter

    from vdm_jax.data.latents import metadata, store

    rng = np.random.default_rng(0)
    about = {'version': metadata.VERSION, 'made': {}, 'count': COUNT, 'views': 1, 'parts': 1, 'shape': SHAPE}
    about |= {'scalars': [], 'drawn': 0, 'seed': None}
    writers = {}
    for dtype in ('float32', 'float16'):
        (directory / dtype).mkdir()
        metadata.write_about(directory / dtype, about | {'dtype': dtype})
        writers[dtype] = store.PartWriter(directory / dtype, about | {'dtype': dtype}, 0)
    (directory / 'clips').mkdir()
    records = ArrayRecordWriter(str(directory / 'clips.array_record'), 'group_size:1,uncompressed')
    for i in range(COUNT):
        moments = rng.standard_normal((1, *SHAPE), np.float32)
        for dtype, writer in writers.items():
            writer.write(moments=moments.astype(dtype), conditions=np.zeros(1, metadata.conditions_dtype(about)))
        np.save(directory / 'clips' / f'{i}.npy', moments[0])
        records.write(moments.tobytes())
    records.close()
    for writer in writers.values():
        writer.commit()
        writer.close()


def work(pipe, name, arguments, cpus):
    """Run a side's process: receive (method, turn), send the result."""
    if cpus:
        os.sched_setaffinity(0, cpus)
    side = {'videos': Videos, 'latents': Latents}[name](*arguments)
    pipe.send(None)
    while order := pipe.recv():
        method, *turn = order
        before = cpu_seconds()
        result = getattr(side, method)(*turn)
        gc.collect()  # PyTorch's workers end with their loader
        pipe.send((result, cpu_seconds() - before))


def cpu_seconds():
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


class Worker:
    """The near end of a side's process."""

    def __init__(self, cpus, name, *arguments):
        context = multiprocessing.get_context('spawn')
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=work, args=(far, name, arguments, cpus))  # has children: no daemon
        self.process.start()
        far.close()
        self.pipe.recv()

    def __call__(self, *order):
        self.pipe.send(order)
        return self.pipe.recv()

    def close(self):
        self.pipe.send(None)
        self.process.join()


def in_turns(sides, rounds):
    """{side: [(its rate, CPU seconds)]}; the first turn is a warm-up."""
    turns = {name: [] for name in sides}
    for turn in range(-1, rounds):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            worker, method = sides[name]
            turns[name].append(worker(method, turn + 1))
    return {name: each[1:] for name, each in turns.items()}


def compare(turns, ours):
    """Medians of clips a second, and of ours over each other side turn by turn: in clips a second, and the other's CPU
    time over ours."""
    table = {name: {'clips_per_second': statistics.median(rate for rate, _ in each)} for name, each in turns.items()}
    for name, each in turns.items():
        pairs = list(zip(turns[ours], each, strict=True))
        table[name]['ours over it'] = statistics.median(a / b for (a, _), (b, _) in pairs)
        table[name]['its CPU over ours'] = statistics.median(b / a for (_, a), (_, b) in pairs)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('videos', help='a folder of videos')
    parser.add_argument('--rounds', type=int, default=7, help='turns each takes (default: %(default)s)')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    arguments = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))[:WORKERS] if hasattr(os, 'sched_setaffinity') else None
    load = [os.getloadavg()[0]]
    tables = {}
    videos = {name: Worker(cpus, 'videos', arguments.videos) for name in ('ours', 'pyav', 'torch')}
    videos['ours']('check')
    tables['videos'] = compare(in_turns({n: (w, n) for n, w in videos.items()}, arguments.rounds), 'ours')
    with tempfile.TemporaryDirectory() as directory:
        write_latents(pathlib.Path(directory))

        def new(kind):
            return Worker(cpus, 'latents', directory, kind)

        latents = {f'ours, {kind}': (new(kind), 'ours') for kind in ('float32', 'float16')}
        files = ('one .npy', 'a .npy a clip', 'ArrayRecord')
        latents |= {f'DataLoader, {kind}': (new(kind), 'torch') for kind in files}
        latents['Grain, ArrayRecord'] = new('ArrayRecord'), 'grain'
        tables['latents'] = compare(in_turns(latents, arguments.rounds), 'ours, float32')
        for worker in [*videos.values(), *(worker for worker, _ in latents.values())]:
            worker.close()
    load.append(os.getloadavg()[0])
    if arguments.json:
        print(json.dumps(tables | {'load_average': load}))
        return
    print(f'load average {load[0]:.1f} to {load[1]:.1f}')
    for what, table in tables.items():
        for name, row in table.items():
            figures = ', '.join(f'{key.replace("_", " ")} {value:.4g}' for key, value in row.items())
            print(f'{what:8} {name:26} {figures}')


if __name__ == '__main__':
    import importlib.util

    if importlib.util.find_spec('torch') is None:
        sys.exit('bench_loader.py needs PyTorch, which vdm_jax itself does not: pip install torch')
    main()
