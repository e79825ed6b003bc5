"""A run's training and sampling step, compiled ahead of time for devices that need not be there, and what they cost.

Runs in a process of its own, `python -m vdm_jax.planning.aot_worker REQUEST OUT`, which plan.py starts: the devices
must be known before jax wakes, and a sharding that the compiler does not expect can abort it.
"""

import json
import re
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.experiment import validate
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.parallel.hardware import Topology, read_topology
from vdm_jax.parallel.mesh import AXES, batch_sharding, pad_rows
from vdm_jax.planning.collectives import REDUCTIONS, Collective, collectives_of, summary
from vdm_jax.planning.hlo import parse
from vdm_jax.planning.traffic import memory_bytes

UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}


def batch_of(run) -> dict:
    """Shapes of the global batch that a training step takes, of the bucket with most pixels; no data is read."""
    size, (frames, *picture) = run.batches.rows[run.batches.largest], run.data.shapes[run.batches.largest]
    shapes = {'video': ((frames, *picture), np.uint8), 'label': ((), np.int32)}
    if run.data.has_images:
        count = run.data.source.images_per_clip
        shapes |= {'images': ((count, *picture), np.uint8), 'image_label': ((count,), np.int32)}
    shapes |= {name: ((), np.float32) for name in run.model_config.scalars} | text_of(run)
    where = batch_sharding(run.mesh)
    return {name: jax.ShapeDtypeStruct((size, *shape), kind, sharding=where) for name, (shape, kind) in shapes.items()}


def text_of(run) -> dict:
    """{name: (shape, kind)} of a row of the texts that the network is told."""
    shape = run.text_shape
    return {'text': (shape, np.float32), 'text_mask': (shape[:1], np.bool_)} if shape else {}


def asks_of(run) -> tuple[dict, jax.ShapeDtypeStruct]:
    """Shapes of the conditions and keys of config.evaluate.batch_size videos, which come as they do from `sample`."""
    count, given = pad_rows(run.experiment.evaluate.batch_size, run.mesh), run.network.context_frames
    where = batch_sharding(run.mesh)
    asks = {'label': jax.ShapeDtypeStruct((count,), np.int32, sharding=where)}
    if given:
        asks['frames'] = jax.ShapeDtypeStruct((count, given, *run.data.source.shape[1:]), np.uint8, sharding=where)
    for name, (shape, kind) in text_of(run).items():
        asks[name] = jax.ShapeDtypeStruct((count, *shape), kind, sharding=where)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), count))
    return asks, jax.ShapeDtypeStruct(keys.shape, keys.dtype, sharding=where)


def passes_of(run) -> float:
    """How often the network is run on one video while it is sampled: by step, question and guidance; an autoencoder
    once.
    """
    if run.model_config.autoencodes:
        return 1.0
    sampler, guidance, process = run.experiment.sampler, run.experiment.guidance, run.experiment.diffusion.process
    asked = []

    def denoise(x, t):
        asked.append(t)
        return run.experiment.diffusion.denoise(output, x, t)

    x = jnp.zeros((1, 1, 1, 1, 1))
    output = jnp.zeros((1, 1, 1, 1, 2 if run.model_config.learn_variance else 1))
    one = jnp.ones(1)
    jax.eval_shape(lambda: sampler.step(denoise, sampler.init(x), x, one, one / 2, process, x))
    times = np.asarray(sampler.spacing.times(process, sampler.steps))[:-1]
    low, high = guidance.interval
    twice = (guidance.scale != 1) & (low <= times) & (times <= high)
    return float(len(asked) * (1 + twice).sum())


def shard_bytes(tree) -> int:
    """Bytes that each device holds of a tree of shapes with shardings."""
    return sum(
        int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)
    )


