"""Our training step against PyTorch's for the same network on 2 CPU threads.

Run as `python tests/parity/bench_torch.py [--json]`.

The network has the shape of Latte-S/2: 12 blocks interleaved over space and time, width 384, 6 heads, latents of 16
frames 16x16x4 in patches of 2, batch 2, float32, class labels, learned variance off; a step is forward, backward and
AdamW. PyTorch runs eagerly with its fused attention and fused AdamW (latte_torch.py).

Each framework has a process of its own, pinned to the same CPUs; the two take turns, so that a neighbour's load falls
on both and neither's idle threads spin under the other (OMP_WAIT_POLICY=active restores spinning). First the two
networks are shown to compute the same: outputs and gradients from the same weights, and after the timing the loss after
all those steps. Compare the minima; beside other load, the minima of CPU time.
"""

import argparse
import collections
import json
import multiprocessing
import os
import pathlib
import statistics
import sys
import time

import numpy as np

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[2])]

SHAPE = {'width': 384, 'depth': 12, 'heads': 6, 'patch': 2, 'channels': 4, 'classes': 101}
CLIP = (16, 16, 16)
BATCH = 2
RATE = 1e-5
TOLERANCE = 1e-4


def inputs(clip=CLIP, batch=BATCH, channels=SHAPE['channels']):
    """(noisy video, timestep, label, target), the same every time."""
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((2, batch, *clip, channels), np.float32)
    t = np.linspace(10, 990, batch, dtype=np.float32)
    return x, t, np.arange(batch) % SHAPE['classes'], target


class Ours:
    """VideoDiT under jax.jit; weights of plain noise, as its own start of zero gates and head would hide mistakes."""

    def __init__(self, shape=SHAPE, data=None, scan=None):
        import jax
        import jax.numpy as jnp
        import optax
        from flax import nnx

        from vdm_jax.models.dit import VideoDiT, VideoDiTConfig
        from vdm_jax.parallel.rules import path_name
        from vdm_jax.train.optimizers import AdamW
        from vdm_jax.train.state import graphdef_of, init_params

        self.wait = jax.block_until_ready
        self.versions = {'jax': jax.__version__}
        config = VideoDiTConfig(**shape, scan=scan)

        def make(rngs):
            return VideoDiT(config, rngs=rngs)

        graphdef = graphdef_of(make)
        x, t, label, self.target = (jnp.asarray(array) for array in data or inputs())
        self.inputs = x, t, {'label': label}
        shapes = jax.eval_shape(lambda: init_params(make, jax.random.key(0)))
        rng = np.random.default_rng(1)

        def noise(leaf):
            return jnp.asarray(rng.normal(0, 0.7 * shape['width'] ** -0.5, leaf.shape), jnp.float32)

        params = jax.tree.map(noise, shapes)
        optimizer = AdamW(RATE, clip=None).make(1)

        def loss(params, target, *inputs):
            return jnp.square(nnx.merge(graphdef, params)(*inputs) - target).mean()

        def step(state, target, *inputs):
            params, moments = state
            value, grads = jax.value_and_grad(loss)(params, target, *inputs)
            updates, moments = optimizer.update(grads, moments, params)
            return (optax.apply_updates(params, updates), moments), value

        self.flat = lambda tree: {path_name(p): np.array(x) for p, x in jax.tree_util.tree_flatten_with_path(tree)[0]}
        self._forward = jax.jit(lambda params, *inputs: nnx.merge(graphdef, params)(*inputs))
        self._grad = jax.jit(jax.grad(loss))
        self._step = jax.jit(step, donate_argnums=0)
        self.state = params, optimizer.init(params)

    def weights(self):
        """{path: array}."""
        return self.flat(self.state[0])

    def compute(self):
        """The output and {path: gradient}."""
        output = self._forward(self.state[0], *self.inputs)
        return np.array(output), self.flat(self._grad(self.state[0], self.target, *self.inputs))

    def forward(self):
        self.wait(self._forward(self.state[0], *self.inputs))

    def step(self):
        self.state, loss = self.wait(self._step(self.state, self.target, *self.inputs))
        return float(loss)


class Theirs:
    """The same network in PyTorch."""

    def __init__(self, weights, shape=SHAPE, data=None):
        import latte_torch
        import torch

        torch.set_num_threads(2)
        self.torch = torch
        self.gradients = latte_torch.gradients
        self.versions = {'torch': torch.__version__}
        *self.inputs, self.target = (torch.from_numpy(np.array(array)) for array in data or inputs())
        self.model = latte_torch.Latte(**shape)
        latte_torch.load(self.model, weights)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), RATE, weight_decay=0.0, fused=True)

    def _backward(self):
        self.optimizer.zero_grad(set_to_none=True)
        output = self.model(*self.inputs)
        loss = self.torch.nn.functional.mse_loss(output, self.target)
        loss.backward()
        return output, loss

    def compute(self):
        """The output and {path: gradient}."""
        output, _ = self._backward()
        return output.detach().numpy(), self.gradients(self.model)

    def forward(self):
        with self.torch.inference_mode():
            self.model(*self.inputs)

    def step(self):
        _, loss = self._backward()
        self.optimizer.step()
        return loss.item()


