"""Images beside clips: which, from where, and that the clips are as they were."""

import dataclasses
import json
from typing import ClassVar

import numpy as np
import pytest

from vdm_jax.data.joint_images import JointImages
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.order.order import Order
from vdm_jax.data.pipeline import batches
from vdm_jax.data.scalars import check
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_dict, experiment_from
from vdm_jax.train.workdir import check_workdir

CLIPS = BouncingBalls(frames=3, pixels=12, size=20)
IMAGES = Synthetic(frames=2, pixels=12, size=5, classes=7)
CONFIG = JointImages(CLIPS, IMAGES, 3)
JOINT = CONFIG.open()


def test_clips_are_those_of_the_clip_source_in_its_order():
    assert len(JOINT) == 20 and JOINT.shape == CLIPS.shape and JOINT.num_classes == 7
    for i in (0, 7):
        np.testing.assert_array_equal(JOINT[i]['video'], CLIPS[i]['video'])
        drawn = JOINT.draw(i, np.random.default_rng(0))
        np.testing.assert_array_equal(drawn['video'], CLIPS[i]['video'])
    assert JOINT.order(4, 1) == Order(20, 4, 1)
    assert JOINT.reference is CLIPS


def test_images_are_frames_of_the_image_source_with_their_labels_all_of_them_in_turn():
    frames = {frame.tobytes(): clip for clip in range(5) for frame in JOINT.images[clip]['video']}
    seen = []
    rng = np.random.default_rng(0)
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
    a = JOINT[4]
    b = JOINT[4]
    np.testing.assert_array_equal(a['images'], b['images'])
    np.testing.assert_array_equal(a['images'][0], JOINT.images[12 % 5]['video'][0])


def test_batches_do_not_depend_on_hosts_and_no_images_are_an_empty_array():
    order = JOINT.order(4, seed=2)
    with batches(JOINT, order, 0, 2) as stream:
        batch = next(stream)
    halves = []
    for rows in ([0, 1], [2, 3]):
        with batches(JOINT, order, 0, 2, [rows]) as stream:
            halves.append(next(stream))
    assert batch['images'].shape == (4, 3, 12, 12, 3) and batch['image_label'].shape == (4, 3)
    for name in batch:
        np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), batch[name])
    assert dataclasses.replace(CONFIG, count=0).open()[0]['images'].shape == (0, 12, 12, 3)


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
    assert experiment.data == CONFIG
    assert experiment_from(experiment_dict(experiment)) == experiment
    assert JOINT.held_out().source.clips.split == 'test'


def test_a_side_without_classes_has_no_label_beside_one_with_classes():
    unlabelled = dataclasses.replace(IMAGES, classes=0)
    joint = JointImages(CLIPS, unlabelled, 2).open()
    assert CLIPS.num_classes == 2 == joint.num_classes
    for item in (joint[3], joint.draw(3, np.random.default_rng(0))):
        assert item['image_label'].tolist() == [2, 2] and item['label'] == CLIPS[3]['label']
    joint = JointImages(dataclasses.replace(unlabelled, frames=3), IMAGES, 2).open()
    for item in (joint[3], joint.draw(3, np.random.default_rng(0))):
        assert item['label'] == 7 and item['label'].dtype == np.int32 and (item['image_label'] < 7).all()
    neither = JointImages(dataclasses.replace(unlabelled, frames=3), unlabelled, 1).open()[0]
    assert neither['label'] == 0 == neither['image_label'][0]


def test_what_would_be_lost_is_refused():
    mixed = Mixture((IMAGES, IMAGES), (3, 1))
    for images in (mixed, CONFIG):
        with pytest.raises(UserError, match=r'config\.data\.images is a .* lost'):
            JointImages(CLIPS, images)
    with pytest.raises(UserError, match=r'config\.data\.clips has images'):
        JointImages(CONFIG, IMAGES)
    with pytest.raises(UserError, match=r'config\.data\.sources\.1 has images'):
        Mixture((CLIPS, CONFIG))
    clips = Mixture((CLIPS, CLIPS), (3, 1))
    assert JointImages(clips, IMAGES).open().order(4, 1) == clips.open().order(4, 1)


