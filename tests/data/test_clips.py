"""Clips taken together."""

import numpy as np
import pytest

from vdm_jax.data.clips import first_frames
from vdm_jax.data.synthetic import Synthetic
from vdm_jax.errors import UserError

SOURCE = Synthetic(frames=3, pixels=4, size=6, classes=2)  # clip i has the label i modulo 2


def test_first_frames_are_those_of_clips_with_the_asked_labels_in_turn():
    found = first_frames(SOURCE, [1, 0, 1, 1, 1], 2)
    for frames, clip in zip(found, (1, 0, 3, 5, 1), strict=True):
        np.testing.assert_array_equal(frames, SOURCE[clip]['video'][:2])
    assert len(first_frames(SOURCE, [None] * 8, 1)) == 8


def test_a_label_that_no_clip_has_is_named():
    with pytest.raises(UserError, match='--label=7: none of the first 6 held-out clips has it'):
        first_frames(SOURCE, [7], 1)
