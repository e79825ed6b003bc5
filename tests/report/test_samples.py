"""Contact sheets are cut into the clips that they were made of, and sprite sheets hold these."""

import io

import numpy as np
import pytest
from etils import epath
from PIL import Image

from tests.report.small_runs import make_videos, write_samples
from vdm_jax import media
from vdm_jax.errors import UserError
from vdm_jax.report.samples import MOST_STEPS, read_samples
from vdm_jax.report.sprites import Setting, encode_sheet, encode_sheets
from vdm_jax.report.strips import read_strip

SHAPES = [(1, 1, 16, 16), (4, 8, 16, 16), (3, 5, 10, 23), (2, 3, 64, 48), (5, 2, 130, 70), (1, 4, 2, 2)]


def without_description(content):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).save(buffer, 'PNG')
    return buffer.getvalue()


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('labels', [False, True])
def test_a_sheet_that_describes_itself_is_cut_exactly(tmp_path, shape, labels):
    videos = make_videos(*shape)
    names = [f'label {i}' for i in range(len(videos))] if labels else None
    media.write_strip(tmp_path / 'a.png', videos, names, fps=12.5)
    clips = read_strip((tmp_path / 'a.png').read_bytes())
    np.testing.assert_array_equal(clips.videos, videos)
    assert clips.fps == 12.5


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('knows_frames', [False, True])
def test_a_sheet_of_an_older_version_is_cut_along_its_lines(tmp_path, shape, knows_frames):
    videos = make_videos(*shape)
    media.write_strip(tmp_path / 'a.png', videos)
    content = without_description((tmp_path / 'a.png').read_bytes())
    np.testing.assert_array_equal(read_strip(content, shape[1] if knows_frames else None).videos, videos)


def test_grey_videos_of_an_untrained_network_are_cut_by_the_config(tmp_path):
    """Grey frames and grey lines are one; the number of frames is known, and any cut shows the same."""
    media.write_strip(tmp_path / 'a.png', np.full((4, 8, 16, 16, 3), media.SEPARATOR, np.uint8))
    videos = read_strip(without_description((tmp_path / 'a.png').read_bytes()), 8).videos
    assert videos.shape[1] == 8 and (videos == media.SEPARATOR).all()


@pytest.mark.parametrize('content', [b'', b'no picture', b'\x89PNG\r\n\x1a\n' + b'\0' * 40])
def test_what_is_no_picture_is_refused_in_one_line(content):
    with pytest.raises(UserError, match='cannot be read as PNG'):
        read_strip(content)


def test_pictures_that_are_no_sheets_are_refused(tmp_path):
    media.write_png(
        tmp_path / 'a.png',
        make_videos(1, 1, 50, 51)[0, 0],
        {media.STRIP: '{"videos": 7, "frames": 3, "scale": 1, "left": 0}'},
    )
    with pytest.raises(UserError, match='7 clips of 3 frames'):
        read_strip((tmp_path / 'a.png').read_bytes())
    media.write_png(tmp_path / 'b.png', make_videos(1, 1, 50, 51)[0, 0], {media.STRIP: '[' * 10_000})
    assert read_strip((tmp_path / 'b.png').read_bytes()).videos.shape[:2] == (1, 1)  # one clip of one frame


def test_a_picture_that_would_fill_the_memory_is_not_opened(monkeypatch):
    monkeypatch.setattr('vdm_jax.report.strips.MOST_PIXELS', 2**14)
    buffer = io.BytesIO()
    Image.new('1', (2**7, 2**7 + 1)).save(buffer, 'PNG')
    with pytest.raises(UserError, match='has 128x129 pixels, and at most 16,384 are read'):
        read_strip(buffer.getvalue())


def cut(sheet):
    """Return the frames of a sprite sheet as the page cuts them, (N, T, H, W, 3)."""
    picture = np.asarray(Image.open(io.BytesIO(sheet.content)).convert('RGB'))
    frames = []
    for number in range(sheet.videos * sheet.frames):
        y = number // sheet.columns * sheet.height
        x = number % sheet.columns * sheet.width
        frames.append(picture[y : y + sheet.height, x : x + sheet.width])
    return np.stack(frames).reshape(sheet.videos, sheet.frames, sheet.height, sheet.width, 3)