def lowered(run, program: str):
    """(the program, lowered; bytes on each device of params, optimizer and ema; videos that are asked for, and FLOPs of
    those; videos that the program works on, with those that fill up the devices).
    """
    state = run.programs.abstract_state
    if program == 'train':
        held = {'params': state.params, 'optimizer': state.opt_state, 'ema': state.ema}
        with jax.set_mesh(run.mesh):
            step = run.programs.train_steps[run.batches.largest].lower(
                state, batch_of(run), run.programs.abstract_frozen
            )
        return (
            step,
            held,
            run.data.batch_sizes[run.batches.largest],
            run.step_flops,
            run.batches.rows[run.batches.largest],
        )
    average = state.ema[str(run.experiment.ema.decays[0])]
    asks, keys = asks_of(run)
    codec = {name: tree for name, tree in run.programs.abstract_frozen.items() if name == 'codec'}
    with jax.set_mesh(run.mesh):

        def generate(params, asks, keys, frozen):
            return run.programs.generator(params, asks, keys, frozen=frozen)

        program = jax.jit(generate).lower(average, asks, keys, codec)
    videos = run.experiment.evaluate.batch_size
    flops = passes_of(run) * run.sampling_flops * videos
    return program, {'params': {}, 'optimizer': {}, 'ema': average}, videos, flops, len(keys)


def report(run, topology: Topology, program: str) -> dict:
    """What one program costs: the keys of show.KEYS, and more that the table shows.

    bytes_per_chip: params, optimizer and ema from their shapes and shardings alone; temporaries is the rest of what the
    compiler needs at once: its temporaries, batch and results, padding and the program itself. What is donated counts
    once. Where the compiler refuses, the total is what it asked for, and what it would have said is None.
    """
    step, held, videos, flops, rows = lowered(run, program)
    parts = {name: shard_bytes(tree) for name, tree in held.items()}
    began = time.monotonic()
    try:
        compiled, asked = step.compile(), None
    except jax.errors.JaxRuntimeError as error:
        compiled, asked = None, refused(str(error))
    seconds = time.monotonic() - began
    total = asked if compiled is None else needed(compiled.memory_analysis(), bool(topology.chip))
    parts |= {'temporaries': total - sum(parts.values()), 'total': total}
    found = {
        'topology': topology.name,
        'chips': topology.chips * topology.slices,
        'mesh': {axis: run.mesh.shape[axis] for axis in AXES},
        'fits': compiled is not None and total <= topology.memory,
        'chip_bytes': topology.memory,
        'bytes_per_chip': parts,
        'flops_per_chip': flops / (topology.chips * topology.slices),
        'compiler_seconds': None,
        'roofline_seconds': None,
        'predicted_mfu': None,
        'collectives': None,
        'compile_seconds': seconds,
        'devices': run.mesh.size,
        'steps': 1 if program == 'train' or run.model_config.autoencodes else run.experiment.sampler.steps,
        'batch': videos,
        'rows': rows,
        'parts': None,
        'kernels': {},
        'crossing': [],
        'guesses': [],
    }
    if compiled is None:
        return found
    module = parse(compiled.as_text())
    collectives = collectives_of(module, run.mesh.size)
    found['collectives'] = summary(collectives)
    found['compiler_seconds'] = compiler_seconds(compiled, module)
    found['kernels'] = kernels_of(module)
    found['guesses'] = module.guesses()
    found['crossing'] = crossing(collectives, topology.slices, run.mesh.size)
    if topology.chip:
        moved = memory_bytes(module)
        found['parts'] = parts = roofline(topology, found['flops_per_chip'] * rows / videos, moved, collectives)
        seconds = max(parts['compute'], parts['memory'], parts['overlapped']) + parts['exposed']
        found['roofline_seconds'] = seconds
        found['predicted_mfu'] = found['flops_per_chip'] / topology.chip.flops / seconds
    return found


def roofline(topology: Topology, flops: float, moved: float, collectives: list[Collective]) -> dict[str, float]:
    """The least seconds of each part: compute at the peak, HBM traffic at its bandwidth, and collectives.

    A bound from below that real steps stay far above, no forecast: nothing here computes at the peak or hides as well.
    `overlapped` are collectives that the compiler starts and ends apart, so that the chip may compute meanwhile;
    `exposed` ones it left in one piece: the chip waits for them. Each sends at the speed of all links at once, or of
    the network between slices.
    """
    chip, waits = topology.chip, {True: 0.0, False: 0.0}
    for one in collectives:
        crosses = topology.slices > 1 and one.crosses(topology.slices, topology.chips * topology.slices)
        waits[one.overlapped] += one.times * one.sent / (chip.network if crosses else chip.links)
    return {
        'compute': flops / chip.flops,
        'memory': moved / chip.bandwidth,
        'overlapped': waits[True],
        'exposed': waits[False],
    }


