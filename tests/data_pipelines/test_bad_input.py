"""Files that somebody's folder holds, or that somebody planted there: each decodes or is broken for a reason."""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from vdm_jax.data.video import decode

av = pytest.importorskip('av')

from tests.data.videos import encode, encode_numbers, numbers  # noqa: E402, they want PyAV
from tests.data_pipelines import bad_videos  # noqa: E402
from tests.shared_data import CLIPS, needs_clips  # noqa: E402

NO_TEXT = os.fsdecode(b'caf\xe9.mp4')  # which the table writes otherwise
ROOT = pathlib.Path(__file__).parents[2]


def decode_all(path, **limits):
    """(the Video, all of its frames): probed and streamed."""
    video = decode.probe(path, decode.Limits(**limits))
    return video, np.stack([frame for _, frame in decode.stream(video)])


def test_every_bad_file_is_broken_for_its_own_reason_and_soon(tmp_path):
    reasons = bad_videos.broken(tmp_path) | bad_videos.not_files(tmp_path)
    outcomes = {}
    for name in reasons:
        began = time.monotonic()
        try:
            decode_all(tmp_path / name)
            outcomes[name] = 'it decodes'
        except decode.BrokenVideoError as error:
            outcomes[name] = str(error)
        assert time.monotonic() - began < 5, name
    assert len(outcomes) == 21
    assert {name: why for name, why in outcomes.items() if not re.search(reasons[name], why)} == {}


def test_every_strange_but_valid_file_decodes_to_its_frames(tmp_path, monkeypatch):
    names = bad_videos.sound(tmp_path)
    assert len(names) == 21
    monkeypatch.chdir(tmp_path)
    for name in names:
        for path in (tmp_path / name, name):  # by itself a name could be an option or an address
            video, frames = decode_all(path)
            np.testing.assert_array_equal(numbers(frames), np.arange(12), err_msg=name)
            np.testing.assert_array_equal(numbers(decode.read(video, [7, 2])), [7, 2], err_msg=name)


def test_a_file_that_names_another_is_not_followed(tmp_path):
    """FFmpeg itself would follow the reference, so the file is a valid one."""
    bad_videos.broken(tmp_path)
    with av.open(str(tmp_path / 'reference.mov'), options={'enable_drefs': '1', 'use_absolute_path': '1'}) as followed:
        assert sum(1 for _ in followed.decode(video=0)) == 12
    for path in (tmp_path / 'reference.mov', (tmp_path / 'reference.mov').read_bytes()):
        with pytest.raises(decode.BrokenVideoError, match='no frame decodes'):
            decode.probe(path)


@pytest.mark.parametrize('kind', bad_videos.PLAYLISTS)
@pytest.mark.parametrize('suffix', ['mp4', 'm3u8', 'ffconcat', 'sdp', 'mpd'])
def test_a_playlist_is_no_video_under_any_name(tmp_path, kind, suffix):
    good = encode(tmp_path / 'good.mp4', encode_numbers(3))
    path = tmp_path / f'list.{suffix}'
    path.write_text(bad_videos.PLAYLISTS[kind].format(good))
    with pytest.raises(decode.BrokenVideoError):
        decode.probe(path)


