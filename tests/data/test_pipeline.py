import dataclasses
import itertools
import pathlib
import subprocess
import sys
import time
from typing import ClassVar

import numpy as np
import pytest

from vdm_jax.data.order.order import Order
from vdm_jax.data.pipeline import batches
from vdm_jax.data.source import StatelessSource
from vdm_jax.data.worlds.synthetic import Synthetic


@dataclasses.dataclass(frozen=True)
class Numbers(StatelessSource):
    """Clip i shows i; drawn clips add noise and take an uneven time."""

    size: int = 23
    threads: int = 4
    prefetch: int = 8
    delay: float = 0.0
    fails_at: int = -1

    shape: ClassVar = (2, 4, 4, 3)

    def __len__(self):
        return self.size

    def __getitem__(self, i):
        return {'video': np.full((2, 4, 4, 3), i, np.uint8), 'label': np.int32(i)}

    def draw(self, i, rng):
        if i == self.fails_at:
            raise OSError(f'clip {i} is gone')
        time.sleep(self.delay * rng.random())
        clip = self[i]
        return clip | {'video': clip['video'] + rng.integers(0, 100, (2, 4, 4, 3), np.uint8)}


def stream(source, order, start=0, stop=8, rows=None):
    with batches(source, order, start, stop, rows and [rows]) as iterator:
        return list(iterator)


def same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype
            np.testing.assert_array_equal(a[name], b[name])


ORDER = Order(23, 8, seed=5)


def test_batches_follow_the_order_and_have_the_promised_types():
    steps = stream(Numbers(), ORDER)
    assert steps[0]['video'].shape == (8, 2, 4, 4, 3) and steps[0]['video'].dtype == np.uint8
    assert steps[0]['label'].dtype == np.int32
    for step, batch in enumerate(steps):
        np.testing.assert_array_equal(batch['label'], ORDER.ids(step))


@pytest.mark.parametrize('shares', [[range(4), range(4, 8)], [[0, 1, 6], [7, 2], [3], [4, 5]], [[5, 0, 0, 7]]])
def test_every_host_reads_its_rows_of_the_same_stream(shares):
    """Any rows, in any order and more than once."""
    steps = stream(Numbers(), ORDER)
    for rows in shares:
        same(stream(Numbers(), ORDER, rows=rows), [{k: step[k][list(rows)] for k in step} for step in steps])


@pytest.mark.parametrize('threads', [0, 1, 8])
def test_the_stream_is_the_same_for_any_number_of_threads(threads):
    same(stream(Numbers(threads=threads, delay=0.003), ORDER), stream(Numbers(), ORDER))


def test_the_stream_may_be_entered_at_any_step():
    steps = stream(Numbers(), ORDER)
    for start in (1, 5, 8):
        same(stream(Numbers(), ORDER, start=start), steps[start:])


def test_the_same_clip_is_drawn_differently_in_every_epoch():
    with batches(Numbers(size=1), Order(1, 2, seed=0)) as iterator:
        first, second = itertools.islice(iterator, 2)
    assert (first['video'][0] != first['video'][1]).any() and (first['video'] != second['video']).any()


def test_without_a_last_step_the_stream_continues_and_closes_cleanly():
    iterator = batches(Numbers(), ORDER)
    assert len(list(itertools.islice(iterator, 30))) == 30
    iterator.close()
    iterator.close()


def test_a_stream_left_open_ends_silently_with_the_program():
    code = """
import sys
sys.path.insert(0, 'tests/data')
from test_pipeline import Numbers, Order, batches
iterator = batches(Numbers(), Order(23, 8))
next(iterator)
"""
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, '')


def test_an_error_in_a_clip_comes_out_of_next():
    with pytest.raises(OSError, match='clip 11 is gone'):
        stream(Numbers(fails_at=11), ORDER)


def test_the_consumer_does_not_wait_for_a_batch_that_fits_in_its_step():
    """Eight clips of 10 ms on average, in 4 threads, during a step of 100 ms."""
    waited = 0
    with batches(Numbers(delay=0.02), ORDER) as iterator:
        next(iterator)
        for _ in range(8):
            time.sleep(0.1)
            start = time.perf_counter()
            next(iterator)
            waited += time.perf_counter() - start
    assert waited < 0.1 * 0.8  # 10%: the machine may be busy; on an idle one it is below 1%


def test_synthetic_is_one_constant_batch_for_all_hosts():
    source = Synthetic(frames=2, pixels=4, size=4).open()
    order = Order(4, 8)
    first, again = stream(source, order, start=3, stop=5)
    assert first['video'] is again['video'] and not first['video'].flags.writeable
    assert first['video'].shape == (8, 2, 4, 4, 3) and first['video'].std() > 60
    halves = [stream(source, order, stop=1, rows=rows)[0]['video'] for rows in (range(4), range(4, 8))]
    np.testing.assert_array_equal(np.concatenate(halves), first['video'])


def test_synthetic_needs_neither_grain_nor_av_nor_jax():
    code = """
import sys
for name in ('grain', 'av', 'PIL', 'jax', 'tensorflow_datasets', 'absl', 'ml_collections', 'etils'):
    sys.modules[name] = None
import vdm_jax.data.video.decode, vdm_jax.data.video_folder, vdm_jax.data.video.transforms, vdm_jax.media
from vdm_jax.data.order.order import Order
from vdm_jax.data.pipeline import batches
from vdm_jax.data.source import StatelessSource
from vdm_jax.data.worlds.synthetic import Synthetic
with batches(Synthetic(frames=1, pixels=4).open(), Order(8, 4)) as it:
    assert next(it)['video'].shape == (4, 1, 4, 4, 3)
"""
    subprocess.run([sys.executable, '-c', code], check=True)
