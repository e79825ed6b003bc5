"""Stopping: a signal to any process of a run asks all of them to save the same step and leave."""

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

_leaving = threading.Event()  # set by `ignore`


@contextlib.contextmanager
def catch_signals() -> Iterator[Callable[[int], bool]]:
    """Let SIGTERM and Ctrl-C only ask to stop; yields step -> whether to stop before that step.

    A signal counts from here on, whatever the process is at. A second Ctrl-C ends the process at once, as kill -9 does.
    Enter it in the main thread.
    """
    signals: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        signals.append(number)
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            # Not by print, which fails where the signal has interrupted another print.
            os.write(2, b'\nsaves and stops after this step; Ctrl-C once more ends at once, without saving\n')

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        if jax.process_count() > 1:
            yield Agreement(lambda: bool(signals))
        else:
            yield lambda step: bool(signals)
    finally:
        for number, handler in before.items():
            if _leaving.is_set():
                continue
            # A handler that C code had installed is None to Python, which cannot bring it back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def ignore_signals() -> None:
    """Have SIGTERM and Ctrl-C do nothing from here on.

    For a process that has saved what it had to and is about to end, so that its exit code says so.
    """
    _leaving.set()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


class Agreement:
    """The same answer for all processes, each of which asks at every step, within the same mesh.

    jax has a service for this too (reached_preemption_sync_point). It is not used: it loses a signal that comes before
    its first call, and Orbax calls it with the step that was saved, which sets back what jax agrees on.
    """

    def __init__(self, is_local_stop: Callable[[], bool]):
        self._is_local_stop = is_local_stop
        self._last: jax.Array | None = None

    def __call__(self, step: int) -> bool:
        """Return whether any process was to stop when all asked before, so that none waits for the step under way.

        The first answer is for the first question, when no step is under way yet.
        """
        current = any_process(self._is_local_stop(), jax.sharding.get_mesh())
        # That of the question before, whose reduction is done by now: reading it waits for nothing.
        answer = current if self._last is None else self._last
        self._last = current
        return bool(answer)


def any_process(flag: bool, mesh: jax.sharding.Mesh) -> jax.Array:
    """Return whether the flag of any process is set: () bool, whole on every device, soon. All have to call it."""
    # A flag for each device: then `any` is one small reduction within the run's own mesh, dispatched like a step.
    split = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    flags = jax.make_array_from_callback((mesh.size,), split, lambda index: np.full(mesh.size, flag)[index])
    return _any(mesh)(flags)


@functools.cache
def _any(mesh: jax.sharding.Mesh) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(jnp.any, out_shardings=NamedSharding(mesh, PartitionSpec()))
