"""Measured speed of an experiment: steps, model FLOP/s, waiting for data, checkpoint stall, compilation, memory."""

import contextlib
import functools
import itertools
import statistics
import tempfile
import time

import jax
from jax.experimental.compilation_cache import compilation_cache

from vdm_jax.benchmark import loader
from vdm_jax.data.pipeline import batches
from vdm_jax.parallel.hardware import peak_flops
from vdm_jax.parallel.host import peak_memory
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.loop import position


def measure(run, steps: int | None = None) -> dict:
    """Trains a few steps in a temporary directory and says what they cost, as JSON values.

    Seconds a step are the median over `steps` steps (20), each timed to the end of its computation, with the next batch
    fetched meanwhile. data_wait_share is the share of that time spent waiting for a batch with no step under way: a
    fetch counts whole where the step had ended before the batch was there. synthetic_step_seconds is the median of as
    many steps, in turns with the others, on one batch that stays where it is: what the loader costs in all is
    real_over_synthetic. How fast clips come with no step beside them is what loader.py says. FLOPs are the analytic
    count (multiply-add = 2, 3x the forward pass and once more for self-conditioning, no rematerialisation), and mfu
    their share of the devices' bfloat16 peak, None where that is not known. Where the source has buckets, each is
    measured by itself: {'buckets': {name: what is said here}}. `cold` is with an empty compilation cache, `warm` with
    what the cold start left in it: compile_seconds for the training step alone (compiling, or loading),
    first_step_seconds from nothing to the end of the first step, everything else compiled on the way too.
    """
    if len(run.data.batch_sizes) > 1:
        return {
            'buckets': {
                name: measure(run.for_bucket(bucket), steps) for bucket, name in enumerate(run.data.source.bucket_names)
            }
        }
    steps, batch_size = steps or 20, run.experiment.train.batch_size
    with jax.set_mesh(run.mesh), tempfile.TemporaryDirectory() as directory, own_cache(f'{directory}/cache'):
        cold = start(run)[0]
        warm, stream, program, state = start(run)
        with stream:
            state, scalars, seconds, waits, constant = in_turns(
                program, state, map(run.batches.to_global, stream), steps
            )
        stall, written = checkpoint_cost(run, state, directory)
    step = statistics.median(seconds)
    flops = run.step_flops
    return {
        'device': f'{jax.device_count()} x {jax.devices()[0].device_kind}',
        'jax': jax.__version__,
        'batch_size': batch_size,
        'steps': steps,
        'step_seconds': step,
        'step_seconds_min': min(seconds),
        'steps_per_second': 1 / step,
        'videos_per_second': batch_size / step,
        'model_flops_per_step': flops,
        'model_flops_per_second': flops / step,
        'mfu': flops / step / jax.device_count() / peak if (peak := peak_flops(jax.devices()[0].device_kind)) else None,
        'data_wait_share': sum(waits) / sum(seconds),
        'synthetic_step_seconds': statistics.median(constant),
        'real_over_synthetic': step / statistics.median(constant),
        **loader.measure(run.training_reader, run.experiment.seed),
        'checkpoint_stall_seconds': stall,
        'checkpoint_write_seconds': written,
        'cold': cold,
        'warm': warm,
        'peak_host_bytes': peak_memory(),
        'peak_device_bytes': (jax.devices()[0].memory_stats() or {}).get('peak_bytes_in_use'),
        'program_temporary_bytes': getattr(program.func.memory_analysis(), 'temp_size_in_bytes', None),
        'loss': float(scalars['loss']),
    }


def in_turns(program, state, stream, steps: int, turns: int = 4):
    """`timed` over the stream, and the seconds of as many steps with one of its batches, in turns."""
    seconds, waits, constant, scalars, batch = [], [], [], None, next(stream)
    for turn in range(turns):
        count = len(range(turn, steps, turns))
        state, fresh, took, waited = timed(program, state, stream, count)
        scalars = fresh or scalars  # none of a turn without a step
        state, _, held, _ = timed(program, state, itertools.repeat(batch), count)
        seconds, waits, constant = seconds + took, waits + waited, constant + held
    return state, scalars, seconds, waits, constant


def timed(program, state, stream, steps: int):
    """(state, scalars, seconds of each step, seconds of each spent waiting for a batch with no step under way)."""
    seconds, waits, scalars = [], [], None
    batch = next(stream)
    for _ in range(steps):
        began = time.monotonic()
        state, scalars = program(state, batch)
        asked = time.monotonic()
        batch = next(stream)  # while the device computes, as the training loop does it
        waits.append(time.monotonic() - asked if scalars['loss'].is_ready() else 0.0)
        jax.block_until_ready(state)
        seconds.append(time.monotonic() - began)
    return state, scalars, seconds, waits


def start(run):
    """A run's first step, from nothing: what it cost, and batches, compiled step and state to go on with."""
    jax.clear_caches()
    began = time.monotonic()
    state = run.programs.init_state()
    order = run.data.reader.order(run.experiment.train.batch_size, run.experiment.seed)
    stream = batches(run.training_reader, order, rows=run.batches.local_rows, scalars=run.model_config.scalars)
    batch = run.batches.to_global(next(stream))
    lowered = run.programs.train_step.lower(state, batch, frozen=run.frozen)
    compiling = time.monotonic()
    program = functools.partial(lowered.compile(), frozen=run.frozen)
    compiled = time.monotonic()
    state, _ = jax.block_until_ready(program(state, batch))
    cost = {'compile_seconds': compiled - compiling, 'first_step_seconds': time.monotonic() - began}
    return cost, stream, program, state


@contextlib.contextmanager
def own_cache(directory: str):
    """An empty persistent compilation cache of one's own."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update('jax_compilation_cache_dir', directory)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update('jax_compilation_cache_dir', before)
        compilation_cache.reset_cache()


def checkpoint_cost(run, state, directory) -> tuple[float, float]:
    """Seconds that training stands still for a save, and seconds until it is on disk; the second save is timed."""
    with Checkpoints(f'{directory}/checkpoints', run.experiment.checkpoint) as checkpoints:
        checkpoints.save(1, state, position(run, 1))
        checkpoints.wait()
        began = time.monotonic()
        checkpoints.save(2, state, position(run, 2))
        stall = time.monotonic() - began
        checkpoints.wait()
        return stall, time.monotonic() - began


def table(found: dict) -> str:
    """The same as text."""
    width = max(map(len, found))
    return '\n'.join(f'{name:{width}}  {_shown(value)}' for name, value in found.items())


def _shown(value) -> str:
    if isinstance(value, dict):
        return ', '.join(f'{name} {_shown(item)}' for name, item in value.items())
    return f'{value:.4g}' if isinstance(value, float) else str(value)
