"""What the benchmark calls waiting for data."""

import itertools
import statistics
import time

import pytest

from vdm_jax.benchmark.steps import compare_batches, time_steps


class Loss:
    """A loss that is there `after` seconds."""

    def __init__(self, after):
        self._at = time.monotonic() + after

    def is_ready(self):
        return time.monotonic() >= self._at


@pytest.mark.parametrize(('loading', 'computing', 'share'), [(0.03, 0.0, 1.0), (0.0, 0.03, 0.0), (0.02, 0.2, 0.0)])
def test_only_a_loader_slower_than_the_step_keeps_it_waiting(loading, computing, share):
    stream = (time.sleep(loading) for _ in itertools.count())

    def program(state, batch):
        return (state + 1, {'loss': Loss(computing)})

    state, _, seconds, waits = time_steps(program, 0, stream, 5)
    assert state == 5 and len(seconds) == 5
    assert sum(waits) == pytest.approx(share * sum(seconds), rel=0.1, abs=1e-3)


def test_real_and_constant_batches_take_turns():
    """A loader that costs the step 50 ms is seen in the one and not in the other."""
    seen = []

    def program(state, batch):
        seen.append(batch)
        time.sleep(0.01)
        return state + 1, {'loss': Loss(0)}

    stream = ((time.sleep(0.05), number)[1] for number in itertools.count())
    (state, _, seconds, _), constant = compare_batches(program, 0, stream, 6)
    assert state == 12 and len(seconds) == len(constant) == 6
    assert seen == [1, 2, 0, 0, 4, 5, 0, 0, 7, 0, 9, 0]  # one more is fetched at the end of each turn
    assert statistics.median(seconds) > 0.05 > statistics.median(constant)