@pytest.mark.parametrize('shape', [(4, 8, 16, 16), (1, 1, 1, 1), (2, 5, 7, 4000), (300, 2, 64, 8), (1, 700, 2, 30)])
def test_a_lossless_sheet_holds_every_pixel(shape):
    videos = make_videos(*shape)
    sheet = encode_sheet(videos, Setting(None))
    np.testing.assert_array_equal(cut(sheet), videos)
    assert max(Image.open(io.BytesIO(sheet.content)).size) <= 16_383


def test_a_shrunk_sheet_holds_means():
    videos = np.zeros((1, 2, 5, 9, 3), np.uint8)
    videos[:, 1, 0:2, 0:2] = [[[10] * 3, [20] * 3], [[30] * 3, [40] * 3]]
    shrunk = cut(encode_sheet(videos, Setting(None, 2)))
    assert shrunk.shape == (1, 2, 2, 4, 3) and shrunk[0, 1, 0, 0].tolist() == [25] * 3 and not shrunk[0, 0].any()
    assert cut(encode_sheet(videos, Setting(None, 16))).shape == (1, 2, 1, 1, 3)


def test_the_best_setting_that_fits_is_taken():
    noise = [make_videos(4, 4, 48, 48, seed) for seed in range(5)]
    load = [lambda videos=videos: videos for videos in noise]
    sizes = []
    qualities = []
    for budget in (10**7, 60_000, 6_000, 1_500):
        sheets, setting = encode_sheets(load, budget)
        sizes.append(sum(len(sheet.content) for sheet in sheets))
        qualities.append((-setting.shrink, setting.quality or 100))
        assert len(sheets) == 5 and sizes[-1] <= budget
    assert qualities == sorted(qualities, reverse=True) and qualities[0] == (-1, 100) and len(set(qualities)) == 4


def test_only_so_many_steps_are_shown_and_the_page_says_so(tmp_path):
    for step in range(MOST_STEPS + 5):
        write_samples(tmp_path, step, make_videos(2, 2, 8, 8))
    samples = read_samples(epath.Path(tmp_path / 'samples'), None, 10**6)
    assert len(samples.steps) == MOST_STEPS and samples.available == MOST_STEPS + 5
    assert samples.steps[0].step == 0 and samples.steps[-1].step == MOST_STEPS + 4
    assert samples.describe_reduction() == [f'{MOST_STEPS} of {MOST_STEPS + 5} steps are shown.']


def test_a_damaged_sheet_is_named_and_the_others_are_shown(tmp_path):
    for step in (1, 2, 3):
        write_samples(tmp_path, step, make_videos(2, 2))
    path = tmp_path / 'samples' / 'step_000002.png'
    path.write_bytes(path.read_bytes()[:200])
    (tmp_path / 'samples' / 'step_000009_num8_steps10.png').write_bytes(b'of the command sample')
    samples = read_samples(epath.Path(tmp_path / 'samples'), 2, 10**6)
    assert [each.step for each in samples.steps] == [1, 3]
    assert len(samples.problems) == 1 and samples.problems[0].startswith('samples/step_000002.png: cannot be read')


def test_steps_of_several_sizes_have_sheets_of_their_own(tmp_path):
    for step, shape in enumerate([(2, 2, 8, 8), (3, 4, 16, 12)]):
        write_samples(tmp_path, step, make_videos(*shape))
    steps = read_samples(epath.Path(tmp_path / 'samples'), 4, 10**6).steps
    shapes = [(each.sheet.videos, each.sheet.frames, each.sheet.height, each.sheet.width) for each in steps]
    assert shapes == [(2, 2, 8, 8), (3, 4, 16, 12)]


@pytest.mark.slow
@pytest.mark.parametrize('shape', [(16, 16, 64, 64), (4, 16, 256, 256)])
def test_twenty_grids_fit_the_budget(tmp_path, shape):
    """Noise is the worst there is."""
    draw = np.random.default_rng(0)
    videos = draw.integers(0, 256, shape + (3,), np.uint8)
    sheets, _ = encode_sheets([lambda: videos] * 20, 4_500_000)
    assert sum(len(sheet.content) for sheet in sheets) <= 4_500_000
