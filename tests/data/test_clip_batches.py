"""Clips taken together."""

import pytest

from vdm_jax.data.clip_batches import find_labelled
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.errors import UserError

SOURCE = Synthetic(frames=3, pixels=4, size=6, classes=2).open()  # clip i has the label i modulo 2


def test_clips_of_the_given_labels_come_in_turn():
    assert find_labelled(SOURCE, [1, 0, 1, 1, 1]) == [1, 0, 3, 5, 1]
    assert find_labelled(SOURCE, [None] * 8) == [0, 1, 2, 3, 4, 5, 0, 1]


def test_a_label_that_no_clip_has_is_named():
    with pytest.raises(UserError, match='--label=7: none of the first 6 held-out clips has it'):
        find_labelled(SOURCE, [7])
