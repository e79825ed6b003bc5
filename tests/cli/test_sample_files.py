"""Files of samples: what is written of which video, while the next ones are made, and what a disk that is full does."""

import errno
import json
import os
import resource
import threading
import time

import numpy as np
import pytest

from vdm_jax import media
from vdm_jax.cli import sample_files
from vdm_jax.cli.sample_files import Sample, SampleFiles
from vdm_jax.data.video import decode
from vdm_jax.errors import Failure, UserError

Image = pytest.importorskip('PIL.Image')
pytest.importorskip('av')


def samples(count, first=0, frames=3, size=16, channels=3):
    rng = np.random.default_rng(first)
    videos = rng.integers(0, 256, (count, frames, size, size, channels), np.uint8)
    return [Sample(first + i, video, label=i % 2, prompt=f'bäll {i}', seed=7) for i, video in enumerate(videos)]


def index_of(folder):
    return [json.loads(line) for line in (folder / 'samples.jsonl').read_text().splitlines()]


def test_each_video_has_a_file_of_its_own_in_every_format(tmp_path):
    all_samples = [*samples(2), *samples(1, first=2)]
    with SampleFiles(tmp_path, 'x', ('mp4', 'gif', 'npy', 'frames'), fps=23.976) as files:
        files.put(all_samples[:2])
        files.put(all_samples[2:])
        lines = files.close()
    folder = tmp_path / 'x'
    assert lines[0] == f'{folder}/samples.jsonl' and lines[1:] == [
        f'{folder}/: 3 {kind}' for kind in ('mp4', 'gif', 'npy', 'frames')
    ]
    rows = index_of(folder)
    assert len(rows) == 12 and rows[0] == {
        'file': '000000.mp4', 'number': 0, 'seed': 7, 'label': 0, 'prompt': 'bäll 0'
    }  # fmt: skip
    assert {row['file'] for row in rows} | {'samples.jsonl'} == {path.name for path in folder.iterdir()}
    for sample in all_samples:
        name = f'{sample.number:06}'
        back = np.load(folder / f'{name}.npy', allow_pickle=False)
        np.testing.assert_array_equal(back, sample.video)
        assert back.dtype == np.uint8
        frames = [np.asarray(Image.open(folder / name / f'{i:03}.png')) for i in range(3)]
        np.testing.assert_array_equal(frames, sample.video)
        video = decode.probe(folder / f'{name}.mp4')
        assert (video.frames, video.height) == (3, 16) and video.fps == pytest.approx(23.976)
        with Image.open(folder / f'{name}.gif') as gif:
            assert gif.n_frames == 3 and gif.info['duration'] == 40  # 1/23.976 s in whole hundredths


def test_another_format_is_added_to_the_index(tmp_path):
    for formats in (('npy',), ('gif', 'npy'), ('frames',)):
        with SampleFiles(tmp_path, 'x', formats) as files:
            files.put(samples(2))
            files.close()
    names = [row['file'] for row in index_of(tmp_path / 'x')]
    assert sorted(names) == ['000000', '000000.gif', '000000.npy', '000001', '000001.gif', '000001.npy']


@pytest.mark.parametrize('there', [b'', b'no JSON', b'[1]\n', b'\xff\n'])
def test_an_invalid_index_is_written_again(there, tmp_path):
    (tmp_path / 'x').mkdir()
    (tmp_path / 'x' / 'samples.jsonl').write_bytes(there)
    with SampleFiles(tmp_path, 'x', ('npy',)) as files:
        files.put(samples(1))
        files.close()
    assert [row['file'] for row in index_of(tmp_path / 'x')] == ['000000.npy']


def test_a_folder_that_is_removed_or_replaced_meanwhile_is_no_success(tmp_path):
    for replaced in (False, True):
        with pytest.raises(Failure, match='x: was removed or replaced'), SampleFiles(tmp_path, 'x', ('npy',)) as files:
            files.put(samples(2))
            files._wait(0)
            (tmp_path / 'x').rename(tmp_path / f'elsewhere{replaced}')
            if replaced:
                (tmp_path / 'x').mkdir()
            files.put(samples(2, first=2))
            files.close()


