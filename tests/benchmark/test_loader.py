import numpy as np
import pytest

from tests.data.videos import encode, encode_numbers
from vdm_jax.benchmark import loader
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.order.order import clip_generator
from vdm_jax.data.video_folder import VideoFolder
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.data.worlds.synthetic import Synthetic

pytest.importorskip('av')


@pytest.fixture
def folder(tmp_path):
    for number, codec in enumerate(['libx264', 'mpeg4', 'libx264']):
        encode(tmp_path / f'{number}.{"avi" if codec == "mpeg4" else "mp4"}', encode_numbers(30), codec=codec)
    return VideoFolder(path=str(tmp_path), frames=4, pixels=32, threads=2)


def test_bare_pyav_reads_the_frames_that_the_loader_reads(folder):
    """Of a mixture too; what keeps frames in memory is turned off."""
    source = Mixture((folder, folder), threads=2).open().without_cache()
    assert [each.cache_mb for each in source.source.sources] == [0, 0] and folder.cache_mb
    order = source.order(4, seed=3)
    plan = loader.planned_reads(source, order, 2, 5)
    assert len(plan) == 12 and len({read.video.path for read in plan}) == 3
    for k, read in enumerate(plan):
        i, position = map(int, order.locate(2 + k // 4, k % 4))
        clip = source.draw(i, clip_generator(3, position))
        np.testing.assert_array_equal(read.frames()[:, :, 16:48], clip['video'])


def test_rates_are_of_the_loader_and_of_bare_pyav_where_there_are_videos(folder, monkeypatch):
    monkeypatch.setattr(loader, 'SHORT', 0.01)
    rates = loader.measure(folder.open(), turns=2)
    assert set(rates) == {'loader_clips_per_second', 'pyav_clips_per_second', 'loader_over_pyav'}
    assert all(value > 0 for value in rates.values())
    assert set(loader.measure(BouncingBalls(), turns=1)) == {'loader_clips_per_second'}
    assert loader.measure(Synthetic().open()) == {}
