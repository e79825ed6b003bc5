"""What the benchmark calls waiting for data."""

import itertools
import time

import pytest

from vdm_jax.benchmark import timed


class Loss:
    """A loss that is there `after` seconds."""

    def __init__(self, after):
        self._at = time.monotonic() + after

    def is_ready(self):
        return time.monotonic() >= self._at


@pytest.mark.parametrize(('loading', 'computing', 'share'), [(0.03, 0.0, 1.0), (0.0, 0.03, 0.0), (0.02, 0.2, 0.0)])
def test_only_a_loader_slower_than_the_step_keeps_it_waiting(loading, computing, share):
    stream = (time.sleep(loading) for _ in itertools.count())
    program = lambda state, batch: (state + 1, {'loss': Loss(computing)})
    state, _, seconds, waits = timed(program, 0, stream, 5)
    assert state == 5 and len(seconds) == 5
    assert sum(waits) == pytest.approx(share * sum(seconds), rel=0.1, abs=1e-3)
