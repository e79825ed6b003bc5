"""Features of clips by our I3D against a PyTorch I3D of the same shape and weights, on 2 CPU threads.

Run as `python tests/parity/bench_features.py [--clips=2] [--rounds=10] [--layers] [--json]`.

Clips are 16x224x224, uint8, of noise; the weights are random, norms are folded into the convolutions on both sides.
PyTorch runs eagerly, with its channels first and last, and the faster of the two counts. Each side has a process of its
own, pinned to the same CPUs; they take turns, so that a neighbour's load falls on both and neither's idle threads
spin under the other (OMP_WAIT_POLICY=active restores spinning). First the features are shown to be the same.

`--layers` times single convolutions and pools of ours instead, as XLA computes them directly and as we do.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import statistics
import sys
import time

import numpy as np

sys.path[:0] = [str(pathlib.Path(__file__).parents[2])]

CLIP = (16, 224, 224, 3)
TOLERANCE = 1e-4
# Inputs (T, H, W, C) of layers, with kernel and stride, and channels out; 0 for a max pool.
LAYERS = {
    'Conv3d_1a_7x7': ((16, 224, 224, 3), (7, 7, 7), (2, 2, 2), 64),
    'MaxPool3d_2a_3x3': ((8, 112, 112, 64), (1, 3, 3), (1, 2, 2), 0),
    'Conv3d_2b_1x1': ((8, 56, 56, 64), (1, 1, 1), (1, 1, 1), 64),
    'Conv3d_2c_3x3': ((8, 56, 56, 64), (3, 3, 3), (1, 1, 1), 192),
    'MaxPool3d_3a_3x3': ((8, 56, 56, 192), (1, 3, 3), (1, 2, 2), 0),
    'Mixed_3b 0a_1x1, three in one': ((8, 28, 28, 192), (1, 1, 1), (1, 1, 1), 176),
    'Mixed_3b Branch_1 3x3': ((8, 28, 28, 96), (3, 3, 3), (1, 1, 1), 128),
    'Mixed_3b Branch_2 3x3': ((8, 28, 28, 16), (3, 3, 3), (1, 1, 1), 32),
    'Mixed_3b Branch_3 pool': ((8, 28, 28, 192), (3, 3, 3), (1, 1, 1), 0),
    'Mixed_3c Branch_1 3x3': ((8, 28, 28, 128), (3, 3, 3), (1, 1, 1), 192),
    'MaxPool3d_4a_3x3': ((8, 28, 28, 480), (3, 3, 3), (2, 2, 2), 0),
    'Mixed_4b Branch_1 3x3': ((4, 14, 14, 96), (3, 3, 3), (1, 1, 1), 208),
    'Mixed_4f Branch_1 3x3': ((4, 14, 14, 160), (3, 3, 3), (1, 1, 1), 320),
    'Mixed_4f Branch_3 pool': ((4, 14, 14, 528), (3, 3, 3), (1, 1, 1), 0),
    'Mixed_5c Branch_1 3x3': ((2, 7, 7, 192), (3, 3, 3), (1, 1, 1), 384),
}


def draw_clips(count):
    return np.random.default_rng(0).integers(0, 256, (count, *CLIP), np.uint8)


def draw_weights():
    """{published name: array}."""
    from tests.parity.features_cases import tensors
    from vdm_jax.evals.features.i3d import I3D

    return tensors('i3d', I3D())


class Ours:
    """I3D under jax.jit."""

    def __init__(self, clips):
        import jax

        from vdm_jax import pretrained
        from vdm_jax.evals.features.i3d import I3D

        self.versions = {'jax': jax.__version__}
        params = pretrained.load('i3d', draw_weights()).params
        network = I3D(resize='half_pixel')
        apply = jax.jit(network.apply)
        self.compute = lambda: np.asarray(apply(params, clips))


class Theirs:
    """I3D in PyTorch, channels last or first in memory."""

    def __init__(self, clips, is_channels_last):
        import torch

        from tests.parity.features_torch import I3D

        torch.set_num_threads(2)
        self.versions = {'torch': torch.__version__}
        memory_format = torch.channels_last_3d if is_channels_last else torch.contiguous_format
        network = I3D(draw_weights(), fold=True, memory_format=memory_format)

        def compute():
            with torch.inference_mode():
                return network(clips).numpy()

        self.compute = compute


SIDES = {'ours': (Ours, ()), 'torch': (Theirs, (False,)), 'torch, channels last': (Theirs, (True,))}


def work(pipe, name, cpus, count):
    """Run a side's process: send (seconds, CPU seconds, features) for each order."""
    if cpus:
        os.sched_setaffinity(0, cpus)  # before the framework counts the cores
    if name == 'ours':
        from vdm_jax.parallel.host import keep_freed_memory

        keep_freed_memory()  # as every command of vdm_jax does on CPU
    kind, arguments = SIDES[name]
    side = kind(draw_clips(count), *arguments)
    pipe.send(side.versions)
    while pipe.recv():
        start = time.perf_counter()
        cpu = time.process_time()
        features = side.compute()
        pipe.send((time.perf_counter() - start, time.process_time() - cpu, features))


class Worker:
    """The near end of a side's process."""

    def __init__(self, name, cpus, count):
        context = multiprocessing.get_context('spawn')
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=work, args=(far, name, cpus, count), daemon=True)
        self.process.start()
        far.close()
        self.versions = self.pipe.recv()

    def run(self):
        self.pipe.send(True)
        return self.pipe.recv()

    def close(self):
        self.pipe.send(False)
        self.process.join()