def test_nothing_is_written_through_a_link_in_the_place_of_a_folder(tmp_path):
    (tmp_path / 'other').mkdir()
    (tmp_path / 'x').symlink_to(tmp_path / 'other')
    with pytest.raises(UserError, match='x in it is a link'):
        SampleFiles(tmp_path, 'x', ('npy',))
    (tmp_path / 'y').mkdir()
    (tmp_path / 'y' / '000000').symlink_to(tmp_path / 'other')
    with pytest.raises(UserError, match='000000 in it is a link'), SampleFiles(tmp_path, 'y', ('frames',)) as files:
        files.put(samples(1))
        files.close()
    assert not list((tmp_path / 'other').iterdir())


@pytest.mark.parametrize('prompt', ['two\nlines', '\r\n', '', 'a\tb\x0bc'])
def test_prompts_of_any_characters_are_titles(prompt, tmp_path):
    video = samples(1)[0].video
    with SampleFiles(tmp_path, 'x') as files:
        files.put([Sample(0, video, prompt=prompt)])
        assert len(files.close()) == 3


def test_grey_videos_and_single_frames_have_files_too(tmp_path):
    (sample,) = samples(1, frames=1, channels=1)
    with SampleFiles(tmp_path, 'x', sample_files.FORMATS) as files:
        files.put([sample])
        files.close()
    np.testing.assert_array_equal(np.load(tmp_path / 'x' / '000000.npy'), sample.video)
    assert (tmp_path / 'x' / '000000' / '000.png').exists() and (tmp_path / 'x.gif').exists()


def test_the_grid_shows_only_the_first_videos_and_reports_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_files, 'MOST_IN_GRID', 4)
    finite_samples = [sample for sample in samples(6, size=64) if sample.number != 1]  # which was not finite
    with SampleFiles(tmp_path, 'x') as files:
        files.put(finite_samples[:2])
        files.put(finite_samples[2:])
        lines = files.close()
    assert lines == [*(f'{tmp_path}/x.{ending}' for ending in ('mp4', 'gif', 'png')), lines[-1]]
    assert 'first 4 of 6 videos' in lines[-1] and {path.name for path in tmp_path.iterdir()} == {
        'x.mp4',
        'x.gif',
        'x.png',
    }
    with Image.open(tmp_path / 'x.gif') as gif:
        assert gif.size == (128, 128)  # three videos in two rows


def test_two_sets_stand_side_by_side_and_have_folders_of_their_own(tmp_path):
    with SampleFiles(tmp_path, 'x', ('grid', 'npy'), titles=('a', 'b'), folders=('workdir', 'weights')) as files:
        files.put(samples(2), 0)
        files.put(samples(1, first=1), 1)  # its number 0 is not finite
        files.close()
    assert sorted(row['file'] for row in index_of(tmp_path / 'x')) == [
        'weights/000001.npy', 'workdir/000000.npy', 'workdir/000001.npy'
    ]  # fmt: skip
    with Image.open(tmp_path / 'x.gif') as gif:
        assert gif.size == (2 * (64 + 8), 64 + 16)


def test_videos_are_written_beside_the_next_batch_and_none_is_kept(tmp_path, monkeypatch):
    """A batch waits until the one before it is written; nothing is written by the thread that makes videos."""
    free = threading.Event()
    threads = []

    def write(place, video, fps):
        threads.append(threading.current_thread())
        assert free.wait(30)

    monkeypatch.setitem(sample_files.WRITERS, 'npy', write)
    with SampleFiles(tmp_path, 'x', ('npy',)) as files:
        files.put(samples(20))  # more than MOST_WAITING: all of them wait
        second = threading.Thread(target=files.put, args=(samples(20, first=20),))
        second.start()
        second.join(0.2)
        assert second.is_alive() and len(threads) <= 4
        free.set()
        second.join(30)
        files.close()
    assert len(threads) == 40 and threading.main_thread() not in threads and second not in threads


