"""Measured speed of an experiment: steps, model FLOP/s, waiting for data, checkpoint stall, compilation, memory.

Keys of a report:
  device: How many of which kind.
  jax: Its version.
  batch_size: Clips of a step.
  steps: How many were timed.
  step_seconds: Median over the steps, each timed to the end of its computation, with the next batch fetched
    meanwhile.
  step_seconds_min: The shortest of them.
  steps_per_second: At the median.
  videos_per_second: At the median.
  model_flops_per_step: The analytic count: multiply-add = 2, 3x the forward pass and once more for
    self-conditioning, no rematerialisation.
  model_flops_per_second: At the median.
  mfu: The share of the devices' bfloat16 peak that this is, None where the peak is not known.
  data_wait_share: The share of the steps' time spent waiting for a batch with no step under way: a fetch counts
    fully where the step had ended before the batch was there.
  synthetic_step_seconds: Median of as many steps, in turns with the others, on one batch that stays on the device.
  real_over_synthetic: What the loader costs in all.
  The keys of loader.measure: how fast clips come with no step beside them.
  checkpoint_stall_seconds: That training stands still for a save.
  checkpoint_write_seconds: Until a save is on disk.
  cold: Of a start with an empty compilation cache: compile_seconds for the training step alone (compiling, or
    loading), first_step_seconds from nothing to the end of the first step, everything else compiled on the way too.
  warm: The same, of a start with what the cold one left in the cache.
  peak_host_bytes: Of memory.
  peak_device_bytes: Of memory, None where it is not known.
  program_temporary_bytes: Of the compiled training step, None where they are not known.
  loss: Of the last step on a batch of the loader.
"""

import contextlib
import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from jax.experimental.compilation_cache import compilation_cache

from vdm_jax.benchmark import loader
from vdm_jax.data.pipeline import batches
from vdm_jax.parallel.hardware import peak_flops
from vdm_jax.parallel.host import peak_memory
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.resume import describe_position

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run

STEPS = 20  # that are timed by default
TURNS = 4

Program = Callable[[Any, Any], tuple[Any, Any]]  # (state, batch) -> (state, scalars)


def measure(run: 'Run', steps: int | None = None) -> dict[str, Any]:
    """Train a few steps in a temporary directory and return what they cost, as JSON values.

    Args:
      run: What is measured.
      steps: How many steps are timed, STEPS by default.

    Returns:
      The keys above. Where the source has buckets, each is measured by itself: {'buckets': {name: the keys above}}.
    """
    if len(run.data.batch_sizes) > 1:
        names = run.data.source.bucket_names
        return {'buckets': {name: measure(run.for_bucket(bucket), steps) for bucket, name in enumerate(names)}}

    steps = steps or STEPS
    # An empty cache for the first start; the second one finds in it what the first has compiled.
    with jax.set_mesh(run.mesh), tempfile.TemporaryDirectory() as directory, empty_cache(f'{directory}/cache'):
        cold = take_first_step(run).cost
        first = take_first_step(run)
        with first.stream:
            comparison = compare_batches(
                first.program, first.state, map(run.batch_layout.to_global, first.stream), steps
            )
        stall, write = checkpoint_cost(run, comparison.real.state, directory)

    device = jax.devices()[0]
    batch_size = run.experiment.train.batch_size
    real = comparison.real
    step = statistics.median(real.seconds)
    constant_step = statistics.median(comparison.constant_seconds)
    flops = run.step_flops
    peak = peak_flops(device.device_kind)
    memory_analysis = first.compiled.memory_analysis()
    return {
        'device': f'{jax.device_count()} x {device.device_kind}',
        'jax': jax.__version__,
        'batch_size': batch_size,
        'steps': steps,
        'step_seconds': step,
        'step_seconds_min': min(real.seconds),
        'steps_per_second': 1 / step,
        'videos_per_second': batch_size / step,
        'model_flops_per_step': flops,
        'model_flops_per_second': flops / step,
        'mfu': flops / step / jax.device_count() / peak if peak else None,
        'data_wait_share': sum(real.waits) / sum(real.seconds),
        'synthetic_step_seconds': constant_step,
        'real_over_synthetic': step / constant_step,
        **loader.measure(run.training_reader, run.experiment.seed),
        'checkpoint_stall_seconds': stall,
        'checkpoint_write_seconds': write,
        'cold': cold,
        'warm': first.cost,
        'peak_host_bytes': peak_memory(),
        'peak_device_bytes': (device.memory_stats() or {}).get('peak_bytes_in_use'),
        'program_temporary_bytes': memory_analysis.temp_size_in_bytes if memory_analysis else None,
        'loss': float(real.scalars['loss']),
    }


class Timings(NamedTuple):
    """Steps on batches of the loader.

    Attributes:
      state: After them.
      scalars: Of the last step, None where there was no step.
      seconds: Of each step.
      waits: Seconds of each step spent waiting for a batch with no step under way.
    """

    state: Any
    scalars: Any
    seconds: list[float]
    waits: list[float]


