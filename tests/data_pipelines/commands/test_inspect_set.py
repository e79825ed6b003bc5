import json

import numpy as np
import pytest

from data_pipelines.__main__ import main
from data_pipelines.commands.inspect_set import BINS, histogram
from vdm_jax.data.records.schema import Record
from vdm_jax.files import seal

pytest.importorskip('av')

from tests.data_pipelines.sets import records, write_set


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    parent = tmp_path_factory.mktemp('made')
    latents = Record('z.mp4#0', 8, 16, 16, 8.0, latents=np.zeros((2, 2, 2, 8), np.float32), label=3, label_name='fly')
    return write_set(parent / 'set', [*records(parent), latents])


def test_json_has_the_fates_of_inputs_and_the_properties_of_clips(folder, capsys):
    assert main(['inspect', str(folder), '--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report['clips'], report['shards'], report['frames']) == (13, 2, 80) and report['seconds'] == 3.88
    assert report['fates'] == {
        'inputs': {'kept': 2, 'dropped': 1, 'broken': 1},
        'clips': {'kept': 13, 'dropped': 3, 'without_caption': 4},
    }
    assert report['reasons']['clips'] == {'duplicate': 1, 'motion>=0.1': 1, 'too_short': 1}
    assert report['broken'] == ['bad.mp4: no video in it']
    captions = {'clips_with': 9, 'clips_without': 4, 'captions': 9, 'timed': 0, 'words': [13, 13.0, 13]}
    assert report['captions'] == captions
    assert report['sizes'] == {'64x32': 12, '16x16': 1} and report['fps'] == {'25': 12, '8': 1}
    assert report['labels'] == {'fly': 1}


def test_scores_of_kept_and_dropped_clips_share_the_bins_of_a_histogram(folder, capsys):
    main(['inspect', str(folder), '--json'])
    scores = json.loads(capsys.readouterr().out)['scores']
    motion = scores['motion']
    assert (motion['least'], motion['most']) == (0.0, 0.65) and motion['middle'] == pytest.approx(0.375)
    assert sum(motion['kept']) == 12 and len(motion['kept']) == BINS
    assert [i for i, count in enumerate(motion['dropped']) if count] == [0, int(0.3 / 0.65 * BINS)]
    assert sum(scores['aesthetic']['kept']) == 1 and sum(scores['seconds']['kept']) == 13


def test_a_histogram_passes_over_what_is_no_number():
    counts = histogram(np.array([0.0, np.nan, 1.0, 1.0]), np.array([np.nan, 3.0]))
    assert (counts['least'], counts['most'], counts['middle']) == (0.0, 3.0, 1.0)
    assert (counts['kept'][0], counts['kept'][13], counts['dropped'][-1]) == (1, 2, 1)
    assert sum(counts['kept']) == 3 and sum(counts['dropped']) == 1
    nothing = histogram(np.array([np.nan]), np.empty(0))
    assert nothing['middle'] is None and sum(nothing['kept']) == 0


def test_the_text_fits_in_100_columns_and_has_a_bar_a_score(folder, capsys):
    assert main(['inspect', str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'{folder}: 13 clips, 80 frames, 3.9 s, 0.3 MB in 2 shards'
    assert '  inputs    2 kept, 1 dropped, 1 broken: 1 broken, 1 motion>=0.1' in lines
    assert '  clips     13 kept, 3 dropped: 1 duplicate, 1 motion>=0.1, 1 too_short' in lines
    assert '  captions  9 clips with, 4 without; 13 to 13 words, the middle one 13' in lines
    assert max(map(len, lines[1:])) <= 100
    motion = next(i for i, line in enumerate(lines) if line.startswith('  motion'))
    assert lines[motion].count('█') == 12 and lines[motion].endswith('0.65    0.375  12')
    assert lines[motion + 1].count('█') == 2 and lines[motion + 1].endswith('  2 dropped')


def test_what_the_build_passed_over_is_named(folder, tmp_path, capsys):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((tmp_path / 'manifest.json').read_text())
    manifest |= {'ignored_files': {'.srt': 2, 'hidden': 1}, 'unused_columns': ['key', 'similarity']}
    del manifest['sha256']
    (tmp_path / 'manifest.json').write_text(json.dumps(seal(manifest)))
    assert main(['inspect', str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert '  no videos .srt (2), hidden (1)' in lines and '  not used  columns key, similarity' in lines


def test_the_contact_sheet_shows_frames_of_clips_from_all_over_the_set(folder, tmp_path, capsys):
    from PIL import Image

    path = tmp_path / 'pictures' / 'sheet.png'
    assert main(['inspect', str(folder), f'--sheet={path}', '--clips=4']) == 0
    assert capsys.readouterr().out.endswith(f'{path}: contact sheet of 4 clips\n')
    sheet = np.asarray(Image.open(path))
    bars = ((sheet < 60) | (sheet > 200)).all(-1) & (np.abs(np.diff(sheet.astype(int), axis=-1)).max(-1) < 8)
    assert sheet.shape[1] == 2 * (4 * 162 - 2) + 36 and bars.mean() > 0.5
    dark = (sheet[:, 12:172].max(-1) < 60).mean(1)
    assert (dark > 0.1).sum() >= 100  # rows through the frames of the first and third clips


def test_a_set_without_a_clip_is_inspected_too(tmp_path, capsys):
    folder = write_set(tmp_path / 'set', [], shards=0)
    assert main(['inspect', str(folder), f'--sheet={tmp_path / "sheet.png"}']) == 0
    assert capsys.readouterr().out.startswith(f'{folder}: 0 clips, 0 frames')
    assert (tmp_path / 'sheet.png').stat().st_size
    assert main(['verify', str(folder)]) == 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['set', '--frames=4'], '--frames: set is a set of records; leave it out'),
        (['set', '--fast'], '--fast: set is a set of records'),
        (['.', '--sheet=a.png'], '--sheet: . is no set of records'),
        (['set', '--clips=0'], '--clips is 0'),
        (['set', '--sheet=set/inputs.parquet/a.png'], 'name another file'),
    ],
)
def test_options_of_the_other_kind_are_refused(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder.parent)
    assert main(['inspect', *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == '' and message in err and err.count('\n') == 1


def test_a_damaged_table_is_one_line(folder, tmp_path, capsys):
    for name in ('manifest.json', 'records.parquet', 'inputs.parquet'):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / 'inputs.parquet').write_bytes(b'PAR1' * 9)
    assert main(['inspect', str(tmp_path)]) == 2
    assert 'inputs.parquet cannot be read' in capsys.readouterr().err
