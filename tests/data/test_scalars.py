"""Scalars of a clip: measured, or from the source; only those that the network is conditioned on."""

import numpy as np
import pytest

from vdm_jax import media
from vdm_jax.data import scalars
from vdm_jax.data.clip_batches import batch_of
from vdm_jax.data.order.order import Order
from vdm_jax.data.pipeline import batches
from vdm_jax.data.video_folder import VideoFolder
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.errors import UserError


def test_motion_is_the_mean_change_from_frame_to_frame():
    video = np.zeros((3, 2, 2, 1), np.uint8)
    video[1:] = 51
    assert scalars.motion(video) == pytest.approx(0.1)  # once a fifth of the range, once nothing
    assert scalars.motion(video[:1]) == 0


def test_only_requested_scalars_are_attached():
    clip = {'video': np.zeros((2, 1, 1, 1), np.uint8), 'label': np.int32(1), 'scalars': {'fps': 12.0}}
    assert set(scalars.attach_scalars(clip, ())) == {'video', 'label'}
    attached = scalars.attach_scalars(clip, ('fps', 'motion'))
    assert attached['fps'] == 12 and attached['motion'] == 0 and attached['fps'].dtype == np.float32


def test_batches_and_clips_hold_scalars():
    source = Synthetic(frames=3, pixels=4, size=3).open()
    with batches(source, Order(3, 2), 0, 1, scalars=('motion',)) as stream:
        assert next(stream)['motion'].shape == (2,)
    batch = batch_of(source, range(3), ('motion',))
    np.testing.assert_allclose(batch['motion'], [scalars.motion(source[i]['video']) for i in range(3)], rtol=1e-6)


def test_a_folder_of_videos_has_the_scalar_fps(tmp_path):
    media.write_mp4(tmp_path / 'a.mp4', np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8), fps=8)
    source = VideoFolder(str(tmp_path), frames=2, pixels=16, stride=2).open()
    scalars.check(source, ('fps', 'motion'))
    with batches(source, Order(1, 2), 0, 1, scalars=('fps',)) as stream:
        np.testing.assert_allclose(next(stream)['fps'], 4, rtol=1e-3)
    resampled = VideoFolder(str(tmp_path), frames=2, pixels=16, fps=2.0).open()
    assert batch_of(resampled, [0], ('fps',))['fps'][0] == 2


def test_an_unknown_scalar_is_refused():
    with pytest.raises(UserError, match=r'config\.model\.scalars=fps: clips of this source have the scalars motion'):
        scalars.check(Synthetic().open(), ('fps',))
