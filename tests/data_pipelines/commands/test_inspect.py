import json
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines.__main__ import main
from vdm_jax import media

pytest.importorskip('av')


@pytest.fixture
def folder(tmp_path):
    """A good video, a short one below, one cut off, and an empty file."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 33, 48, 3), np.uint8)
    media.write_mp4(tmp_path / 'good.mp4', noise, 10)
    media.write_gif(tmp_path / 'sub' / 'short.gif', noise[:4], 10)
    content = (tmp_path / 'good.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(content[: len(content) // 2])
    (tmp_path / 'empty.avi').write_bytes(b'')
    return tmp_path


def test_json_has_the_contents_of_each_file(folder, capsys):
    assert main(['inspect', str(folder), '--json']) == 0
    report = json.loads(capsys.readouterr().out)
    files = {row['file']: row for row in report['files']}
    assert files['good.mp4'] | {'bytes': 0} == {
        'file': 'good.mp4',
        'codec': 'h264',
        'frames': 20,
        'fps': 10.0,
        'size': [48, 34],
        'rotation': 0,
        'seconds': 2.0,
        'verdict': 'ok',
        'reason': None,
        'bytes': 0,
        'mirrored': False,
        'pixel_aspect': 1.0,
        'start': 0.0,
        'stream': 0,
        'video_streams': 1,
    }
    assert {name: row['verdict'] for name, row in files.items()} == {
        'cut.mp4': 'broken',
        'empty.avi': 'broken',
        'good.mp4': 'ok',
        'sub/short.gif': 'short',
    }
    assert 'cut off' in files['cut.mp4']['reason'] and files['sub/short.gif']['reason'] == '4 of 16 frames'
    assert report['totals']['frames'] == 24 and report['totals']['broken'] == 2


def test_the_table_has_a_line_a_file_and_totals(folder, capsys):
    assert main(['inspect', str(folder), '--frames', '4', '--fast']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ['file', 'codec'] and len(lines) == 7
    assert lines[-1].startswith('4 files: 2 ok, 0 short, 2 broken; 24 frames, 2.4 s')


def test_what_is_passed_over_is_named(folder, capsys):
    """The table's files and totals are those of the videos only."""
    (folder / 'elsewhere').mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 3), np.uint8)
    media.write_gif(folder / 'elsewhere' / 'a.gif', noise, 10)
    (folder / 'videos').mkdir()
    for name in ('good.mp4', 'cut.mp4'):
        (folder / name).rename(folder / 'videos' / name)
    for name in ('good.txt', 'a.ogv', 'b.ogv', '.hidden.mp4'):
        (folder / 'videos' / name).write_text('a caption')
    (folder / 'videos' / 'linked').symlink_to(folder / 'elsewhere')
    (folder / 'videos' / 'blob.gif').symlink_to(folder / 'elsewhere' / 'a.gif')
    place = str(folder / 'videos')
    assert main(['inspect', place, '--fast']) == 0
    totals, *more = capsys.readouterr().out.splitlines()[-4:]
    assert totals.startswith('3 files: 2 ok, 0 short, 1 broken')
    assert more == [
        'beside videos: 1 .txt',
        'passed over: 2 .ogv, 1 hidden, 1 linked folder',
        'links out of the folder: 1, which build takes with --follow-links',
    ]
    assert main(['inspect', place, '--fast', '--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['captions'] == {'.txt': 1}
    assert report['passed_over'] == {'.ogv': 2, 'hidden': 1, 'linked folder': 1} and report['links_out'] == 1
    assert main(['inspect', place, '--fast', '--json', '--follow-links']) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row['file'] for row in report['files']] == ['blob.gif', 'cut.mp4', 'good.mp4', 'linked/a.gif']
    assert report['passed_over'] == {'.ogv': 2, 'hidden': 1}


def test_damage_in_the_middle_is_found_by_decoding(folder, capsys):
    content = bytearray((folder / 'good.mp4').read_bytes())
    for at in range(len(content) // 2, len(content) - 2000):
        content[at] = 0
    (folder / 'good.mp4').write_bytes(content)
    main(['inspect', str(folder), '--json'])
    rows = {row['file']: row for row in json.loads(capsys.readouterr().out)['files']}
    assert rows['good.mp4']['verdict'] == 'broken' and ' s' in rows['good.mp4']['reason']  # it names the second


@pytest.mark.parametrize(
    ('arguments', 'message'), [(['nowhere'], 'nowhere is not there'), (['.', '--frames=0'], '--frames')]
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(['inspect', *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == '' and message in err and err.count('\n') == 1 and 'config.data' not in err


def test_it_runs_as_a_module_without_a_traceback(tmp_path):
    command = [sys.executable, '-m', 'data_pipelines', 'inspect', str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and 'holds no video' in done.stderr and 'Traceback' not in done.stderr
