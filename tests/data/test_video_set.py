"""Anybody's videos as clips: which files are read, how they are cut, and what is an error and never passed over."""

import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from vdm_jax import media
from vdm_jax.data import stored_videos
from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.video_set import VideoSet
from vdm_jax.errors import UserError

pytest.importorskip('av')
save_file = pytest.importorskip('safetensors.numpy').save_file


def make(count, frames=6, height=8, width=12, channels=3):
    """Frame t of video i is of value 20 i + t."""
    values = 20 * np.arange(count)[:, None] + np.arange(frames)
    return np.broadcast_to(values[:, :, None, None, None], (count, frames, height, width, channels)).astype(np.uint8)


def open_set(path, **fields):
    return VideoSet(str(path), **{'frames': 4} | fields).open()


def values(clip):
    """What the frames of a clip are of."""
    return np.rint(clip['video'].mean((1, 2, 3))).astype(int).tolist()


def write_video(path, frames=20, height=16, width=24):
    """Frame t is of value 6 t."""
    video = np.broadcast_to(6 * np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, height, width, 3))
    media.write_mp4(path, np.ascontiguousarray(video), 8)
    return path


def write_gif(path, frames=6):
    pictures = [Image.fromarray(np.full((16, 24, 3), 6 * t, np.uint8)) for t in range(frames)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)


@pytest.mark.parametrize('ending', ['.npy', '.npz', '.safetensors', '.NPY'])
def test_an_array_is_as_many_videos_as_it_has_rows(tmp_path, ending):
    path = tmp_path / f'videos{ending}'
    if ending == '.npz':
        np.savez_compressed(path, make(3))
    elif ending == '.safetensors':
        save_file({'anything': make(3)}, path)
    else:
        with open(path, 'wb') as file:
            np.save(file, make(3))
    clips = open_set(path)
    assert len(clips) == 3 and clips.shape == (4, 8, 12, 3) and clips.num_classes == 0
    assert [values(clips[i]) for i in range(3)] == [[0, 1, 2, 3], [20, 21, 22, 23], [40, 41, 42, 43]]
    assert clips[0]['video'].dtype == np.uint8 and clips[0]['label'].dtype == np.int32
    with pytest.raises(IndexError):
        clips[3]


def test_one_video_grey_videos_and_arrays_among_others(tmp_path):
    np.save(tmp_path / 'one.npy', make(1)[0])
    np.save(tmp_path / 'grey.npy', make(2, channels=1))
    np.savez(tmp_path / 'more.npz', videos=make(2), labels=np.arange(2))
    assert len(open_set(tmp_path / 'one.npy')) == 1
    grey = open_set(tmp_path / 'grey.npy')
    assert grey.shape == (4, 8, 12, 3) and grey[1]['video'].shape == (4, 8, 12, 3)
    assert len(open_set(tmp_path / 'more.npz')) == 2
    assert len(open_set(tmp_path)) == 5


def test_a_folder_of_all_kinds_is_in_the_order_of_names(tmp_path):
    (tmp_path / 'b ü').mkdir()
    write_video(tmp_path / 'b ü' / 'a film — with spaces.MP4')
    write_gif(tmp_path / 'c.gif')
    np.save(tmp_path / 'a.npy', make(2, height=16, width=24))
    np.savez(tmp_path / 'd.npz', make(1, height=16, width=24))
    clips = open_set(tmp_path)
    assert len(clips) == 5 and clips.shape == (4, 16, 24, 3)
    assert values(clips[0]) == [0, 1, 2, 3] and values(clips[1]) == [20, 21, 22, 23]
    np.testing.assert_allclose(values(clips[2]), [0, 6, 12, 18], atol=3)
    np.testing.assert_allclose(values(clips[3]), [0, 6, 12, 18], atol=3)


