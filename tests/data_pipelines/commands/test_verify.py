import dataclasses
import json

import numpy as np
import pytest

from data_pipelines.__main__ import main
from vdm_jax.data.records.schema import Record
from vdm_jax.data.records.shards import RecordSet
from vdm_jax.files import seal

pytest.importorskip('av')

from tests.data_pipelines.sets import records, write_set


@pytest.fixture(scope='module')
def clip_records(tmp_path_factory):
    return list(records(tmp_path_factory.mktemp('clips')))


@pytest.fixture
def folder(tmp_path, clip_records):
    return write_set(tmp_path / 'set', clip_records)


def run_verify(folder, capsys, *more):
    """Return the exit code and the parsed report of --json."""
    code = main(['verify', str(folder), '--json', *more])
    return code, json.loads(capsys.readouterr().out)


def change(path, at, count=1):
    content = bytearray(path.read_bytes())
    content[at : at + count] = bytes(255 - value for value in content[at : at + count])
    path.write_bytes(content)


def test_a_set_as_it_was_built_has_no_problems(folder, capsys):
    code, report = run_verify(folder, capsys)
    assert code == 0 and report['problems'] == [] and (report['records'], report['decoded']) == (12, True)
    assert main(['verify', str(folder), '--fast']) == 0
    assert capsys.readouterr().out.endswith(': 12 records in 2 shards, 0.3 MB: all hashes are right\n')


@pytest.mark.parametrize('fast', [True, False])
def test_a_flipped_byte_is_found_and_its_record_named(folder, clip_records, capsys, fast):
    name = 'records-00001-of-00002.array_record'
    shard = folder / name
    change(shard, shard.read_bytes().index(clip_records[8].video) + 100)
    code, report = run_verify(folder, capsys, *(['--fast'] if fast else []))
    assert code == 1
    file, record = report['problems']
    assert file['file'] == name and file['key'] is None and 'sha256 is' in file['reason']
    assert (record['file'], record['key'], record['place']) == (name, 'a.mp4#4', 2)
    assert 'hash mismatch' in record['reason']  # the shard's own
    assert main(['verify', str(folder)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith(f'a.mp4#4, number 2 of {name}: ') and out[-1].endswith(': 2 problems')


def test_a_shard_that_is_missing_cut_or_in_excess_is_named(folder, capsys):
    first, second = sorted(folder.glob('*.array_record'))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1000])
    (folder / 'records-00000-of-00009.array_record').write_bytes(b'')
    code, report = run_verify(folder, capsys)
    reasons = {problem['file']: problem['reason'] for problem in report['problems'] if problem['key'] is None}
    assert code == 1 and reasons == {
        first.name: 'no such file',
        second.name: '130072 bytes, and 131072 when it was built',
        'records-00000-of-00009.array_record': 'the manifest does not know it',
    }
    assert {problem['key'] for problem in report['problems']} >= {f'{name}.mp4#{i}' for name in 'ab' for i in range(3)}


@pytest.mark.parametrize(
    ('name', 'reason'), [('records.parquet', 'so no record could be looked at'), ('inputs.parquet', 'sha256 is')]
)
def test_a_damaged_table_is_named(folder, capsys, name, reason):
    change(folder / name, 100, 8)
    code, report = run_verify(folder, capsys)
    assert code == 1 and {problem['file'] for problem in report['problems']} == {name}
    assert reason in report['problems'][-1]['reason']


def test_clips_that_do_not_decode_are_found_though_all_hashes_are_right(tmp_path, clip_records, capsys):
    cut = dataclasses.replace(clip_records[3], video=clip_records[3].video[:600])
    short = dataclasses.replace(clip_records[4], frames=7)
    latents = np.full((1, 2, 2, 8), np.nan, np.float32)
    lost = Record('lost', 4, 16, 16, 8.0, latents=latents, codec='0' * 64)
    intact = Record('kept', 4, 16, 16, 8.0, latents=np.zeros_like(latents), codec='0' * 64)
    folder = write_set(tmp_path / 'set', [clip_records[0], cut, short, lost, intact])
    assert run_verify(folder, capsys, '--fast')[0] == 0
    code, report = run_verify(folder, capsys)
    reasons = {problem['key']: problem['reason'] for problem in report['problems']}
    assert code == 1 and set(reasons) == {cut.key, short.key, 'lost'}
    assert reasons[cut.key].startswith('it does not decode') and reasons['lost'] == 'its latents are not finite'
    assert reasons[short.key] == 'it holds 6 frames of 64x32, and its record says 7 frames of 64x32'


def test_a_table_that_contradicts_its_records_is_found(folder, capsys):
    """A set written by hand: hashes agree, contents do not."""
    from tests.data_pipelines.sets import _file
    from vdm_jax.data.records.shards import write_table

    rows = RecordSet(str(folder)).table.to_pylist()
    rows[5]['label'] = 3
    rows[6]['sha256'] = '0' * 64
    write_table(folder / 'records.parquet', [*rows, rows[0]])
    manifest = json.loads((folder / 'manifest.json').read_text())
    manifest['tables'][0] = _file(folder / 'records.parquet')
    del manifest['sha256']
    (folder / 'manifest.json').write_text(json.dumps(seal(manifest)))
    code, report = run_verify(folder, capsys, '--fast')
    assert code == 1
    assert [problem['reason'] for problem in report['problems']][:3] == [
        '13 rows, and the build kept 12 clips',
        'more than one record is called a.mp4#0',
        'label is None, and 3 in records.parquet',
    ]
    assert report['problems'][3]['key'] == rows[6]['key'] and len(report['problems']) == 4


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda path: path.unlink(), 'no manifest.json there'),
        (lambda path: path.write_bytes(b'{"format": 1'), 'manifest.json is not JSON'),
        (lambda path: path.write_bytes(b'{"format": 2}'), 'no manifest of format 1'),
    ],
    ids=['missing', 'cut', 'other'],
)
def test_without_a_manifest_there_is_nothing_to_verify(folder, capsys, change, message):
    change(folder / 'manifest.json')
    assert main(['verify', str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == '' and message in err and err.count('\n') == 1
