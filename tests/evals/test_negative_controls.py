"""Controls are what their names say."""

import numpy as np

from vdm_jax.evals.negative_controls import make_controls


def test_controls_are_made_as_named():
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (30, 3, 4, 4, 3), dtype=np.uint8)
    train = rng.integers(0, 256, (50, 3, 4, 4, 3), dtype=np.uint8)
    controls = make_controls(real, train, seed=3)
    assert set(controls) == {'noise', 'frozen', 'shuffled', 'copied'}
    assert all(videos.shape == real.shape and videos.dtype == np.uint8 for videos in controls.values())
    assert (controls['frozen'] == real[:, :1]).all()
    for ours, theirs in zip(controls['shuffled'], real, strict=True):
        assert not np.array_equal(ours, theirs)
        assert sorted(frame.tobytes() for frame in ours) == sorted(frame.tobytes() for frame in theirs)
    known = {clip.tobytes() for clip in train}
    assert len({clip.tobytes() for clip in controls['copied']} & known) == 30
    np.testing.assert_array_equal(controls['noise'], make_controls(real, train, seed=3)['noise'])