def differences(ours, theirs):
    """How far two results of `compute` are apart: the output and each gradient, as shares of its largest value."""

    def apart(a, b):
        return float(np.abs(a - b).max() / np.abs(b).max())

    output, grads = ours
    other_output, other_grads = theirs
    if grads.keys() != other_grads.keys():
        raise ValueError(f'not the same parameters: {sorted(grads.keys() ^ other_grads.keys())}')
    return {'output': apart(output, other_output)} | {name: apart(grads[name], other_grads[name]) for name in grads}


def work(pipe, name, cpus, arguments):
    """Run a framework's process: send results ('weights' | 'compute' | 'versions') and times ('forward' | 'step')."""
    if cpus:
        os.sched_setaffinity(0, cpus)  # before the framework counts the cores
    if name == 'ours':
        from vdm_jax.parallel.host import keep_freed_memory

        keep_freed_memory()  # as every command of vdm_jax does on CPU
    side = {'ours': Ours, 'theirs': Theirs}[name](*arguments)
    pipe.send(side.versions)
    while order := pipe.recv():
        if order in ('forward', 'step'):
            start = time.perf_counter()
            cpu = time.process_time()
            result = getattr(side, order)()
            pipe.send((time.perf_counter() - start, time.process_time() - cpu, result))
        else:
            pipe.send(getattr(side, order)())


class Worker:
    """The near end of a framework's process."""

    def __init__(self, name, cpus, *arguments):
        context = multiprocessing.get_context('spawn')
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=work, args=(far, name, cpus, arguments), daemon=True)
        self.process.start()
        far.close()
        self.versions = self.pipe.recv()

    def __call__(self, order):
        self.pipe.send(order)
        return self.pipe.recv()

    def close(self):
        self.pipe.send(None)
        self.process.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=10, help='turns each takes; 5 or more (default: %(default)s)')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    arguments = parser.parse_args()
    # by default OpenMP's threads spin at barriers: beside any other load that doubles PyTorch's time and flatters ours
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
    cpus = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, 'sched_setaffinity') else None
    ours = Worker('ours', cpus)
    theirs = Worker('theirs', cpus, ours('weights'))
    apart = differences(ours('compute'), theirs('compute'))
    worst = max(apart, key=apart.get)
    if not apart[worst] < TOLERANCE:
        sys.exit(f'the networks differ, nothing was timed: {worst} by {apart[worst]:.2g}; all: {apart}')
    seconds = {what: collections.defaultdict(list) for what in ('step', 'forward')}
    pairs = [('ours', ours), ('theirs', theirs)]
    losses = {}
    load = []

    for turn in range(-1, arguments.rounds):  # the first is a warm-up
        load.append(os.getloadavg()[0])
        for what, times in seconds.items():
            for name, worker in pairs[:: 1 if turn % 2 else -1]:
                time.sleep(0.05)  # the other's threads stop spinning
                elapsed, cpu, result = worker(what)
                if turn >= 0:
                    times[name].append(elapsed)
                    times[f'{name}_cpu'].append(cpu)
                if what == 'step':
                    losses[name] = result
    if not abs(losses['ours'] - losses['theirs']) < 1e-3 * losses['theirs']:
        sys.exit(f'the networks trained apart: losses {losses} after {arguments.rounds + 1} steps')
    ours.close(), theirs.close()
    report = {'difference': apart[worst], 'rounds': arguments.rounds, 'loss': losses}
    report['load_average'] = [min(load), max(load)]
    report['versions'] = ours.versions | theirs.versions | {'python': sys.version.split()[0]}
    for what, times in seconds.items():
        report[what] = {
            'ratio_of_minima': min(times['theirs']) / min(times['ours']),
            'ratio_of_medians': statistics.median(times['theirs']) / statistics.median(times['ours']),
            'ratio_of_cpu_minima': min(times['theirs_cpu']) / min(times['ours_cpu']),
            **{f'{name}_seconds': values for name, values in times.items()},
        }
    print(json.dumps(report) if arguments.json else format_report(report))


def format_report(report):
    """The result as text."""
    lines = [f'{report["versions"]}, load average {report["load_average"][0]:.1f} to {report["load_average"][1]:.1f}']
    difference = report['difference']
    lines.append(f'outputs and gradients of the two networks differ by at most {difference:.1g} of their size')
    for what in ('step', 'forward'):
        row = report[what]
        for side in ('ours', 'theirs'):
            times = row[f'{side}_seconds']
            cpu = row[f'{side}_cpu_seconds']
            lines.append(
                f'{what:8} {side:7} min {min(times):.3f} s, median {statistics.median(times):.3f} s, '
                f'min of CPU time {min(cpu):.3f} s'
            )
        lines.append(
            f'{what:8}ours runs at {row["ratio_of_minima"]:.2f}x of PyTorch (medians {row["ratio_of_medians"]:.2f}x)'
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    try:
        import importlib.util

        found_torch = importlib.util.find_spec('torch')
    except ImportError:
        found_torch = None
    if found_torch is None:
        sys.exit('bench_torch.py needs PyTorch, which vdm_jax itself does not: pip install torch')
    main()
