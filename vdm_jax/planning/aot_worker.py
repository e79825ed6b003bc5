"""Compile a run's programs (lowering.py) ahead of time for devices that need not be there, and what they cost.

Runs in a process of its own, `python -m vdm_jax.planning.aot_worker REQUEST OUT`, which plan.py starts: the devices
must be known before jax is initialised, and a sharding that the compiler does not expect can abort it.
"""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax

from vdm_jax.errors import UserError
from vdm_jax.experiment import validate
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.experiment.sample_features import sample_features
from vdm_jax.parallel.hardware import Topology, read_topology
from vdm_jax.parallel.mesh import AXES
from vdm_jax.planning.collectives import REDUCTIONS, Collective, find_collectives, summarise
from vdm_jax.planning.hlo import Module, parse
from vdm_jax.planning.lowering import Lowered, lower, shard_bytes
from vdm_jax.planning.plan import FEATURES
from vdm_jax.planning.traffic import memory_bytes

UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}


def make_report(run: Run, topology: Topology, program: str) -> dict[str, Any]:
    """Return what one program costs: format.KEYS, and more that the table shows.

    bytes_per_chip: params, optimizer and ema from their shapes and shardings alone; temporaries is the rest of what the
    compiler needs at once: its temporaries, batch and results, padding and the program itself. What is donated counts
    once. While features are computed the weights that samples are drawn with lie beside, ema and codec, and count.
    Where the compiler refuses, the total is what it asked for, and what it would have estimated is None.
    """
    lowered = lower(run, program)
    began = time.monotonic()
    compiled: jax.stages.Compiled | None = None
    refusal = ''
    try:
        compiled = lowered.program.compile()
    except jax.errors.JaxRuntimeError as error:
        refusal = str(error)
    seconds = time.monotonic() - began
    if compiled is None:
        # A refusal is an answer too: the compiler says how much it would have needed.
        total = refused_bytes(refusal)
    else:
        total = peak_bytes(compiled.memory_analysis(), bool(topology.chip))

    parts = {name: shard_bytes(tree) for name, tree in lowered.state.items()}
    temporaries = total - sum(parts.values())
    for name, tree in lowered.resident.items():
        size = shard_bytes(tree)
        parts[name] = parts.get(name, 0) + size
        total += size
    parts |= {'temporaries': temporaries, 'total': total}

    chips = topology.chips * topology.slices
    is_one_step = program != 'sample' or run.model_config.autoencodes
    report = {
        'topology': topology.name,
        'chips': chips,
        'mesh': {axis: run.mesh.shape[axis] for axis in AXES},
        'fits': compiled is not None and total <= topology.memory,
        'chip_bytes': topology.memory,
        'bytes_per_chip': parts,
        'flops_per_chip': lowered.flops / chips,
        'compiler_seconds': None,
        'roofline_seconds': None,
        'predicted_mfu': None,
        'collectives': None,
        'compile_seconds': seconds,
        'devices': run.mesh.size,
        'steps': 1 if is_one_step else run.experiment.sampler.steps,
        'batch': lowered.videos,
        'rows': lowered.rows,
        'about': lowered.about,
        'parts': None,
        'kernels': {},
        'crossing': [],
        'guesses': [],
    }
    if compiled is not None:
        report |= analyse(compiled, topology, run.mesh.size, lowered)
    return report


def analyse(compiled: jax.stages.Compiled, topology: Topology, devices: int, lowered: Lowered) -> dict[str, Any]:
    """Return the part of a report that a compiled program tells."""
    module = parse(compiled.as_text() or '')
    collectives = find_collectives(module, devices)
    report: dict[str, Any] = {
        'collectives': summarise(collectives),
        'compiler_seconds': compiler_seconds(compiled, module),
        'kernels': count_kernels(module),
        'guesses': module.guesses(),
        'crossing': find_crossing(collectives, topology.slices, devices),
    }
    if topology.chip:
        flops = lowered.flops / (topology.chips * topology.slices)
        # Rows that fill up the devices take time, too, and are no FLOPs of the model.
        computed = flops * lowered.copies * lowered.rows / lowered.videos
        parts = roofline(topology, computed, memory_bytes(module), collectives)
        # The first three may overlap, so that the longest hides the others; for exposed collectives the chip waits.
        seconds = max(parts['compute'], parts['memory'], parts['overlapped']) + parts['exposed']
        report['parts'] = parts
        report['roofline_seconds'] = seconds
        report['predicted_mfu'] = flops / topology.chip.flops / seconds
    return report


def roofline(topology: Topology, flops: float, moved: float, collectives: Sequence[Collective]) -> dict[str, float]:
    """Return the least seconds of each part: compute at the peak, HBM traffic at its bandwidth, and collectives.

    A bound from below that real steps stay far above, no forecast: nothing here computes at the peak or hides as well.
    `overlapped` are collectives that the compiler starts and ends apart, so that the chip may compute meanwhile;
    `exposed` ones it left in one piece: the chip waits for them. Each sends at the speed of all links at once, or of
    the network between slices.

    Args:
      topology: The machine.
      flops: Floating-point operations of a chip.
      moved: Bytes that a chip reads from and writes to its memory.
      collectives: Of the program.
    """
    chip = topology.chip
    assert chip is not None  # the CPU has no peaks
    overlapped = 0.0
    exposed = 0.0
    for collective in collectives:
        crosses = topology.slices > 1 and collective.crosses(topology.slices, topology.chips * topology.slices)
        seconds = collective.times * collective.bytes_sent / (chip.network if crosses else chip.links)
        if collective.overlapped:
            overlapped += seconds
        else:
            exposed += seconds
    return {
        'compute': flops / chip.flops,
        'memory': moved / chip.bandwidth,
        'overlapped': overlapped,
        'exposed': exposed,
    }


