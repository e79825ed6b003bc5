import io
import sys

import numpy as np
import pytest

from vdm_jax import media
from vdm_jax.data.video import decode
from vdm_jax.errors import UserError

Image = pytest.importorskip('PIL.Image')


def moving_square(frames=6, height=32, width=48):
    video = np.full((frames, height, width, 3), (30, 60, 90), np.uint8)
    for t in range(frames):
        video[t, 8:20, 4 * t : 4 * t + 12] = (220, 40, 40)
    return video


def frames_of(file):
    image = Image.open(file)
    frames = []
    for i in range(getattr(image, 'n_frames', 1)):
        image.seek(i)
        frames.append(np.asarray(image.convert('RGB')))
    return np.stack(frames), image.info


@pytest.mark.parametrize('size', [(32, 48), (33, 47), (1, 1)])
def test_mp4_comes_back_nearly_the_same(tmp_path, size):
    pytest.importorskip('av')
    video = moving_square(6, *size)
    media.write_mp4(tmp_path / 'new' / 'a.mp4', video, fps=12.5)
    video_file = decode.probe(tmp_path / 'new' / 'a.mp4')
    assert (video_file.frames, video_file.fps) == (6, 12.5)
    assert (video_file.height, video_file.width) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    back = decode.read(video_file, range(6))[:, : size[0], : size[1]]
    assert np.abs(back.astype(float) - video).mean() < 6


def test_gif_has_the_frames_the_colours_and_the_time(tmp_path):
    video = moving_square()
    media.write_gif(tmp_path / 'a.gif', video, fps=10, upscale=2)
    back, info = frames_of(tmp_path / 'a.gif')
    np.testing.assert_array_equal(back, video.repeat(2, 1).repeat(2, 2))
    assert info['duration'] == 100 and info['loop'] == 0
    assert frames_of(io.BytesIO(media.gif_bytes(video, fps=60)))[1]['duration'] == 20


def test_gif_of_many_colours_stays_close():
    video = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    back, _ = frames_of(io.BytesIO(media.gif_bytes(video)))
    assert np.abs(back.astype(float) - video).mean() < 12


def test_webp_is_lossless(tmp_path):
    video = np.random.default_rng(0).integers(0, 256, (4, 15, 17, 3), np.uint8)
    media.write_webp(tmp_path / 'a.webp', video, fps=8)
    np.testing.assert_array_equal(frames_of(tmp_path / 'a.webp')[0], video)


def test_strip_has_a_row_a_clip_and_a_column_a_frame(tmp_path):
    videos = np.stack([moving_square(3, 16, 16), 255 - moving_square(3, 16, 16)])
    media.write_strip(tmp_path / 'strip.png', videos)
    (strip,), _ = frames_of(tmp_path / 'strip.png')
    assert strip.shape == (2 * 66 - 2, 3 * 65 - 1, 3)  # 16 pixels are shown as 64
    np.testing.assert_array_equal(strip[66::4, 130::4], videos[1, 2])
    media.write_strip(tmp_path / 'named.png', videos, labels=['first', 'second'], scale=4)
    (named,), _ = frames_of(tmp_path / 'named.png')
    assert named.shape[1] > strip.shape[1]
    np.testing.assert_array_equal(named[:, -strip.shape[1] :], strip)


def test_one_frame_works_everywhere(tmp_path):
    pytest.importorskip('av')
    image = moving_square(1)
    for name, write in (('a.mp4', media.write_mp4), ('a.gif', media.write_gif), ('a.webp', media.write_webp)):
        write(tmp_path / name, image)
        assert (tmp_path / name).stat().st_size > 0
    media.write_strip(tmp_path / 'a.png', image[None])
    assert all(len(frames_of(tmp_path / name)[0]) == 1 for name in ('a.gif', 'a.webp', 'a.png'))


def test_grid_puts_videos_side_by_side():
    videos = np.arange(5, dtype=np.uint8)[:, None, None, None, None] * np.ones((1, 2, 4, 6, 3), np.uint8)
    tiled = media.grid(videos)
    assert tiled.shape == (2, 8, 18, 3)
    assert tiled[1, ::4, ::6, 0].tolist() == [[0, 1, 2], [3, 4, 0]]
    assert media.grid(videos, columns=5).shape == (2, 4, 30, 3)


def test_what_is_no_video_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'uint8 \(T, H, W, 3\)'):
        media.write_gif(tmp_path / 'a.gif', np.zeros((2, 4, 4, 3), np.float32))


@pytest.mark.parametrize(('missing', 'write'), [('av', media.write_mp4), ('PIL', media.write_gif)])
def test_a_missing_library_is_one_line(tmp_path, monkeypatch, missing, write):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r"pip install 'vdm_jax\[video\]'"):
        write(tmp_path / 'a', moving_square())


def test_any_path_of_etils_will_do(tmp_path):
    from etils import epath

    media.write_gif(epath.Path(tmp_path) / 'deep' / 'a.gif', moving_square())
    assert (tmp_path / 'deep' / 'a.gif').exists()


def test_grey_videos_are_written_as_coloured_ones_of_three_equal_channels(tmp_path):
    grey = moving_square()[..., :1]
    coloured = grey.repeat(3, -1)
    assert media.gif_bytes(grey) == media.gif_bytes(coloured)
    for name, videos in (('grey', grey), ('coloured', coloured)):
        media.write_samples(tmp_path / name, 'x', [videos[None]] * 2, ['a'], ['left', 'right'])
    for ending in ('gif', 'png'):
        assert (tmp_path / f'grey/x.{ending}').read_bytes() == (tmp_path / f'coloured/x.{ending}').read_bytes()