def test_hidden_files_and_files_beside_videos_are_no_videos(tmp_path):
    np.save(tmp_path / 'a.npy', make(2))
    (tmp_path / '.partial_0123').mkdir()
    (tmp_path / '.partial_0123' / 'rows_00000000.npz').write_bytes(b'rows')
    (tmp_path / '._a.npy').write_bytes(b'stray')
    (tmp_path / 'a.json').write_text('{}')
    (tmp_path / 'notes.txt').write_text('notes')
    assert len(open_set(tmp_path)) == 2


def test_clips_are_the_first_of_each_video_or_all_that_fit(tmp_path):
    np.save(tmp_path / 'a.npy', make(2, frames=19))
    assert [values(clip)[0] for clip in open_set(tmp_path)] == [0, 20]
    every = open_set(tmp_path, cut='all')
    assert [values(clip) for clip in every][:5] == [[i, i + 1, i + 2, i + 3] for i in (0, 4, 8, 12, 20)]
    assert len(every) == 8
    strided = open_set(tmp_path, cut='all', stride=3)
    assert [values(clip) for clip in strided] == [[0, 3, 6, 9], [20, 23, 26, 29]]
    assert len(open_set(tmp_path, cut='all', stride=2)) == 4
    assert len(open_set(tmp_path, frames=19, cut='all')) == 2


def test_a_random_clip_begins_at_any_frame_that_leaves_room(tmp_path):
    np.save(tmp_path / 'a.npy', make(2, frames=9))
    clips = open_set(tmp_path, stride=2)
    rng = np.random.default_rng(0)
    drawn = [values(clips.draw(1, rng)) for _ in range(60)]
    assert {clip[0] for clip in drawn} == {20, 21, 22}
    assert all(np.diff(clip).tolist() == [2, 2, 2] for clip in drawn)
    assert values(clips.draw(1, np.random.default_rng(3))) == values(clips.draw(1, np.random.default_rng(3)))


@pytest.mark.parametrize('resize, shape', [('16x16', (16, 16)), (4, (4, 4)), ('5x31', (5, 31)), ('24x16', (24, 16))])
def test_several_sizes_are_brought_to_one(tmp_path, resize, shape):
    np.save(tmp_path / 'a.npy', make(1))
    np.save(tmp_path / 'b.npy', make(1, height=9, width=7, channels=1))
    write_video(tmp_path / 'c.mp4')
    clips = open_set(tmp_path, resize=resize)
    assert clips.shape == (4, *shape, 3)
    assert read_videos(clips, range(3)).shape == (3, 4, *shape, 3)
    assert values(clips[0]) == [0, 1, 2, 3]
    with pytest.raises(UserError, match='3 sizes of frames, such as .* and .*; want one, or --size=HEIGHTxWIDTH'):
        _ = open_set(tmp_path).shape


def write_frames(path):
    path.mkdir()
    for name in ('0.png', '1.png'):
        (path / name).write_bytes(b'')


@pytest.mark.parametrize('write, message', [
    (lambda path: None, r'is not there; want videos \(mp4, .*npy, npz, safetensors\)'),
    (lambda path: path.mkdir(), r'holds no video \(mp4,'),
    (write_frames, r'holds no video \(mp4, .*safetensors\); passed over: 2 \.png$'),
    (lambda path: np.save(path, make(2, frames=3)), r'video 0 of x\.npy has 3 frames; want 4 or more'),
    (lambda path: np.save(path, make(2).astype(np.float32)), r'x\.npy holds float32 .*; want uint8 \(N, T, H, W, C\)'),
    (lambda path: np.save(path, make(2)[..., :2]), r'holds uint8 \(2, 6, 8, 12, 2\); want .* 3 channels or 1'),
    (lambda path: np.save(path, np.repeat(make(2), 2, -1)[..., :4]), r'with 3 channels or 1'),
    (lambda path: np.save(path, make(2)[:0]), r'holds uint8 \(0, 6, 8, 12, 3\)'),
    (lambda path: np.save(path, make(2)[0, 0]), r'holds uint8 \(8, 12, 3\)'),
    (lambda path: np.save(path, np.array([{}], object), allow_pickle=True), r'x\.npy: no array of plain rows'),
    (lambda path: np.save(path, np.asfortranarray(make(2))), r'x\.npy: .* save numpy.ascontiguousarray of it'),
    (lambda path: path.write_bytes(b'nonsense'), r'x\.npy: no array of numpy'),
    (lambda path: path.write_bytes(b''), r'x\.npy: no array of numpy'),
    (lambda path: os.mkfifo(path), r'x\.npy: '),
])  # fmt: skip
def test_what_is_no_video_is_one_line(tmp_path, write, message):
    path = tmp_path / 'x.npy'
    write(path)
    with pytest.raises(UserError, match=message) as caught:
        len(open_set(path, option='--fake'))
    assert str(caught.value).startswith(f'--fake={path}: ') and '\n' not in str(caught.value)