def peak_bytes(memory: Any, has_peak: bool) -> int:
    """Return bytes that a device must have at once, from the compiler's analysis, with the program itself.

    Its peak, or where that is not known (the CPU's leaves temporaries out) arguments, results that take no donated
    memory, and temporaries.
    """
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    everything = memory.argument_size_in_bytes + results + memory.temp_size_in_bytes
    size: int = (memory.peak_memory_in_bytes if has_peak else everything) + memory.generated_code_size_in_bytes
    return size


def refused_bytes(message: str) -> int:
    """Return bytes that a device would have needed at once, from the compiler's refusal.

    It names temporaries, and means arguments and results too.

    Raises:
      UserError: it refused something else.
    """
    if 'RESOURCE_EXHAUSTED' in message:
        size = re.search(r'(?:Used|HLO temporaries) \(?([\d.]+)([KMGT]?)', message)
        if size:
            return int(float(size[1]) * UNITS[size[2]])
    first_words = ' '.join(message.split())[:400]
    if 'vmem' in message.lower():
        raise UserError(
            f'config.model.attention.block_q, block_kv: the kernel is too large for the chip: {first_words}'
        )
    raise UserError(f'config.mesh: the compiler refused the program: {first_words}')


def count_kernels(module: Module) -> dict[str, int]:
    """Return {name: how often it runs} of the Pallas kernels in a module compiled for TPU."""
    kernels: Counter[str] = Counter()
    for _, instruction, times in module.runs():
        if instruction.attribute('custom_call_target') == 'tpu_custom_call':
            # The compiler numbers the calls of one kernel: attention.1, attention.2, …
            name = re.sub(r'[.\d]+$', '', instruction.name)
            kernels[name] += round(times)
    return dict(kernels)


def compiler_seconds(compiled: jax.stages.Compiled, module: Module) -> float | None:
    """Return the compiler's own estimate of a run's seconds; None where it cannot be used.

    It counts a loop's body once and nothing of a kernel, and writes numbers below zero for what it does not know.
    """
    analysis: Any = compiled.cost_analysis() or {}
    seconds: float | None = analysis.get('optimal_seconds')
    is_partial = count_kernels(module) or any(instruction.op == 'while' for _, instruction, _ in module.runs())
    return None if seconds is None or seconds <= 0 or is_partial else seconds


def find_crossing(collectives: Sequence[Collective], slices: int, devices: int) -> list[str]:
    """Return the collectives that go between slices and are no reduction, with what they move."""
    if slices == 1:
        return []
    return [
        f'{collective.kind} {collective.name}: {collective.times:g} times {collective.bytes} bytes'
        for collective in collectives
        if collective.kind not in REDUCTIONS and collective.crosses(slices, devices)
    ]


def main(request: str, out: str) -> int:
    """Compile what `request` (JSON) asks for; write a line of JSON to `out` for each program, or for a mistake."""
    options = json.loads(request)
    lines = Path(out)
    # Seconds of compiling are reported, not of loading what was compiled before.
    jax.config.update('jax_enable_compilation_cache', False)

    def write_line(**values: Any) -> None:
        # Opened for each line, so that what is written outlives a compiler that aborts the process.
        with lines.open('a') as file:
            file.write(json.dumps(values) + '\n')

    try:
        topology = read_topology(options['topology'], options['slices'])
        run = Run(read_experiment(options['config'], options['assignments']), topology.devices())
        _prepare(run, topology)
        batch_size = run.data.batch_sizes[run.batch_layout.largest]
        write_line(experiment={'batch': batch_size, 'mesh': asdict(run.experiment.mesh)})
        programs = [name for name in options['programs'] if name != FEATURES or sample_features(run)]
        for program in programs:
            # Written before it is compiled: a compiler that dies leaves behind what it died of.
            write_line(program=program)
            write_line(**{program: make_report(run, topology, program)})
    except UserError as error:
        write_line(error=str(error))
        return 2
    return 0


def _prepare(run: Run, topology: Topology) -> None:
    """Check the run, and make its programs.

    Raises:
      UserError: a mistake in the experiment, or a mesh of other slices than the machine's.
    """
    if run.mesh.shape['slices'] != topology.slices:
        raise UserError(f'config.mesh.slices={run.mesh.shape["slices"]}: say it as --slices')
    run.network.config.check_mesh(run.mesh, run.network.inputs)
    validate.check_objective(run.experiment, run.network)
    # Before anything compiles, as that takes minutes.
    sample_features(run)
    # Made outside of the mesh, as they compute a key, and its devices may not be there.
    run.programs.abstract_state, run.programs.train_steps, run.programs.generator  # noqa: B018


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
