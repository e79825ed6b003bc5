"""Compilations, the high-water mark of memory, and a window of the profiler."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

import jax
from etils import epath

from vdm_jax.config.ranges import Between, Ranged, Whole
from vdm_jax.parallel import processes
from vdm_jax.parallel.host import peak_memory
from vdm_jax.train.loggers.logger import Outage
from vdm_jax.train.remote_files import StagedDirectory
from vdm_jax.train.state import TrainState

COMPILED = '/jax/core/compile/backend_compile_duration'


@dataclass(frozen=True)
class ProfileConfig(Ranged, where='config.profile'):
    """Which steps jax.profiler traces, into WORKDIR/profile for xprof.

    Attributes:
      start: The first of them, 0 for none; take one well after the first step, which compiles.
      steps: How many.
    """

    start: Whole = 0
    steps: Annotated[int, Between(1, 10_000)] = 3


class ResourceMonitor:
    """Count of the programs compiled (or loaded from the cache) while it is open, and the most memory in use so far."""

    def __enter__(self) -> Self:
        self._compilations = 0
        jax.monitoring.register_event_duration_secs_listener(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._count)

    def _count(self, event: str, *_: Any, **__: Any) -> None:
        self._compilations += event == COMPILED

    def read(self) -> dict[str, int]:
        """Return 'compilations', and 'memory_peak' in bytes.

        That of the fullest local device, or of this process on the CPU, which has no statistics.
        """
        # memory_stats() is None where there are none.
        statistics = [device.memory_stats() for device in jax.local_devices()]
        peaks = [each['peak_bytes_in_use'] for each in statistics if each]
        return {'compilations': self._compilations, 'memory_peak': max(peaks, default=peak_memory())}


class ProfilerWindow:
    """The steps of a ProfileConfig, traced by jax's profiler on the primary process; xprof and TensorBoard open it.

    A trace that cannot be written costs a line, and not the run.
    """

    def __init__(self, config: ProfileConfig, workdir: epath.PathLike):
        self._first = config.start
        self._end = config.start + config.steps
        self._directory = epath.Path(workdir) / 'profile'
        self._is_pending = config.start > 0
        self._files: StagedDirectory | None = None  # while it traces
        self._outage = Outage('config.profile', processes.print_on_primary)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop(None)

    def begin_step(self, step: int, state: TrainState | None) -> jax.profiler.StepTraceAnnotation:
        """Start or stop tracing before a step; return the context to run the step in, by which xprof knows it.

        A run that resumes within the window traces what is left of it.

        Args:
          step: The step's number.
          state: What it starts from: what was computed before does not run into the trace.
        """
        # At or after the first step, as a run may resume within the window or past it.
        if self._is_pending and step >= self._first:
            self._is_pending = False
            if step >= self._end:
                processes.print_on_primary(
                    f'config.profile: steps {self._first} to {self._end - 1} are past, nothing is traced'
                )
            elif processes.is_primary():
                self._start(state)
        # A window that ends with the run is stopped when it is closed.
        if step == self._end:
            self._stop(state)
        return jax.profiler.StepTraceAnnotation('train', step_num=step)

    def _start(self, state: TrainState | None) -> None:
        jax.block_until_ready(state)
        with self._outage.tolerate():
            files = StagedDirectory(self._directory)
            jax.profiler.start_trace(str(files.local))
            self._files = files

    def _stop(self, state: TrainState | None) -> None:
        if self._files is None:
            return
        jax.block_until_ready(state)
        # Where stopping fails it is not tried again.
        files, self._files = self._files, None
        with self._outage.tolerate():
            jax.profiler.stop_trace()
            files.close()