@dataclasses.dataclass(frozen=True)
class WithScalars(BouncingBalls):
    """Clips with scalars."""

    scalars: ClassVar = ('fps', 'zoom')

    def draw(self, i, rng):
        return super().draw(i, rng) | {'scalars': {'fps': 8.0, 'zoom': float(i)}}

    def __getitem__(self, i):
        return super().__getitem__(i) | {'scalars': {'fps': 8.0, 'zoom': float(i)}}


class Framed(WithScalars):
    scalars = ('fps',)


def test_scalars_of_clips_are_those_of_joint_and_mixed_sources():
    with_scalars = WithScalars(frames=2, pixels=12, size=5)
    framed = Framed(frames=2, pixels=12, size=5)
    mixed = Mixture((with_scalars, framed)).open()
    joint = JointImages(with_scalars, IMAGES).open()
    for source, names in ((joint, ('fps', 'zoom')), (mixed, ('fps',))):
        check(source, names)
        assert source.scalars == names
        for clip in (source[1], source.draw(1, np.random.default_rng(0))):
            assert clip['scalars'] == {name: {'fps': 8.0, 'zoom': 1.0}[name] for name in names}
    beside = Mixture((with_scalars, IMAGES)).open()
    assert beside.scalars == () == JOINT.scalars and 'scalars' not in beside[0]
    with batches(mixed, mixed.order(4), 0, 1, scalars=('fps',)) as stream:
        assert next(stream)['fps'].tolist() == [8.0] * 4


BALLS = {'source': 'bouncing_balls', 'frames': 3, 'pixels': 12}


@pytest.mark.parametrize(
    'data, message',
    [
        ({'images': BALLS}, 'config.data.clips: not set'),
        ({'clips': BALLS}, 'config.data.images: not set'),
        ({'clips': BALLS | {'frames': 0}, 'images': BALLS}, 'config.data.clips.frames'),
        ({'clips': BALLS, 'images': BALLS | {'gravity': -1.0}}, 'config.data.images.gravity'),
        ({'clips': BALLS | {'frams': 3}, 'images': BALLS}, 'config.data.clips.frams: no such key'),
        (
            {'clips': BALLS, 'images': {'source': 'video_folder', 'pixels': 12, 'path': 'nowhere', 'label': 'index'}},
            'config.data.images.path=nowhere',
        ),
        (
            {'clips': {'source': 'video_folder', 'pixels': 12, 'path': 'nowhere'}, 'images': BALLS},
            'config.data.clips.path=nowhere',
        ),
    ],
)
def test_mistakes_name_the_part(data, message):
    with pytest.raises(UserError) as error:
        source = experiment_from({'data': {'source': 'joint_images', **data}}).data.open()
        source.order(4)
        source.num_classes  # noqa: B018
    assert str(error.value).startswith(message), error.value


def test_a_run_resumes_where_the_files_of_a_part_have_moved(tmp_path):
    def resolve_config(path, frames=16):
        folder = {'source': 'video_folder', 'path': path, 'frames': frames}
        groups = {'data': {'source': 'joint_images', 'clips': folder, 'images': folder}}
        return json.loads(json.dumps(experiment_dict(experiment_from(groups))))

    (tmp_path / 'checkpoints' / '3').mkdir(parents=True)
    (tmp_path / 'config.json').write_text(json.dumps(resolve_config('here')))
    check_workdir(tmp_path, resolve_config('there'))
    with pytest.raises(UserError, match=r'config\.data\.clips\.frames'):
        check_workdir(tmp_path, resolve_config('there', 8))


def test_other_sizes_are_refused():
    with pytest.raises(UserError, match=r'config\.data\.images: height, width and channels are \(8, 8, 3\)'):
        JointImages(CLIPS, Synthetic(pixels=8))
    with pytest.raises(UserError, match=r'config\.data\.count=-1'):
        JointImages(CLIPS, IMAGES, -1)
