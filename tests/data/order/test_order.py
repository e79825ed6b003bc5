import numpy as np
import pytest

from vdm_jax.data.order.order import Order, clip_generator, permutation
from vdm_jax.errors import UserError


def test_every_epoch_holds_every_id_once_and_batches_run_over_its_end():
    order = Order(size=10, batch=4, seed=3)
    ids = np.concatenate([order.ids(step) for step in range(10)])
    epochs = ids.reshape(4, 10)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(10))
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_step_is_a_function_of_size_batch_seed_and_step_only():
    late = Order(size=1000, batch=8, seed=7).ids(12345)
    Order(size=1000, batch=8, seed=8).ids(3)
    np.testing.assert_array_equal(Order(size=1000, batch=8, seed=7).ids(12345), late)
    assert (Order(size=1000, batch=8, seed=8).ids(12345) != late).any()


def test_the_sequence_does_not_depend_on_the_batch_size():
    small = Order(10, 3, seed=1)
    large = Order(10, 15, seed=1)
    np.testing.assert_array_equal(np.concatenate([small.ids(s) for s in range(5)]), large.ids(0))


def test_the_permutation_is_the_same_for_ever():
    assert permutation(8, 0, 0).tolist() == [7, 4, 2, 6, 5, 0, 1, 3]
    assert Order(8, 3, 0).positions(2).tolist() == [6, 7, 8]


def test_unshuffled_is_the_order_of_the_source():
    assert Order(5, 3, shuffle=False).ids(1).tolist() == [3, 4, 0]


def test_a_batch_larger_than_the_source_takes_complete_epochs():
    assert np.bincount(Order(4, 32, seed=0).ids(5)).tolist() == [8, 8, 8, 8]


def test_clip_randomness_differs_by_seed_and_position():
    drawn = {clip_generator(seed, position).random() for seed in (0, 1) for position in range(50)}
    assert len(drawn) == 100
    assert clip_generator(1, 7).random() == clip_generator(1, 7).random()


@pytest.mark.parametrize('mistake', [lambda: Order(0, 4), lambda: Order(4, 0)])
def test_mistakes_name_the_key(mistake):
    with pytest.raises(UserError, match='config'):
        mistake()
