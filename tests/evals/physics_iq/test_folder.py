"""The benchmark's own folders: which videos belong together, at which size they are compared, and what is missing."""

import numpy as np
import pytest

from tests.data.videos import encode
from vdm_jax.errors import UserError
from vdm_jax.evals.physics_iq.folder import find_views, resize, score_folder

VIEWS = ('perspective-left', 'perspective-center')
SCENE = 'trimmed-ball-falls.mp4'


def draw_square(step, frames=8, size=(64, 96)):
    """A bright square of 24x24 that moves by `step` px a frame."""
    video = np.full((frames, *size, 3), 40, np.uint8)
    for t in range(frames):
        video[t, 20:44, 8 + step * t : 32 + step * t] = 230
    return video


@pytest.fixture
def folders(tmp_path):
    """(real, generated): two takes of two views, of 8 frames at 4 a second; the generated videos are larger."""
    real = tmp_path / 'real'
    generated = tmp_path / 'generated'
    real.mkdir()
    generated.mkdir()
    for number, view in enumerate(VIEWS):
        for take in (1, 2):
            name = f'{2 * number + take:04d}_testing-videos_4FPS_{view}_take-{take}_{SCENE}'
            encode(real / name, draw_square(6 + take % 2), fps=4)
        large = draw_square(7).repeat(2, 1).repeat(2, 2)
        encode(generated / f'{2 * number + 1:04d}_{view}_{SCENE}', large, fps=4)
    (real / 'README.txt').write_text('not a video')
    encode(real / f'0009_testing-videos_8FPS_{VIEWS[0]}_take-1_other.mp4', draw_square(1), fps=8)
    return real, generated


def test_takes_and_generated_videos_are_found_by_their_names(folders):
    real, generated = folders
    views = list(find_views(real, generated, 4))
    assert len(views) == 2
    (take_1, take_2), sample = views[1]
    assert (take_1.name[:4], take_2.name[:4], sample.name) == ('0001', '0002', f'0001_perspective-left_{SCENE}')


def test_a_generated_video_that_is_the_first_take_is_perfect(folders):
    result = score_folder(*folders, fps=4, seconds=2)
    assert result.name == 'physics_iq_released_e457754_4fps_2' and result.settings['views'] == 2
    samples = result.figures['samples']
    take_2 = result.figures['take 2']
    assert samples['score'] == take_2['score'] == 100
    for name in ('spatial', 'spatiotemporal', 'weighted'):
        assert take_2[name] < samples[name] and samples[name] > 0.9
    assert samples['mse'] < 0.002 < take_2['mse']


def test_what_is_missing_is_named_in_a_line(folders):
    real, generated = folders
    with pytest.raises(UserError, match=r'real: no videos ID_testing-videos_30FPS_VIEW_take-1_SCENE\.mp4 are in it$'):
        score_folder(real, generated)
    with pytest.raises(UserError, match='nowhere: no videos'):
        score_folder('nowhere', generated, fps=4)
    with pytest.raises(UserError, match='take-1_.* has 8 frames: want 20 or more$'):
        score_folder(real, generated, fps=4)

    sample = generated / f'0003_{VIEWS[1]}_{SCENE}'
    sample.unlink()
    with pytest.raises(UserError, match=r'generated: 1 of 2 videos are missing, the first is 0003_perspective-center_'):
        score_folder(real, generated, fps=4, seconds=2)
    sample.write_bytes(b'no video')
    with pytest.raises(UserError, match='^[^\n]*0003_perspective-center_[^\n]*: [^\n]+$'):
        score_folder(real, generated, fps=4, seconds=2)
    (real / f'0002_testing-videos_4FPS_{VIEWS[0]}_take-2_{SCENE}').unlink()
    with pytest.raises(UserError, match='real: 1 videos are missing, the first is take-2 of .* perspective-left$'):
        score_folder(real, generated, fps=4, seconds=2)


@pytest.mark.parametrize('size', [(64, 96), (61, 95), (40, 41)])
def test_frames_are_resized_as_opencv_does(size):
    cv2 = pytest.importorskip('cv2')
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    height, width = size[0] // 4, size[1] // 4
    difference = resize(frame, height, width).astype(int) - cv2.resize(frame, (width, height))
    # OpenCV's weights have 11 binary digits; a quarter of whole pixels needs one.
    assert np.abs(difference).max() <= (0 if size == (64, 96) else 1)
