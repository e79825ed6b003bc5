"""Prepared sets are made here, without TensorFlow, and read back as clips: frames, ragged frames, images, mp4 bytes."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vdm_jax import media
from vdm_jax.data.order.order import clip_generator
from vdm_jax.data.pipeline import batches
from vdm_jax.data.tfds import Tfds
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_dict, experiment_from
from vdm_jax.experiment.run import Run

tfds = pytest.importorskip('tensorflow_datasets')

TRAIN = 9
TEST = 4


def frames(i, count, height=24, width=32, channels=3):
    """Frame t of example i has brightness 10 i + t, but for white in the right quarter."""
    video = np.zeros((count, height, width, channels), np.uint8)
    video += (10 * i + np.arange(count, dtype=np.uint8))[:, None, None, None]
    video[:, :, width * 3 // 4 :] = 255
    return video


class Clips(tfds.core.GeneratorBasedBuilder):
    """Every kind of feature that can be prepared without TensorFlow."""

    VERSION = tfds.core.Version('1.0.0')
    code_path = None  # TFDS looks for checksums beside the code, and stumbles over how pytest imports tests

    def __init__(self, mp4s, pictures, **options):
        self.mp4s = mp4s
        self.pictures = pictures
        super().__init__(**options)

    def _info(self):
        tensor = tfds.features.Tensor
        features = {
            'video': tensor(shape=(6, 24, 32, 3), dtype=np.uint8),
            'ragged': tensor(shape=(None, None, None, 3), dtype=np.uint8, encoding='zlib'),
            'deep': {'grey': tensor(shape=(6, 24, 32, 1), dtype=np.uint8)},
            'picture': tensor(shape=(24, 32, 3), dtype=np.uint8),
            'png': tfds.features.Image(shape=(24, 32, 3)),
            'list': tfds.features.Sequence(tfds.features.Image(shape=(24, 32, 3))),
            'mp4': tensor(shape=(), dtype=np.object_),
            'floats': tensor(shape=(6, 24, 32, 3), dtype=np.float32),
            'class': tfds.features.ClassLabel(names=['a', 'b', 'c']),
            'number': tfds.features.Scalar(np.int64),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {'train': self._generate_examples(range(TRAIN)), 'test': self._generate_examples(range(15, 15 + TEST))}

    def _generate_examples(self, numbers):
        for i in numbers:
            yield (
                i,
                {
                    'video': frames(i, 6),
                    'ragged': frames(i, 3 + i, 24 + i, 32),
                    'deep': {'grey': frames(i, 6, channels=1)},
                    'picture': frames(i, 1)[0],
                    'png': self.pictures[i % 2],
                    'list': [self.pictures[0]] * 3,
                    'mp4': self.mp4s[i % 2],
                    'floats': frames(i, 6).astype(np.float32),
                    'class': i % 3,
                    'number': i,
                },
            )


@pytest.fixture(scope='module')
def prepared_set(tmp_path_factory):
    root = tmp_path_factory.mktemp('tfds')
    mp4s = [b'not a video\x00', b'neither\x00\x00']
    pictures = []
    for i in range(2):
        pictures.append(str(root / f'{i}.png'))
        media.write_png(pictures[i], frames(10 * i, 1)[0])
        try:
            media.write_mp4(root / f'{i}.mp4', frames(4 * i, 12 + i))
            mp4s[i] = (root / f'{i}.mp4').read_bytes() + bytes(3)  # zeros at the end, which numpy's strings would lose
        except UserError:  # no PyAV
            pass
    builder = Clips(mp4s, pictures, data_dir=str(root), file_format='array_record')
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    return str(builder.data_dir)


class Robot(tfds.core.GeneratorBasedBuilder):
    """Made as TFDS makes bair_robot_pushing_small: an example is a sequence of dicts, one a frame."""

    VERSION = tfds.core.Version('2.0.0')
    code_path = None

    def __init__(self, pictures, **options):
        self.pictures = pictures
        super().__init__(**options)

    def _info(self):
        frame = {
            'image_main': tfds.features.Image(shape=(24, 32, 3)),
            'action': tfds.features.Tensor(shape=(4,), dtype=np.float32),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.Sequence(frame, length=3))

    def _split_generators(self, dl_manager):
        return {'train': self._generate_examples(range(2)), 'test': self._generate_examples(range(2, 3))}

    def _generate_examples(self, numbers):
        for i in numbers:
            yield i, [{'image_main': picture, 'action': np.full(4, i, np.float32)} for picture in self.pictures]


def test_a_set_whose_examples_are_sequences_of_frames_is_read(tmp_path):
    pictures = [str(tmp_path / f'{i}.png') for i in range(3)]
    for i, picture in enumerate(pictures):
        media.write_png(picture, frames(10 * i, 1)[0])
    builder = Robot(pictures, data_dir=str(tmp_path), file_format='array_record')
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    clips = Tfds(path=str(builder.data_dir), video='image_main', frames=3, pixels=24).open()
    assert len(clips) == 2 and len(clips.held_out()) == 1
    assert numbers(clips[1]['video']) == [0, 100, 200]


def source(prepared_set, **fields):
    return Tfds(**{'path': prepared_set, 'frames': 4, 'pixels': 24, **fields}).open()


def numbers(video):
    """The brightness of each frame, left of the white."""
    return np.rint(video[:, :, :8].mean((1, 2, 3))).astype(int).tolist()


def test_frames_are_cut_to_clips_with_the_labels_of_their_examples(prepared_set):
    clips = source(prepared_set, label='class')
    assert len(clips) == TRAIN and clips.shape == (4, 24, 24, 3) and clips.num_classes == 3
    seen = set()
    for i in range(TRAIN):
        clip = clips[i]
        assert clip['video'].shape == clips.shape and clip['video'].dtype == np.uint8
        assert clip['label'].dtype == np.int32 and set(clip) == {'video', 'label'}
        example, first = divmod(numbers(clip['video'])[0], 10)
        assert first == 0 and numbers(clip['video']) == [10 * example + t for t in range(4)]
        assert clip['label'] == example % 3
        np.testing.assert_array_equal(clip['video'], frames(example, 6)[:4, :, 4:28])
        seen.add(example)
    assert seen == set(range(TRAIN))
    with pytest.raises(IndexError):
        clips[TRAIN]


def test_training_clips_start_anywhere_and_are_cropped_and_mirrored_by_option(prepared_set):
    plain = source(prepared_set)
    first = source(prepared_set, start='first')

    def drawn(clips):
        return [clips.draw(0, clip_generator(0, p))['video'] for p in range(30)]

    assert {numbers(video)[0] % 10 for video in drawn(plain)} == {0, 1, 2}
    assert {numbers(video)[0] % 10 for video in drawn(first)} == {0}

    def ends(**fields):
        videos = drawn(source(prepared_set, **fields))
        return {(bool(video[0, 0, 0, 0] == 255), bool(video[0, 0, -1, 0] == 255)) for video in videos}

    assert ends() == {(False, True)} and ends(flip=True) == {(False, True), (True, False)}
    widths = {int((v[0, 0, :, 0] == 255).sum()) for v in drawn(source(prepared_set, crop='random'))}
    assert len(widths) > 4
    again = source(prepared_set).draw(3, clip_generator(0, 7))['video']
    np.testing.assert_array_equal(plain.draw(3, clip_generator(0, 7))['video'], again)


def test_ragged_frames_are_resized_held_or_looped(prepared_set):
    for short, wanted in (('hold', [0, 1, 2, 2, 2, 2, 2]), ('loop', [0, 1, 2, 0, 1, 2, 0])):
        clips = source(prepared_set, video='ragged', frames=7, pixels=12, short=short)
        videos = {numbers(clip['video'])[0] // 10: clip['video'] for clip in map(clips.__getitem__, range(TRAIN))}
        assert numbers(videos[0]) == wanted and videos[8].shape == (7, 12, 12, 3)
        assert numbers(videos[8]) == list(range(80, 87))
        assert clips.counters()['short_clips'] >= 4  # those of 3 to 6 frames
    assert numbers(source(prepared_set, video='ragged', frames=2, stride=2)[0]['video'])[1] % 10 == 2


def test_grey_frames_pictures_and_lists_of_pictures(prepared_set):
    grey = source(prepared_set, video='deep/grey', channels=1)
    assert grey[0]['video'].shape == grey.shape == (4, 24, 24, 1)
    picture = source(prepared_set, video='picture', frames=1)
    assert sorted(numbers(picture[i]['video'])[0] for i in range(TRAIN)) == [10 * i for i in range(TRAIN)]
    png = source(prepared_set, video='png', frames=1)
    assert {numbers(png[i]['video'])[0] for i in range(TRAIN)} == {0, 100}
    assert numbers(source(prepared_set, video='list', frames=3)[0]['video']) == [0, 0, 0]


def test_bytes_of_video_files_are_decoded(prepared_set):
    pytest.importorskip('av')
    clips = source(prepared_set, video='mp4', frames=8)
    firsts = []
    for i in range(TRAIN):
        frame_numbers = numbers(clips[i]['video'])
        np.testing.assert_allclose(np.array(frame_numbers) - frame_numbers[0], np.arange(8), atol=1)
        firsts.append(frame_numbers[0])
    assert min(firsts) <= 2 and max(firsts) >= 38
    starts = {numbers(clips.draw(0, clip_generator(0, p))['video'])[0] for p in range(40)}
    assert max(starts) - min(starts) >= 3  # 12 or 13 frames hold 5 or 6 clips of 8


def test_splits_and_slices_of_them(prepared_set):
    clips = source(prepared_set)
    held_out = clips.held_out()
    assert held_out.source == dataclasses.replace(clips.source, split='test') and len(held_out) == TEST
    assert {numbers(held_out[i]['video'])[0] // 10 for i in range(TEST)} == set(range(15, 19))
    sliced = source(prepared_set, train='train[:6]', test='train[6:]')
    first_frames = [{numbers(c[i]['video'])[0] for i in range(len(c))} for c in (sliced, sliced.held_out())]
    assert len(first_frames[0]) == 6 and len(first_frames[1]) == 3 and not first_frames[0] & first_frames[1]
    everything = source(prepared_set, split='all')
    assert len(everything) == TRAIN + TEST and everything.held_out() is everything
    assert len(source(prepared_set, split='all', train='test', test='')) == TEST


def test_identity_differs_between_slices_and_sets(prepared_set):
    assert source(prepared_set).identity() == source(prepared_set, threads=1).identity()
    assert source(prepared_set).identity().startswith(f'{TRAIN} clips/1.0.0 ')
    assert source(prepared_set, train='train[:8]').identity() != source(prepared_set, train='train[1:]').identity()


@pytest.mark.parametrize('video', ['video', 'ragged', 'mp4'])
def test_batches_are_the_same_for_any_number_of_threads(prepared_set, video):
    if video == 'mp4':
        pytest.importorskip('av')

    def stream(threads):
        clips = source(prepared_set, video=video, threads=threads, label='class')
        with batches(clips, clips.order(6, seed=2), 0, 5) as stream_batches:
            return list(stream_batches)

    for a, b in zip(stream(8), stream(0), strict=True):
        np.testing.assert_array_equal(a['video'], b['video'])
        np.testing.assert_array_equal(a['label'], b['label'])


def test_a_run_s_config_round_trip(prepared_set):
    groups = {'data': {'source': 'tfds', 'path': prepared_set, 'frames': 4, 'pixels': 24, 'label': 'class'}}
    experiment = experiment_from(groups)
    assert experiment_from(json.loads(json.dumps(experiment_dict(experiment)))) == experiment
    assert Run(experiment).model_config.classes == 3


@pytest.mark.parametrize(
    'fields, parts',
    [
        ({'path': ''}, ('config.data.path', 'DIR/name/1.0.0')),
        ({'path': 'nowhere'}, ('config.data.path=nowhere', 'no prepared set')),
        ({'video': 'film'}, ('config.data.video=film', 'ragged')),
        ({'video': 'deep/film'}, ('config.data.video=deep/film',)),
        ({'label': 'klass'}, ('config.data.label=klass', 'class')),
        ({'label': 'number'}, ('config.data.label=number', 'ClassLabel')),
        ({'train': 'trian'}, ('config.data.train=trian', 'train (9), test (4)')),
        ({'split': 'test', 'test': 'validation'}, ('config.data.test=validation', 'train (9)')),
        ({'split': 'test', 'test': ''}, ('config.data.test is empty', "'train[:90%]'", "'train[90%:]'")),
        ({'split': 'test', 'test': 'train[90%:]'}, ('data.train=train and', 'data.test=train[90%:]', "'train[:90%]'")),
        ({'split': 'test', 'train': 'train[:6]', 'test': 'train[-4:]'}, ('config.data.train=train[:6]', 'share')),
        ({'split': 'test', 'train': 'test+train[:6]'}, ('config.data.train=test+train[:6]', 'config.data.test=test')),
        ({'split': 'all', 'test': 'train[:1]'}, ('config.data.train=train', 'config.data.test=train[:1]', 'share')),
        ({'split': 'test', 'train': 'trian'}, ('config.data.train=trian', 'train (9), test (4)')),
        ({'train': 'train[9:]'}, ('config.data.train=train[9:]', 'train (9)')),
        ({'video': 'floats'}, ("'floats' of example 0", 'float32', 'uint8')),
        ({'channels': 1}, ("'video' of example 0", 'config.data.channels')),
        ({'video': 'number'}, ("'number' of example 0", 'uint8')),
        ({'channels': 4}, ('config.data.channels=4',)),
        ({'stride': 0}, ('config.data.stride=0',)),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(prepared_set, fields, parts):
    with pytest.raises(UserError) as error:
        clips = source(prepared_set, **fields)
        len(clips), clips.num_classes
    assert all(part in str(error.value) for part in parts) and '\n' not in str(error.value), error.value


def copy_edited(prepared_set, folder, name, old, new):
    """A copy of the set with something else in one of its files."""
    copy = folder / '1.0.0'
    copy.mkdir()
    for file in tfds.core.Path(prepared_set).iterdir():
        content = file.read_bytes()
        (copy / file.name).write_bytes(content.replace(old, new) if file.name == name else content)
    return str(copy)


def test_sets_that_name_classes_of_other_packages_are_refused(prepared_set, tmp_path):
    module = b'tensorflow_datasets.core.features.scalar.'
    path = copy_edited(prepared_set, tmp_path, 'features.json', module, b'antigravity.')
    with pytest.raises(UserError, match='antigravity.Scalar'):
        len(source(path))
    assert 'antigravity' not in sys.modules


@pytest.mark.parametrize(
    'damage',
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b''),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b'\xff' + path.read_bytes()[1:]),
        lambda path: path.write_bytes(b'[' * 100_000),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=['gone', 'empty', 'cut', 'no UTF-8', 'nested deep', 'zeros', 'directory', 'pipe'],
)
def test_damaged_sets_are_one_line(prepared_set, tmp_path, damage):
    """Whichever file of them it is; or it makes no difference."""
    intact = source(prepared_set, label='class')
    expected = [intact[i]['video'] for i in range(len(intact))]
    for name in [file.name for file in tfds.core.Path(prepared_set).iterdir()]:
        folder = tmp_path / name
        folder.mkdir()
        path = copy_edited(prepared_set, folder, '', b'', b'')
        damage(Path(path) / name)
        try:
            clips = source(path, label='class')
            videos = [clips[i]['video'] for i in range(len(clips)) if clips.num_classes]
        except UserError as error:
            assert '\n' not in str(error) and f'config.data.path={path}' in str(error), error
        else:
            np.testing.assert_array_equal(videos, expected, err_msg=name)


def test_sets_that_need_tensorflow_are_refused(prepared_set, tmp_path):
    path = copy_edited(prepared_set, tmp_path, 'features.json', b'tensor_feature.Tensor', b'video_feature.Video')
    with pytest.raises(UserError, match='config.data.path') as error:
        len(source(path))
    assert '\n' not in str(error.value)


def test_sets_in_another_format_are_refused(prepared_set, tmp_path):
    path = copy_edited(prepared_set, tmp_path, 'dataset_info.json', b'array_record', b'tfrecord')
    with pytest.raises(UserError, match='array_record') as error:
        len(source(path))
    assert '\n' not in str(error.value)


def test_tensorflow_is_not_imported(prepared_set):
    code = (
        'import sys; from vdm_jax.data.tfds import Tfds; '
        f"print(Tfds({prepared_set!r}, frames=4, pixels=24).open()[0]['video'].shape, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '(4, 24, 24, 3) False'