@pytest.mark.parametrize('formats', [('grid',), ('npy',), ('frames', 'mp4')], ids=','.join)
def test_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path, monkeypatch, formats):
    written = []

    def fsync(descriptor):
        written.append(descriptor)
        if len(written) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', fsync)
    with pytest.raises(Failure, match=rf'{tmp_path}/x\S*: cannot be written \(No space left on device\)'):
        with SampleFiles(tmp_path, 'x', formats) as files:
            for first in range(0, 40, 8):
                files.put(samples(8, first))
            files.close()
    for path in tmp_path.rglob('*'):
        assert not path.name.endswith('.half')
        if path.suffix == '.npy':
            assert np.load(path).shape == (3, 16, 16, 3)  # every file that is there is complete


def test_what_was_there_before_stands_where_a_file_cannot_be_written(tmp_path, monkeypatch):
    media.write_png(tmp_path / 'a.png', samples(1)[0].video[0])
    before = (tmp_path / 'a.png').read_bytes()

    def replace(*_):
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(os, 'replace', replace)
    with pytest.raises(OSError, match='Input/output'):
        media.write_png(tmp_path / 'a.png', samples(1, first=1)[0].video[0])
    assert (tmp_path / 'a.png').read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ['a.png']


@pytest.mark.parametrize('text', ['avi', '', 'grid,', 'mp4;gif'])
def test_a_format_that_is_not_known_is_named(text):
    with pytest.raises(UserError, match=r'^--format=.* is none of grid, mp4, gif, npy, frames, vbench$'):
        sample_files.read_formats(text)
    assert sample_files.read_formats('gif,grid, gif') == ('grid', 'gif')


@pytest.mark.parametrize('fps', [0, -8, float('nan'), float('inf'), 1e-9])
def test_frames_a_second_are_a_number_that_files_can_have(fps):
    with pytest.raises(UserError, match='--fps=.*: want 0.1 to 1000 frames a second'):
        sample_files.check_fps(fps, '--fps')


def natural(count, frames=16, side=256):
    """Moving colours with grain, as videos have them: uint8 (count, frames, side, side, 3)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    videos = np.empty((count, frames, side, side, 3), np.uint8)
    for video in videos:
        waves = rng.uniform(1, 9, (4, 2))
        phases = rng.uniform(0, 6.28, (4, 3))
        speeds = rng.uniform(-0.5, 0.5, 4)
        grain = rng.normal(0, 3, (side, side, 3)).astype(np.float32)
        for t, frame in enumerate(video):
            ramps = 6.28 * (waves @ np.stack([x, y]).reshape(2, -1)).reshape(4, side, side, 1)
            moved = np.sin(ramps + phases[:, None, None] + (speeds * t)[:, None, None, None])
            frame[:] = np.clip(127 + 30 * moved.sum(0) + grain, 0, 255)
    return videos


@pytest.mark.slow
@pytest.mark.parametrize('kind', sample_files.FORMATS)
def test_128_clips_of_256_pixels_are_written_in_a_minute(tmp_path, kind):
    """The bar is 30 s on 2 quiet cores; a machine at work on other things has twice as long."""
    batches = np.split(natural(128), 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    with SampleFiles(tmp_path, 'x', (kind,)) as files:
        for number, videos in enumerate(batches):
            files.put([Sample(32 * number + i, video, prompt=f'{32 * number + i}') for i, video in enumerate(videos)])
        files.close()
    seconds = time.monotonic() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20  # GB
    print(f'{kind}: {seconds:.1f} s, {grown:.2f} GB more')
    assert seconds < 60 and grown < 3