class Comparison(NamedTuple):
    """Steps on batches of the loader, in turns with steps on one constant batch.

    Attributes:
      real: Of the steps on batches of the loader; its state is that after all steps.
      constant_seconds: Of each step on the constant batch.
    """

    real: Timings
    constant_seconds: list[float]


def compare_batches(program: Program, state: Any, stream: Iterator[Any], steps: int, turns: int = TURNS) -> Comparison:
    """Time steps on the stream and as many on one of its batches, in turns."""
    seconds: list[float] = []
    waits: list[float] = []
    constant_seconds: list[float] = []
    scalars = None
    batch = next(stream)
    for turn in range(turns):
        # As even a share of the steps as there can be; turns beyond their number have none.
        count = len(range(turn, steps, turns))
        real = time_steps(program, state, stream, count)
        constant = time_steps(program, real.state, itertools.repeat(batch), count)
        state = constant.state
        scalars = real.scalars or scalars  # a turn without a step has none
        seconds += real.seconds
        waits += real.waits
        constant_seconds += constant.seconds
    return Comparison(Timings(state, scalars, seconds, waits), constant_seconds)


def time_steps(program: Program, state: Any, stream: Iterator[Any], steps: int) -> Timings:
    """Take steps on the batches of a stream, each timed to the end of its computation."""
    seconds: list[float] = []
    waits: list[float] = []
    scalars = None
    batch = next(stream)
    for _ in range(steps):
        began = time.monotonic()
        state, scalars = program(state, batch)
        fetching = time.monotonic()
        # The next batch is fetched while the device computes, as the training loop does it.
        batch = next(stream)
        # Where the step is still under way, the fetch was hidden behind it.
        waits.append(time.monotonic() - fetching if scalars['loss'].is_ready() else 0.0)
        # Calls return before the device is done: without this only their dispatch would be timed.
        jax.block_until_ready(state)
        seconds.append(time.monotonic() - began)
    return Timings(state, scalars, seconds, waits)


class FirstStep(NamedTuple):
    """A run's first step.

    Attributes:
      cost: Its seconds, as `measure` returns them.
      stream: Batches to go on with; a context manager.
      compiled: The step as jax compiled it.
      program: The step to call.
      state: After the step.
    """

    cost: dict[str, float]
    stream: Any
    compiled: jax.stages.Compiled
    program: Program
    state: Any


def take_first_step(run: 'Run') -> FirstStep:
    """Take a run's first step, from nothing."""
    # Else the second start would find the first one's programs in memory.
    jax.clear_caches()
    began = time.monotonic()
    state: Any = run.programs.init_state()
    order = run.data.reader.order(run.experiment.train.batch_size, run.experiment.seed)
    stream = batches(run.training_reader, order, rows=run.batch_layout.local_rows, scalars=run.model_config.scalars)
    batch = run.batch_layout.to_global(next(stream))
    train_step: Any = run.programs.train_step
    # Lowered and compiled explicitly, so that compiling is timed apart and the program's memory analysis is at hand.
    lowered = train_step.lower(state, batch, frozen=run.frozen)

    compiling = time.monotonic()
    compiled = lowered.compile()
    program = functools.partial(compiled, frozen=run.frozen)
    compile_seconds = time.monotonic() - compiling

    state, _ = jax.block_until_ready(program(state, batch))
    cost = {'compile_seconds': compile_seconds, 'first_step_seconds': time.monotonic() - began}
    return FirstStep(cost, stream, compiled, program, state)


@contextlib.contextmanager
def empty_cache(directory: str) -> Iterator[None]:
    """Use an empty persistent compilation cache in `directory`, and then the former one again."""
    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    jax.config.update('jax_compilation_cache_dir', directory)
    # Needed as jax keeps the directory that it opened first.
    compilation_cache.reset_cache()
    try:
        yield
    finally:  # the user's own cache, whatever happened
        jax.config.update('jax_compilation_cache_dir', before)
        compilation_cache.reset_cache()


def checkpoint_cost(run: 'Run', state: Any, directory: str) -> tuple[float, float]:
    """Return (seconds that training stands still for a save, seconds until it is on disk).

    The second save is timed: the first one also opens files and starts threads.
    """
    with Checkpoints(f'{directory}/checkpoints', run.experiment.checkpoint) as checkpoints:
        checkpoints.save(1, state, describe_position(run, 1))
        checkpoints.wait()

        began = time.monotonic()
        checkpoints.save(2, state, describe_position(run, 2))
        stall = time.monotonic() - began
        checkpoints.wait()
        return stall, time.monotonic() - began


def table(report: Mapping[str, Any]) -> str:
    """Return a report of `measure` as text."""
    width = max(map(len, report))
    return '\n'.join(f'{name:{width}}  {_format_value(value)}' for name, value in report.items())


def _format_value(value: object) -> str:
    if isinstance(value, dict):
        return ', '.join(f'{name} {_format_value(item)}' for name, item in value.items())
    return f'{value:.4g}' if isinstance(value, float) else str(value)
