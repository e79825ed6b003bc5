"""Being stopped: a signal asks all processes of a run to save the same step and leave."""

import contextlib
import os
import signal

import jax
from jax.experimental import multihost_utils


@contextlib.contextmanager
def asked():
    """Within it, SIGTERM and Ctrl-C only ask to stop; yields step -> whether to stop before that step.

    One process has a handler of its own. Several have jax's, in C++, for SIGTERM to any of them: jax then agrees on a
    step that none has begun, for which all have to ask at every step. There a Python handler for SIGTERM would take its
    place, so only Ctrl-C has one, which turns it into the other.
    """
    several, seen = jax.distributed.is_initialized(), []

    def note(number, _):
        seen.append(number)
        if several:
            os.kill(os.getpid(), signal.SIGTERM)

    numbers = (signal.SIGINT,) if several else (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield multihost_utils.reached_preemption_sync_point if several else lambda step: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
