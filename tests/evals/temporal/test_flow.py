"""Flow: exact where things move by whole pixels, near elsewhere; the same directions of every kind."""

import builtins

import numpy as np
import pytest

from tests.evals.temporal.worlds import draw_shifted_texture, make_exact_flow
from vdm_jax.errors import UserError
from vdm_jax.evals.temporal.flow import DIS, FLOWS, BlockMatching, Farneback, StoredFlow, choose_flow

SHIFTS = [(3, 0), (-2, 1), (0, 0), (5, -6)]


@pytest.fixture
def without_opencv(monkeypatch):
    find = builtins.__import__

    def refuse(name, *rest):
        if name == 'cv2':
            raise ImportError('absent in this test')
        return find(name, *rest)

    monkeypatch.setattr(builtins, '__import__', refuse)


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
@pytest.mark.parametrize('channels', [1, 3])
def test_block_matching_is_exact_where_shifts_are_whole(dtype, channels):
    clip = draw_shifted_texture(SHIFTS)[..., :channels].astype(dtype)
    forward, backward = make_exact_flow(SHIFTS)
    inside = np.s_[:, 6:-6, 6:-6]
    np.testing.assert_array_equal(BlockMatching().compute_forward(clip, 0)[inside], forward[inside])
    np.testing.assert_array_equal(BlockMatching().compute_backward(clip, 0)[inside], backward[inside])


def test_block_matching_tells_objects_from_their_background():
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 256, (1, 40, 40, 3), np.uint8), 2, 0)
    ball = rng.integers(0, 256, (13, 13, 3), np.uint8)
    frames[0, 10:23, 10:23] = ball
    frames[1, 12:25, 7:20] = ball
    flow = BlockMatching().compute(*frames)
    assert (flow[13:20, 13:20] == (-3, 2)).all()
    assert (flow[:6] == 0).all() and (flow[30:] == 0).all()


@pytest.mark.parametrize('size', [(1, 1), (2, 9), (5, 4)])
def test_block_matching_takes_frames_of_any_size(size):
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 1), np.uint8)
    assert (BlockMatching().compute(frames[0], frames[0]) == 0).all()
    assert np.isfinite(BlockMatching().compute(*frames)).all()


def test_nothing_moves_where_nothing_can_be_seen_to_move():
    grey = np.full((2, 20, 20, 3), 90, np.uint8)
    grey[1] += 7
    assert (BlockMatching().compute(*grey) == 0).all()
    noisy = np.random.default_rng(0).normal(90, 4, (2, 30, 30, 3)).astype(np.uint8)
    assert (BlockMatching().compute(*noisy) == 0).mean() > 0.99


@pytest.mark.parametrize('flow', [Farneback(), DIS()], ids=['farneback', 'dis'])
def test_opencv_s_flow_has_the_same_directions(flow):
    pytest.importorskip('cv2')
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 256, (30, 30, 1)), np.ones((6, 6, 3))).astype(np.uint8)
    first = smooth[20:116, 20:116]
    second = smooth[19:115, 18:114]  # moved right by 2, down by 1
    middle = np.median(flow.compute(first, second)[20:-20, 20:-20], axis=(0, 1))
    np.testing.assert_allclose(middle, (2, 1), atol=0.2)


def test_stored_flow_is_of_its_own_clips():
    clip = draw_shifted_texture(SHIFTS)
    forward, backward = make_exact_flow(SHIFTS)
    flow = StoredFlow(forward[None], backward[None])
    np.testing.assert_array_equal(flow.compute_forward(clip, 0), forward)
    np.testing.assert_array_equal(flow.compute_backward(clip, 0), backward)
    for wrong in (lambda: flow.compute_forward(clip, 1), lambda: flow.compute_forward(clip[:2], 0)):
        with pytest.raises(UserError, match=r'^flow exact is \(1, 4, 24, 30, 2\): clip \d wants'):
            wrong()
    with pytest.raises(UserError, match='fps'):
        flow.compute_forward(clip, 0, interval=2)


def test_every_how_many_frames_flow_is_taken():
    clip = draw_shifted_texture([(1, 0)] * 5)
    flow = BlockMatching().compute_forward(clip, 0, interval=2)
    assert flow.shape[0] == 2 and (flow[:, 8:-8, 8:-8] == (2, 0)).all()
    assert len(BlockMatching().compute_forward(clip, 0, interval=9)) == 0


def test_without_opencv_blocks_are_matched_and_the_extra_is_named(without_opencv):
    assert choose_flow('best') == BlockMatching()
    for name in ('farneback', 'dis'):
        with pytest.raises(
            UserError, match=rf"^flow={name} needs opencv: pip install 'vdm_jax\[curate\]', or"
        ) as error:
            choose_flow(name)
        assert '\n' not in str(error.value)


def test_every_flow_says_what_it_is():
    pytest.importorskip('cv2')
    assert choose_flow('best') == Farneback()
    for name in FLOWS:
        assert choose_flow(name).describe().startswith(name)