def test_a_file_without_permission_to_read_is_broken(tmp_path):
    path = encode(tmp_path / 'mine.mp4', encode_numbers(3))
    path.chmod(0)
    code = 'import os, sys, av; from vdm_jax.data.video import decode\n'
    code += 'if os.geteuid() == 0: os.setegid(65534); os.seteuid(65534)\n'
    code += 'try: decode.probe(sys.argv[1])\nexcept decode.BrokenVideoError as error: print(error)'
    done = subprocess.run([sys.executable, '-c', code, str(path)], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ('Permission denied\n', '')


def test_too_many_open_files_are_not_the_fault_of_a_file(tmp_path):
    path = encode(tmp_path / 'good.mp4', encode_numbers(3))
    code = 'import resource, sys; from vdm_jax.data.video import decode; decode.probe(sys.argv[1])\n'
    code += 'resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3)); decode.probe(sys.argv[1])'
    done = subprocess.run([sys.executable, '-c', code, str(path)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and 'Too many open files' in done.stderr and 'BrokenVideoError' not in done.stderr


def test_frames_that_grow_beyond_the_limit_midway_are_not_made(tmp_path):
    bad_videos.sound(tmp_path)
    path = tmp_path / 'other_size.mkv'
    assert decode_all(path, frame_pixels=64 * 128)[1].shape == (12, 32, 64, 3)
    with pytest.raises(decode.BrokenVideoError, match='larger than|beyond the limit|damaged|does not decode'):
        decode_all(path, frame_pixels=64 * 32)


def test_interlaced_frames_are_noted_and_deinterlaced_on_request(tmp_path):
    """Lines of one moment are black where those of the other are white: a comb, until it is deinterlaced."""
    comb = np.zeros((10, 48, 64, 3), np.uint8)
    for i in range(10):
        for field in (0, 1):
            x = (2 * i + field) * 3 % 56
            comb[i, field::2, x : x + 8] = 255

    def teeth(frames):
        return np.abs(np.diff(frames.astype(float), axis=1)).mean()

    video = decode.probe(encode(tmp_path / 'a.mp4', comb, **{'x264-params': 'tff=1', 'crf': '5'}))
    deinterlaced = np.stack([frame for _, frame in decode.stream(video, deinterlace=True)])
    assert video.interlaced and deinterlaced.shape == comb.shape
    assert teeth(np.stack([frame for _, frame in decode.stream(video)])) > 20 and teeth(deinterlaced) < 1
    for first, stop in ((3, 7), (9, 10)):
        assert [number for number, _ in decode.stream(video, first, stop, True)] == list(range(first, stop))
    video = decode.probe(encode(tmp_path / 'b.mp4', encode_numbers(4)))
    assert not video.interlaced
    np.testing.assert_array_equal(numbers(np.stack([f for _, f in decode.stream(video, deinterlace=True)])), range(4))


def test_titles_that_are_not_text_break_no_video(tmp_path):
    path = encode(tmp_path / 'a.mkv', encode_numbers(4))
    with av.open(str(path)) as plain, av.open(str(tmp_path / 'titled.mkv'), 'w') as titled:
        titled.metadata['title'] = 'PLACE'
        stream = titled.add_stream_from_template(plain.streams.video[0])
        for packet in plain.demux(video=0):
            if packet.size:
                packet.stream = stream
                titled.mux(packet)
    content = (tmp_path / 'titled.mkv').read_bytes().replace(b'PLACE', b'caf\xe9s')
    assert b'caf\xe9s' in content
    assert decode.probe(content).frames == 4


SMALL = (
    'carphone_distorted.mp4', 'rotated_90.mov', 'bunny_short.webm', 'realshort.mp4', 'test.avi', 'carphone.mp4',
    'newtonscradle.gif', 'pigs.gif', 'v_CricketShot_g04_c01.gif',
)  # fmt: skip


def run_flips(files, cases, processes, seconds):
    """{case: what came of it}, of all cases; fails on a crash, a hang, or anything but BrokenVideoError."""
    command = [sys.executable, '-m', 'tests.data_pipelines.flips']
    running = [
        subprocess.Popen(
            [*command, str(first), str(cases), str(processes), *map(str, files)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {'PYTHONPATH': '.'},
        )
        for first in range(processes)
    ]  # fmt: skip
    outcomes = {}
    for process in running:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f'it hangs: {process.communicate()[0].splitlines()[-1]}') from None
        last = (out.splitlines() or ['nothing'])[-1]
        assert process.returncode == 0, f'exit code {process.returncode} in {last}: {err[-2000:]}'
        outcomes |= dict(line.split(' ', 1) for line in out.splitlines())
    assert len(outcomes) == cases
    return outcomes


@needs_clips
def test_50_damaged_clips_decode_or_are_broken():
    outcomes = run_flips([CLIPS / name for name in SMALL], 50, 2, 120)
    fates = collections.Counter(line.split()[1] for line in outcomes.values())
    assert fates['broken'] > 15 and fates['decoded'] > 10 and fates.total() == 50


@pytest.mark.slow
@needs_clips
def test_1000_damaged_clips_decode_or_are_broken_and_always_in_the_same_way():
    files = sorted(CLIPS.iterdir())
    outcomes = run_flips(files, 1000, 2, 3000)
    fates = collections.Counter(line.split()[1] for line in outcomes.values())
    assert fates['broken'] > 300 and fates['decoded'] > 200
    again = run_flips(files, 300, 1, 3000)
    assert {case: outcomes[case] for case in again} == again


def test_a_build_of_all_of_them_accounts_for_each_and_keeps_the_good_ones(tmp_path, capsys):
    pytest.importorskip('pebble')
    from pyarrow import parquet

    from data_pipelines.__main__ import main

    source = tmp_path / 'source'
    out = tmp_path / 'set'
    source.mkdir()
    bad = bad_videos.broken(source) | bad_videos.not_files(source)
    good = [f'{i}.mp4' for i in range(2)]
    for i, name in enumerate(good):
        encode(source / name, np.roll(encode_numbers(16), i, 0), gop=8)
    strange = set(bad_videos.sound(source)) - bad.keys() - set(good)
    del bad['folder.mp4']  # which is no file, but a place where files may be
    recipe = ['--recipe.clips.min_seconds=0.1', '--recipe.duplicates.drop=false']  # they all show the same
    assert main(['build', f'--source={source}', f'--out={out}', '--workers=0', *recipe]) == 0
    rows = [row for row in parquet.read_table(out / 'inputs.parquet').to_pylist() if row['key'] is None]
    fates = {row['input']: row['fate'] for row in rows}
    assert len(rows) == len(fates) == len(bad) + len(good) + len(strange)
    assert [name for name in bad if fates[name] != 'broken'] == []
    assert [name for name in strange - {NO_TEXT} if fates[name] == 'broken'] == []
    assert [fates[name] for name in good] == ['kept', 'kept']
    assert all(row['detail'] for row in rows if row['fate'] == 'broken')
    manifest = json.loads((out / 'manifest.json').read_text())
    assert manifest['inputs'] == {fate: list(fates.values()).count(fate) for fate in ('kept', 'dropped', 'broken')}
    capsys.readouterr()
    assert main(['verify', str(out)]) == 0 and main(['inspect', str(out)]) == 0
    assert not any(line.startswith('break') for line in capsys.readouterr().out.splitlines())


def test_inspect_has_a_line_for_each_of_them(tmp_path, capsys):
    from data_pipelines.__main__ import main

    bad = bad_videos.broken(tmp_path) | bad_videos.not_files(tmp_path)
    sound = set(bad_videos.sound(tmp_path)) - bad.keys()
    assert main(['inspect', str(tmp_path), '--frames=4']) == 0
    *lines, _, totals, passed_over = capsys.readouterr().out.splitlines()
    assert passed_over.startswith('passed over: ') and passed_over.endswith(' hidden')
    assert totals.startswith(f'{len(bad) - 1 + len(sound)} files: {len(sound)} ok, 0 short, {len(bad) - 1} broken')
    assert len(lines) == len(bad) + len(sound)  # and a head, but none of folder.mp4