@pytest.mark.parametrize('name, content, message', [
    ('bad.mp4', b'nonsense', r'bad\.mp4: '),
    ('bad.npz', b'PK nonsense', r'bad\.npz: cannot be read'),
    ('bad.safetensors', b'nonsense', r'bad\.safetensors: cannot be read'),
    ('bad.npy', b'', r'bad\.npy: no array'),
])  # fmt: skip
def test_a_damaged_file_among_good_ones_is_not_passed_over(tmp_path, name, content, message):
    np.save(tmp_path / 'good.npy', make(2))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        len(open_set(tmp_path))


def test_files_with_several_arrays_name_the_videos(tmp_path):
    np.savez(tmp_path / 'x.npz', a=make(1), b=make(2))
    with pytest.raises(UserError, match=r'x\.npz: holds arrays a, b; want one, or one named videos'):
        len(open_set(tmp_path))
    save_file({}, tmp_path / 'y.safetensors')
    with pytest.raises(UserError, match='holds arrays none'):
        len(open_set(tmp_path / 'y.safetensors'))


def test_a_file_that_is_cut_off_is_one_line(tmp_path):
    path = write_video(tmp_path / 'a.mp4', frames=40)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r'a\.mp4'):
        read_videos(open_set(path, frames=40), range(1))
    np.save(tmp_path / 'b.npy', make(3))
    os.truncate(tmp_path / 'b.npy', 900)
    with pytest.raises(UserError, match=r'b\.npy: 900 bytes, and its header says 5,312'):
        len(open_set(tmp_path / 'b.npy'))


def test_links_to_files_are_files_and_links_to_folders_an_error(tmp_path):
    (tmp_path / 'set').mkdir()
    (tmp_path / 'other').mkdir()
    np.save(tmp_path / 'other' / 'a.npy', make(2))
    (tmp_path / 'set' / 'a.npy').symlink_to(tmp_path / 'other' / 'a.npy')
    assert len(open_set(tmp_path / 'set')) == 2
    (tmp_path / 'set' / 'more').symlink_to(tmp_path / 'other')
    with pytest.raises(UserError, match='more is a link to a folder; want folders and files themselves'):
        len(open_set(tmp_path / 'set'))


def test_the_identity_is_of_these_files_as_they_are(tmp_path):
    np.save(tmp_path / 'a.npy', make(2, frames=9))
    identity = open_set(tmp_path).identity()
    assert open_set(tmp_path).identity() == identity
    assert open_set(tmp_path, cut='all').identity() != identity
    np.save(tmp_path / 'a.npy', 1 + make(2, frames=9))
    os.utime(tmp_path / 'a.npy', ns=(7, 7))
    assert open_set(tmp_path).identity() != identity


def test_a_folder_of_many_arrays_is_not_in_memory_at_once(tmp_path):
    stored_videos.load_array.cache_clear()
    for i in range(30):
        np.savez(tmp_path / f'{i:02}.npz', make(1, height=128, width=128))
    tracemalloc.start()
    clips = open_set(tmp_path)
    assert [values(clip)[0] for clip in clips] == [0] * 30
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 6 * 128 * 128 * 3