def compare(count, rounds):
    """Time all sides in turns; return the report."""
    # By default OpenMP's threads spin at barriers: beside any other load that doubles PyTorch's time and flatters ours.
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
    cpus = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, 'sched_setaffinity') else None
    workers = {name: Worker(name, cpus, count) for name in SIDES}
    seconds = {name: [] for name in SIDES}
    cpu_seconds = {name: [] for name in SIDES}
    load = []
    for turn in range(-2, rounds):  # the first two warm up
        load.append(os.getloadavg()[0])
        features = {}
        for name in list(SIDES)[:: 1 if turn % 2 else -1]:
            time.sleep(0.05)  # the other's threads stop spinning
            elapsed, cpu, features[name] = workers[name].run()
            if turn >= 0:
                seconds[name].append(elapsed)
                cpu_seconds[name].append(cpu)
        scale = np.abs(features['torch']).max()
        apart = {name: float(np.abs(each - features['torch']).max() / scale) for name, each in features.items()}
        if not max(apart.values()) < TOLERANCE:
            sys.exit(f'the networks differ, nothing was timed: {apart}')

    versions = {'python': sys.version.split()[0]}
    for worker in workers.values():
        versions |= worker.versions
        worker.close()
    medians = {name: statistics.median(each) / count for name, each in seconds.items()}
    fastest = min(medians['torch'], medians['torch, channels last'])
    least = {name: min(each) / count for name, each in seconds.items()}
    return {
        'ratio_of_medians': fastest / medians['ours'],
        'ratio_of_minima': min(least['torch'], least['torch, channels last']) / least['ours'],
        'seconds_per_clip': medians,
        'least_seconds_per_clip': least,
        'least_cpu_seconds_per_clip': {name: min(each) / count for name, each in cpu_seconds.items()},
        'clips': count,
        'rounds': rounds,
        'difference': max(apart.values()),
        'load_average': [min(load), max(load)],
        'versions': versions,
    }


def time_layers(count, rounds):
    """Return {layer: (milliseconds of XLA's own, of ours, the greatest difference)}, for a clip."""
    from vdm_jax.parallel.host import keep_freed_memory

    keep_freed_memory()
    import jax

    from vdm_jax.evals.features.layers import pad_same

    rng = np.random.default_rng(0)
    table = {}
    for name, (shape, window, stride, size) in LAYERS.items():
        x = jax.numpy.asarray(rng.standard_normal((count, *shape), np.float32))
        padding = pad_same(shape[:3], window, stride)
        if size:
            kernel = rng.standard_normal((*window, shape[-1], size), np.float32) / np.float32(np.prod(window)) ** 0.5
            layer = {'kernel': jax.numpy.asarray(kernel), 'bias': jax.numpy.zeros(size)}
            functions = convolutions(layer, stride, padding)
        else:
            functions = pools(window, stride, padding)
        programs = list(map(jax.jit, functions))
        results = [np.asarray(program(x)) for program in programs]
        times = [[], []]
        for turn in range(rounds):
            for program, seconds in list(zip(programs, times, strict=True))[:: 1 if turn % 2 else -1]:
                start = time.perf_counter()
                jax.block_until_ready(program(x))
                seconds.append(time.perf_counter() - start)
        before, after = (1000 * statistics.median(seconds) / count for seconds in times)
        table[name] = before, after, float(np.abs(results[0] - results[1]).max() / np.abs(results[0]).max())
    return table


def convolutions(layer, stride, padding):
    """(XLA's own, ours)."""
    from vdm_jax.evals.features.layers import convolve_layer
    from vdm_jax.nn.conv import convolve

    return (
        lambda x: convolve(x, layer['kernel'], stride, padding),
        lambda x: convolve_layer(x, layer, stride, padding),
    )


def pools(window, stride, padding):
    """(XLA's own, ours)."""
    import jax

    from vdm_jax.evals.features.layers import max_pool

    around = ((0, 0), *padding, (0, 0))
    return (
        lambda x: jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, *window, 1), (1, *stride, 1), around),
        lambda x: max_pool(x, window, stride, padding),
    )


def format_report(report):
    """The result as text."""
    lines = [f'{report["versions"]}, load average {report["load_average"][0]:.1f} to {report["load_average"][1]:.1f}']
    lines.append(f'features differ by at most {report["difference"]:.1g} of their size')
    for name, median in report['seconds_per_clip'].items():
        least = report['least_seconds_per_clip'][name]
        cpu = report['least_cpu_seconds_per_clip'][name]
        lines.append(f'{name:22} median {median:.3f} s a clip, min {least:.3f}, min of CPU time {cpu:.3f}')
    ratios = f'{report["ratio_of_medians"]:.2f}x of the faster PyTorch (minima {report["ratio_of_minima"]:.2f}x)'
    lines.append(f'ours runs at {ratios}')
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--clips', type=int, default=2, help='in a batch (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=10, help='turns each takes; 5 or more (default: %(default)s)')
    parser.add_argument('--layers', action='store_true', help='time single layers of ours; needs no PyTorch')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    arguments = parser.parse_args()
    if arguments.layers:
        table = time_layers(arguments.clips, arguments.rounds)
        rows = (f'{name:32} {before:8.2f} ms -> {after:7.2f} ms' for name, (before, after, _) in table.items())
        print(json.dumps(table) if arguments.json else '\n'.join(rows))
        return
    report = compare(arguments.clips, arguments.rounds)
    print(json.dumps(report) if arguments.json else format_report(report))


if __name__ == '__main__':
    main()
