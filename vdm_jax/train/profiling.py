"""What a run says of its machine: compilations, the high-water mark of memory, and a window of the profiler."""

from dataclasses import dataclass
from typing import Annotated

import jax
from etils import epath

from vdm_jax.parallel import processes
from vdm_jax.parallel.host import peak_memory
from vdm_jax.ranges import Between, Ranged, Whole
from vdm_jax.train.loggers.logger import Outage
from vdm_jax.train.remote_files import StagedDirectory

COMPILED = '/jax/core/compile/backend_compile_duration'


@dataclass(frozen=True)
class ProfileConfig(Ranged, where='config.profile'):
    """A window of jax.profiler: `steps` steps from step `start` on (0: none), written into WORKDIR/profile for xprof.

    Take a step well after the first, which compiles.
    """

    start: Whole = 0
    steps: Annotated[int, Between(1, 10_000)] = 3


class Watch:
    """Counts programs compiled (or loaded from the cache) while it is open, and knows the most memory in use so far."""

    def __enter__(self):
        self.compilations = 0
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        return self

    def __exit__(self, *_):
        jax.monitoring.unregister_event_duration_listener(self._heard)

    def _heard(self, event: str, *_, **__) -> None:
        self.compilations += event == COMPILED

    def readings(self) -> dict[str, int]:
        """compilations; and in bytes memory_peak of the fullest local device, or of this process on the CPU."""
        peaks = [stats['peak_bytes_in_use'] for device in jax.local_devices() if (stats := device.memory_stats())]
        return {'compilations': self.compilations, 'memory_peak': max(peaks, default=peak_memory())}


class Window:
    """Has jax's profiler trace the steps of a ProfileConfig, on the first process; xprof and TensorBoard open it.

    A trace that cannot be written costs a line, and not the run.
    """

    def __init__(self, config: ProfileConfig, workdir):
        self._config, self._directory, self._files = config, epath.Path(workdir) / 'profile', None
        self._to_come = config.start > 0
        self._outage = Outage('config.profile', processes.say)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end(None)

    def at(self, step: int, state) -> jax.profiler.StepTraceAnnotation:
        """Called before each step with what it starts from: what was computed before does not run into the trace.

        A run that goes on within the window traces what is left of it. The step is to be run within what is returned,
        by which xprof knows it for a step.
        """
        first, last = self._config.start, self._config.start + self._config.steps
        if self._to_come and step >= first:
            self._to_come = False
            if step >= last:
                processes.say(f'config.profile: steps {first} to {last - 1} are past, nothing is traced')
            elif processes.first():
                jax.block_until_ready(state)
                with self._outage.weathered():
                    files = StagedDirectory(self._directory)
                    jax.profiler.start_trace(str(files.local))
                    self._files = files
        if step == last:
            self._end(state)
        return jax.profiler.StepTraceAnnotation('train', step_num=step)

    def _end(self, state) -> None:
        if self._files is None:
            return
        jax.block_until_ready(state)
        files, self._files = self._files, None
        with self._outage.weathered():
            jax.profiler.stop_trace()
            files.close()