def needed(memory, has_peak: bool) -> int:
    """Bytes that a device must have at once, from the compiler's analysis: its peak, or where that is not to be had
    (the CPU's leaves temporaries out) arguments, results that take no donated place, and temporaries; and the program
    itself.
    """
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    whole = memory.argument_size_in_bytes + results + memory.temp_size_in_bytes
    return (memory.peak_memory_in_bytes if has_peak else whole) + memory.generated_code_size_in_bytes


def refused(message: str) -> int:
    """Bytes that a device would have needed at once, from the compiler's refusal. (It says temporaries, and means
    arguments and results too.)

    Raises:
      UserError: it refused something else.
    """
    if 'RESOURCE_EXHAUSTED' in message:
        if found := re.search(r'(?:Used|HLO temporaries) \(?([\d.]+)([KMGT]?)', message):
            return int(float(found[1]) * UNITS[found[2]])
    first = ' '.join(message.split())[:400]
    if 'vmem' in message.lower():
        raise UserError(f'config.model.attention.block_q, block_kv: the kernel is too large for the chip: {first}')
    raise UserError(f'config.mesh: the compiler refused the program: {first}')


def kernels_of(module) -> dict[str, int]:
    """{name: how often it runs} of the Pallas kernels in a module compiled for TPU."""
    found = Counter()
    for _, made, times in module.runs():
        if made.attribute('custom_call_target') == 'tpu_custom_call':
            found[re.sub(r'[.\d]+$', '', made.name)] += round(times)
    return dict(found)


def compiler_seconds(compiled, module) -> float | None:
    """The compiler's own estimate of a run's seconds; None where it cannot be used: it counts a loop's body once and
    nothing of a kernel, and writes numbers below zero for what it does not know.
    """
    seconds = (compiled.cost_analysis() or {}).get('optimal_seconds')
    blind = kernels_of(module) or any(made.op == 'while' for _, made, _ in module.runs())
    return None if seconds is None or seconds <= 0 or blind else seconds


def crossing(collectives: list[Collective], slices: int, devices: int) -> list[str]:
    """The collectives that go between slices and are no reduction, with what they move."""
    if slices == 1:
        return []
    wrong = [one for one in collectives if one.kind not in REDUCTIONS and one.crosses(slices, devices)]
    return [f'{one.kind} {one.name}: {one.times:g} times {one.bytes} bytes' for one in wrong]


def main(request: str, out: str) -> int:
    """Compiles what `request` (JSON) asks for; a line of JSON in `out` for each program, or for a user's mistake."""
    asked, lines = json.loads(request), Path(out)
    jax.config.update('jax_enable_compilation_cache', False)  # seconds of compiling, not of loading

    def say(**line):
        with lines.open('a') as file:
            file.write(json.dumps(line) + '\n')

    try:
        topology = read_topology(asked['topology'], asked['slices'])
        run = Run(read_experiment(asked['config'], asked['assignments']), topology.devices())
        if run.mesh.shape['slices'] != topology.slices:
            raise UserError(f'config.mesh.slices={run.mesh.shape["slices"]}: say it as --slices')
        run.network.config.check_mesh(run.mesh, run.network.inputs)
        validate.check_objective(run.experiment, run.network)
        # Made outside of the mesh, as they compute a key, and its devices may not be there.
        run.programs.abstract_state, run.programs.train_steps, run.programs.generator  # noqa: B018
        say(experiment={'batch': run.data.batch_sizes[run.batches.largest], 'mesh': asdict(run.experiment.mesh)})
        for program in asked['programs']:
            say(program=program)
            say(**{program: report(run, topology, program)})
    except UserError as error:
        say(error=str(error))
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
