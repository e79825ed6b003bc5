import dataclasses
import json
import os

import numpy as np
import pytest

from tests.shared_data import CLIPS, needs_clips
from vdm_jax import media
from vdm_jax.data.order.order import Order, clip_generator
from vdm_jax.data.pipeline import batches
from vdm_jax.data.video.extract_clip import clip_indices
from vdm_jax.data.video_folder import VideoFolder, look_for_videos
from vdm_jax.errors import UserError

pytest.importorskip('av')


def write(path, count, tint=0, fps=10):
    """`count` frames of 24 x 40: frame i has brightness 4 i on the left; the right column band shows the tint."""
    video = np.zeros((count, 24, 40, 3), np.uint8)
    video += (4 * np.arange(count, dtype=np.uint8))[:, None, None, None]
    video[:, :, 32:] = tint
    media.write_mp4(path, video, fps)


def frame_numbers(video):
    """The numbers of the frames in a clip cut from the centre."""
    return np.rint(video[:, :, :8].mean((1, 2, 3)) / 4).astype(int).tolist()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Three good videos of 30, 40 and 5 frames, in two classes, and what is to be skipped."""
    root = tmp_path_factory.mktemp('videos')
    for name, count, tint in (('cat/a.mp4', 30, 50), ('cat/b.mp4', 40, 120), ('dog/c.MP4', 5, 200)):
        (root / name).parent.mkdir(exist_ok=True)
        write(root / name, count, tint)
    (root / '.hidden').mkdir()
    for stray in ('.hidden/x.mp4', 'cat/._a.mp4', 'notes.txt'):
        (root / stray).write_bytes(b'stray')
    return str(root)


def source(folder, **fields):
    return VideoFolder(**{'path': folder, 'frames': 8, 'pixels': 24, **fields}).open()


def test_a_clip_is_what_a_source_promises(folder):
    clips = source(folder)
    assert len(clips) == 3 and clips.shape == (8, 24, 24, 3) and clips.num_classes == 0
    clip = clips[1]
    assert clip['video'].shape == clips.shape and clip['video'].dtype == np.uint8 and clip['label'].dtype == np.int32
    assert frame_numbers(clip['video']) == list(range(8))
    with pytest.raises(IndexError):
        clips[3]


def test_stride_and_fps_choose_the_frames(folder):
    assert frame_numbers(source(folder, stride=3)[1]['video']) == list(range(0, 24, 3))
    assert frame_numbers(source(folder, fps=5.0)[1]['video']) == list(range(0, 16, 2))
    assert frame_numbers(source(folder, fps=20.0)[1]['video']) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert frame_numbers(source(folder, fps=5.0, stride=2)[1]['video']) == list(range(0, 32, 4))


def test_fps_takes_the_frame_nearest_in_time():
    uneven = dataclasses.make_dataclass('V', ['times', 'seconds', 'frames'])(np.array([0, 0.1, 0.5, 0.6, 1.0]), 1.2, 5)
    indices, have = clip_indices(uneven, 0, 8, fps=5)  # 0, 0.2, 0.4, 0.6, 0.8, 1.0, then beyond the end
    assert indices[:have].tolist() == [0, 1, 2, 3, 3, 4]
    assert clip_indices(uneven, 1, 3, fps=2)[0].tolist() == [1, 3, 4]


@pytest.mark.parametrize('fields', [{}, {'stride': 3}, {'fps': 5.0}, {'fps': 7.5}])
def test_draws_reach_every_start_and_never_run_past_the_end(folder, fields):
    clips = source(folder, **fields)
    firsts = set()
    lasts = set()
    for position in range(300):
        numbers = frame_numbers(clips.draw(0, clip_generator(0, position))['video'])
        steps = np.diff(numbers)
        assert (steps > 0).all() and steps.max() - steps.min() <= (1 if 'fps' in fields else 0)
        firsts.add(numbers[0])
        lasts.add(numbers[-1])
    assert min(firsts) == 0 and max(lasts) == 29 and firsts == set(range(max(firsts) + 1))


def test_memorising_starts_at_the_first_frame(folder):
    clips = source(folder, start='first')
    assert {int(frame_numbers(clips.draw(0, clip_generator(0, p))['video'])[0]) for p in range(20)} == {0}


def test_flip_and_random_crop_only_by_option(folder):
    """The first frame of b.mp4 is black but for a band at the right edge, outside the central square."""

    def bright_edges(**fields):
        clips = source(folder, frames=40, **fields)
        firsts = [clips.draw(1, clip_generator(0, position))['video'][0, :, :, 0].mean(0) for position in range(24)]
        return {(bool(first[0] > 60), bool(first[-1] > 60)) for first in firsts}

    neither = (False, False)
    left = (True, False)
    right = (False, True)

    assert bright_edges() == bright_edges(flip=True) == {neither}
    assert bright_edges(crop='random') == {neither, right}
    assert bright_edges(crop='random', flip=True) == {neither, left, right}


@pytest.mark.parametrize(('short', 'numbers'), [('hold', [0, 1, 2, 3, 4, 4, 4, 4]), ('loop', [0, 1, 2, 3, 4, 0, 1, 2])])
def test_short_videos_are_filled_up_counted_and_named(folder, short, numbers):
    clips = source(folder, short=short)
    assert frame_numbers(clips[2]['video']) == numbers
    clips.draw(2, clip_generator(0, 0))
    clips.draw(0, clip_generator(0, 0))
    assert clips.counters()['short_videos'] == 1 and clips.counters()['short_clips'] == 2
    assert clips.problem_files()['short'] == ['dog/c.MP4: 5 of 8 frames']


def test_dropped_short_videos_are_counted(folder):
    clips = source(folder, short='drop', label='index')
    assert len(clips) == 2 and clips.num_classes == 3
    assert clips.counters()['short_videos'] == 1 and clips.problem_files()['short']
    with pytest.raises(UserError, match='config.data.frames'):
        len(source(folder, short='drop', frames=100))


def test_one_frame_is_an_image(folder):
    assert source(folder, frames=1)[2]['video'].shape == (1, 24, 24, 3)


def test_labels(folder):
    assert [source(folder, label='index')[i]['label'] for i in range(3)] == [0, 1, 2]
    by_folder = source(folder, label='folder')
    assert [by_folder[i]['label'] for i in range(3)] == [0, 0, 1] and by_folder.num_classes == 2


def test_splits_share_nothing_and_labels_do_not_move(folder):
    train, test = (source(folder, split=split, held_out=0.5, label='index') for split in ('train', 'test'))
    labels = [{int(part[i]['label']) for i in range(len(part))} for part in (train, test)]
    assert labels[0] | labels[1] == {0, 1, 2} and not labels[0] & labels[1]
    with pytest.raises(UserError, match='config.data.split=test leaves no video'):
        len(source(folder, split='test', held_out=0.0))


def test_the_cache_changes_nothing(folder):
    cached = source(folder, crop='random')
    direct = source(folder, crop='random', cache_mb=0)
    for position in range(12):
        left, right = (clips.draw(position % 3, clip_generator(1, position)) for clips in (cached, direct))
        np.testing.assert_array_equal(left['video'], right['video'])


@pytest.fixture
def damaged_folder(folder, tmp_path):
    """Ten videos, the fourth and the last of them broken."""
    for i in range(10):
        write(tmp_path / f'{i}.mp4', 12, tint=20 * i)
    content = (tmp_path / '3.mp4').read_bytes()
    (tmp_path / '3.mp4').write_bytes(content[: len(content) // 2])
    (tmp_path / '9.mp4').write_bytes(b'')
    return str(tmp_path)


def test_a_broken_video_is_replaced_by_the_next_counted_and_named(damaged_folder):
    clips = source(damaged_folder, max_broken=0.2, label='index')
    assert len(clips) == 10
    np.testing.assert_array_equal(clips[3]['video'], clips[4]['video'])
    assert [int(clips[i]['label']) for i in (3, 9)] == [4, 0]
    assert clips.counters()['broken_videos'] == 2 and clips.counters()['replaced_clips'] == 3
    assert [line.split(':')[0] for line in clips.problem_files()['broken']] == ['3.mp4', '9.mp4']


def test_too_many_broken_videos_stop_the_run_and_are_named(damaged_folder):
    with pytest.raises(UserError, match=r'2 of 10 videos are broken.*config.data.max_broken=0.1.*3.mp4.*9.mp4'):
        len(source(damaged_folder))


def test_a_video_that_breaks_while_it_is_read_is_replaced_the_same_way_in_any_stream(folder, tmp_path, monkeypatch):
    from vdm_jax.data.video import decode

    for i in range(6):
        write(tmp_path / f'{i}.mp4', 12, tint=30 * i)
    read = decode.read

    def failing(video, indices, *size):
        if video.path.endswith('2.mp4') and max(indices) >= 10:
            raise decode.BrokenVideoError('frame 10 is damaged')
        return read(video, indices, *size)

    monkeypatch.setattr(decode, 'read', failing)

    def labels(**fields):
        clips = source(str(tmp_path), label='index', max_broken=0.2, **fields)
        with batches(clips, Order(6, 12, seed=0), 0, 4) as stream:
            stream_labels = [batch['label'].tolist() for batch in stream]
        return stream_labels, clips.counters()

    stream_labels, counters = labels(threads=4)
    assert counters['broken_videos'] == 1 and 0 < counters['replaced_clips'] < 8
    assert stream_labels == labels(threads=1)[0] == labels(cache_mb=0)[0]
    with pytest.raises(UserError, match=r'1 of 6.*2.mp4: frame 10 is damaged;'):
        with batches(source(str(tmp_path), max_broken=0.0), Order(6, 12, seed=0), 0, 4) as stream:
            list(stream)


def test_mistakes_name_the_key_and_what_was_found(folder, tmp_path):
    for path, message in [
        ('', 'config.data.path is empty'),
        (str(tmp_path / 'nowhere'), 'config.data.path=.*nowhere is not there'),
        (os.path.join(folder, 'notes.txt'), 'a file, not a folder'),
        (str(tmp_path), 'holds no video'),
    ]:
        with pytest.raises(UserError, match=message):
            len(VideoFolder(path=path).open())
    for fields in ({'frames': 0}, {'pixels': -1}, {'stride': 0}, {'fps': 0.0}):
        with pytest.raises(UserError, match=f'config.data.{next(iter(fields))}='):
            len(source(folder, **fields))
    write(tmp_path / 'loose.mp4', 3)
    with pytest.raises(UserError, match='loose.mp4 lies in no subfolder'):
        len(VideoFolder(path=str(tmp_path), label='folder').open())


def test_names_are_sorted_and_hidden_ones_left_out(folder):
    assert list(look_for_videos(folder).videos) == ['cat/a.mp4', 'cat/b.mp4', 'dog/c.MP4']


@needs_clips
def test_all_sixteen_real_clips_load_and_none_is_broken():
    clips = VideoFolder(path=str(CLIPS), frames=8, pixels=32, label='index').open()
    order = Order(len(clips), 16, seed=0)
    with batches(clips, order, 0, 1) as stream:
        (batch,) = stream
    assert sorted(batch['label'].tolist()) == list(range(16))
    assert batch['video'].shape == (16, 8, 32, 32, 3)
    spread = batch['video'].astype(float).std((1, 2, 3, 4))
    assert spread.min() > 5
    assert clips.problem_files() == {'broken': [], 'short': ['rotated_90.mov: 3 of 8 frames']}


def test_an_old_run_resumes_with_stored_pixels(tmp_path):
    """Its config does not mention them; sources of other sources are no exception."""
    from vdm_jax.train.workdir import read_config

    data = {'source': 'video_folder', 'path': 'videos'}
    (tmp_path / 'config.json').write_text(
        json.dumps({'model': {}, 'data': {'source': 'mixture', 'sources': [data, data]}})
    )
    assert [each['pixel_aspect'] for each in read_config(tmp_path)['data']['sources']] == ['stored'] * 2
    (tmp_path / 'config.json').write_text(json.dumps({'model': {}, 'data': data | {'pixel_aspect': 'square'}}))
    assert read_config(tmp_path)['data']['pixel_aspect'] == 'square'
