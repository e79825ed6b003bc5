"""Shares are exact in every block, and every source runs through complete epochs of its own."""

import numpy as np

from vdm_jax.data.order.mixed import BLOCK, MixedOrder


def order(sizes, weights, batch=8, seed=3, **options):
    return MixedOrder(sum(sizes), batch, seed, sizes=sizes, weights=weights, **options)


def test_shares_are_exact_in_every_block():
    mixed = order((50, 7, 20), (7, 2, 1))
    for block in (0, 1, 12345):
        which, _ = mixed.turns(np.arange(block * BLOCK, (block + 1) * BLOCK))
        assert np.bincount(which).tolist() == [700, 200, 100]
    ids = mixed.ids_at(np.arange(BLOCK))
    assert [(ids < 50).sum(), ((ids >= 50) & (ids < 57)).sum(), (ids >= 57).sum()] == [700, 200, 100]
    assert (mixed.turns(np.arange(BLOCK))[0] != mixed.turns(BLOCK + np.arange(BLOCK))[0]).any()


def test_what_rounding_leaves_over_goes_to_the_largest_remainders():
    assert order((5, 5, 5), (1, 1, 1)).slots == (334, 333, 333)
    assert order((5, 5, 5, 5), (5004, 2503, 2483, 10)).slots == (501, 250, 248, 1)
    assert order((5, 5), (0.57, 0.43)).slots == (570, 430)


def test_every_source_runs_through_complete_epochs_of_its_own():
    small = 100
    large = 10_000
    ids = order((small, large), (1, 1)).ids_at(np.arange(2 * large))
    mine = ids[ids < small]
    others = ids[ids >= small] - small
    assert len(mine) == len(others) == large
    for epoch in mine.reshape(-1, small):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(small))
    assert len({tuple(epoch) for epoch in mine.reshape(-1, small)}) == large // small
    np.testing.assert_array_equal(np.sort(others), np.arange(large))


def test_sources_of_one_size_are_shuffled_differently():
    ids = order((50, 50), (1, 1)).ids_at(np.arange(BLOCK))
    assert (ids[ids < 50] != ids[ids >= 50] - 50).mean() > 0.8


def test_an_id_is_a_function_of_its_position_only():
    expected = np.concatenate([order((30, 70), (0.3, 0.7)).ids(step) for step in range(400)])  # over the ends of blocks
    again = order((30, 70), (0.3, 0.7))
    for position in (3199, 0, 1000, 999, 2500):
        assert again.ids_at(position) == expected[position]
    np.testing.assert_array_equal(order((30, 70), (3, 7), batch=100).ids(17), expected[1700:1800])  # shares, not sums
    assert (order((30, 70), (0.3, 0.7), seed=4).ids(0) != expected[:8]).any()


def test_the_sequence_is_the_same_for_ever():
    assert order((4, 6), (1, 2), seed=0).ids_at(np.arange(12)).tolist() == [4, 2, 8, 5, 7, 0, 9, 6, 1, 3, 9, 0]
