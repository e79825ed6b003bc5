"""Images beside clips: which, from where, and that the clips are as they were."""

import dataclasses

import numpy as np
import pytest

from vdm_jax.build import experiment_dict, experiment_from
from vdm_jax.data.bouncing_balls import BouncingBalls
from vdm_jax.data.joint_images import JointImages
from vdm_jax.data.order import Order, order_of
from vdm_jax.data.pipeline import batches
from vdm_jax.data.source import held_out_of
from vdm_jax.data.synthetic import Synthetic
from vdm_jax.errors import UserError

CLIPS, IMAGES = BouncingBalls(frames=3, pixels=12, size=20), Synthetic(frames=2, pixels=12, size=5, classes=7)
JOINT = JointImages(CLIPS, IMAGES, 3)


def test_clips_are_those_of_the_clip_source_in_its_order():
    assert len(JOINT) == 20 and JOINT.shape == CLIPS.shape and JOINT.num_classes == 7
    for i in (0, 7):
        np.testing.assert_array_equal(JOINT[i]['video'], CLIPS[i]['video'])
        drawn = JOINT.draw(i, np.random.default_rng(0))
        np.testing.assert_array_equal(drawn['video'], CLIPS[i]['video'])
    assert order_of(JOINT, 4, 1) == Order(20, 4, 1)
    assert JOINT.scored == CLIPS


def test_images_are_frames_of_the_image_source_with_their_labels_all_of_them_in_turn():
    frames = {frame.tobytes(): clip for clip in range(5) for frame in IMAGES[clip]['video']}
    seen, rng = [], np.random.default_rng(0)
    for _ in range(100):
        item = JOINT.draw(0, rng)
        assert item['images'].shape == (3, 12, 12, 3) and item['image_label'].dtype == np.int32
        for image, label in zip(item['images'], item['image_label'], strict=True):
            assert frames[image.tobytes()] == label  # clip i of this source has the label i
            seen.append(image.tobytes())
    assert len(set(seen)) == 10  # every frame of every clip
    counts = np.unique(seen, return_counts=True)[1]
    assert counts.min() > 10


def test_in_evaluation_they_are_always_the_same():
    a, b = JOINT[4], JOINT[4]
    np.testing.assert_array_equal(a['images'], b['images'])
    np.testing.assert_array_equal(a['images'][0], IMAGES[12 % 5]['video'][0])


def test_batches_do_not_depend_on_hosts_and_none_is_none():
    order = order_of(JOINT, 4, seed=2)
    with batches(JOINT, order, 0, 2) as stream:
        whole = next(stream)
    halves = []
    for host in range(2):
        with batches(JOINT, order, 0, 2, host=host, hosts=2) as stream:
            halves.append(next(stream))
    assert whole['images'].shape == (4, 3, 12, 12, 3) and whole['image_label'].shape == (4, 3)
    for name in whole:
        np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), whole[name])
    assert dataclasses.replace(JOINT, count=0)[0]['images'].shape == (0, 12, 12, 3)


def test_it_is_a_config_like_any_other():
    groups = {
        'data': {
            'source': 'joint_images',
            'clips': {'source': 'bouncing_balls', 'frames': 3, 'pixels': 12, 'size': 20},
            'images': {'source': 'synthetic', 'frames': 2, 'pixels': 12, 'size': 5, 'classes': 7},
            'count': 3,
        }
    }
    experiment = experiment_from(groups)
    assert experiment.data == JOINT
    assert experiment_from(experiment_dict(experiment)) == experiment
    assert held_out_of(JOINT).clips.split == 'test'


def test_other_sizes_are_refused():
    with pytest.raises(UserError, match=r'config\.data\.images: height, width and channels are \(8, 8, 3\)'):
        JointImages(CLIPS, Synthetic(pixels=8))
    with pytest.raises(UserError, match=r'config\.data\.count is -1'):
        JointImages(CLIPS, IMAGES, -1)
