import collections
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('av')
pytest.importorskip('cv2')

from pyarrow import parquet

from data_pipelines.__main__ import main
from data_pipelines.build import build_state, part_files, pool
from data_pipelines.curate.scores import FILTERS
from tests import seeds
from tests.data_pipelines.sets import content
from tests.data_pipelines.videos import encode_frames, moving
from tests.shared_data import CLIPS, needs_clips
from vdm_jax import media
from vdm_jax.data.records.schema import Caption
from vdm_jax.data.records.shards import RecordSet
from vdm_jax.data.video import decode

RECIPE = '--recipe.clips.seconds=1', '--recipe.clips.min_seconds=0.3', '--recipe.shards.megabytes=0.03'


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """Two shots, a copy of them, a still picture, uneven times, an odd size, and what is broken or no video."""
    folder = tmp_path_factory.mktemp('source')
    two = np.concatenate([moving(30), moving(20, seed=1)])
    (folder / 'a b').mkdir()
    (folder / 'a b' / 'two.mp4').write_bytes(encode_frames(two))
    (folder / 'a b' / 'two.txt').write_text('colours move\ncolours slide down')
    (folder / 'copy.mp4').write_bytes(encode_frames(two, crf=24))
    (folder / 'still.mp4').write_bytes(encode_frames(moving(1).repeat(25, 0)))
    (folder / '-кот.mp4').write_bytes(encode_frames(moving(20, seed=2), np.cumsum([0, *[0.04, 0.08] * 10])))
    media.write_gif(folder / 'odd.gif', moving(10, 33, 47, seed=3), 10)
    (folder / 'short.mp4').write_bytes(encode_frames(moving(5, seed=4)))
    (folder / 'cut.mp4').write_bytes(encode_frames(moving(20))[:4000])
    (folder / 'empty.mp4').write_bytes(b'')
    (folder / 'wrong.mp4').write_bytes(encode_frames(moving(10, seed=5)))
    (folder / 'wrong.txt').write_bytes('läuft'.encode('latin-1'))
    (folder / 'notes.md').write_text('no video')
    return folder


def build(source, out, *more, workers=0):
    return main(['build', f'--source={source}', f'--out={out}', f'--workers={workers}', *RECIPE, *more])


@pytest.fixture(scope='module')
def built(source, tmp_path_factory):
    out = tmp_path_factory.mktemp('built') / 'set'
    assert build(source, out) == 0
    return out


def rows(folder):
    return parquet.read_table(folder / 'inputs.parquet').to_pylist()


def manifest(folder):
    return json.loads((folder / 'manifest.json').read_text())


def test_every_input_is_kept_or_a_row_with_the_reason(built, capsys):
    inputs = {row['input']: (row['fate'], row['reason']) for row in rows(built) if row['key'] is None}
    assert inputs == {
        '-кот.mp4': ('kept', ''),
        'a b/two.mp4': ('kept', ''),
        'copy.mp4': ('dropped', 'duplicate'),
        'cut.mp4': ('broken', 'broken'),
        'empty.mp4': ('broken', 'broken'),
        'odd.gif': ('kept', ''),
        'short.mp4': ('dropped', 'too_short'),
        'still.mp4': ('dropped', FILTERS[0]),
        'wrong.mp4': ('broken', 'encoding'),
    }
    clips = [(row['key'], row['reason']) for row in rows(built) if row['key'] is not None]
    assert clips == [
        ('-кот.mp4#1', 'too_short'),
        ('a b/two.mp4#1', 'too_short'),
        ('copy.mp4#0', 'duplicate'),
        ('copy.mp4#1', 'too_short'),
        ('copy.mp4#2', 'duplicate'),
        ('short.mp4#0', 'too_short'),
        ('still.mp4#0', FILTERS[0]),
    ]
    details = {row['key'] or row['input']: row['detail'] for row in rows(built)}
    assert details['copy.mp4#2'] == 'of a b/two.mp4#2' and details['short.mp4#0'] == '0.200 s of 0.3'
    assert details['still.mp4#0'].startswith('motion is 0') and 'byte 1' in details['wrong.mp4']
    assert main(['verify', str(built)]) == 0 and 'all decode' in capsys.readouterr().out


def test_the_manifest_counts_what_the_tables_hold(built):
    contents = manifest(built)
    records = RecordSet(str(built))
    inputs = collections.Counter(row['fate'] for row in rows(built) if row['key'] is None)
    assert contents['inputs'] == dict(inputs) == {'kept': 3, 'dropped': 3, 'broken': 3}
    assert contents['clips'] == {'kept': len(records), 'dropped': 7, 'without_caption': 2}
    for kind, own in (('inputs', lambda row: row['key'] is None), ('clips', lambda row: row['key'] is not None)):
        reasons = collections.Counter(row['reason'] for row in rows(built) if row['reason'] and own(row))
        assert contents['reasons'][kind] == dict(reasons)
    assert contents['ignored_files'] == {'.md': 1} and len(contents['shards']) > 1
    assert contents['frames'] == sum(record.frames for record in records)
    assert contents['recipe']['clips']['seconds'] == 1.0 and 'av' in contents['versions']
    names = {'manifest.json', 'inputs.parquet', 'records.parquet', *(shard['name'] for shard in contents['shards'])}
    assert {path.name for path in built.iterdir()} == names


def test_records_hold_the_clips(built, source):
    records = {record.key: record for record in RecordSet(str(built))}
    assert list(records) == ['-кот.mp4#0', 'a b/two.mp4#0', 'a b/two.mp4#2', 'odd.gif#0']
    two = records['a b/two.mp4#2']
    assert (two.start, two.end, two.frames, two.fps, two.source) == (1.2, 2.0, 20, 25.0, 'a b/two.mp4')
    assert two.captions == (Caption('colours move'), Caption('colours slide down'))
    assert two.scores['motion'] > 0.1 and two.scores['caption_words'] == 2.5
    original = decode.probe(source / 'a b' / 'two.mp4')
    frames = decode.read(decode.probe(two.video), range(20)).astype(int)
    assert np.abs(frames - decode.read(original, range(30, 50))).mean() < 6
    uneven = decode.probe(records['-кот.mp4#0'].video)
    np.testing.assert_allclose(uneven.times, np.cumsum([0, *[0.04, 0.08] * 10])[: uneven.frames], atol=1e-4)
    assert (records['odd.gif#0'].height, records['odd.gif#0'].width) == (32, 46)


def test_another_build_with_two_workers_is_equal_to_the_byte(built, source, tmp_path, capsys):
    assert build(source, tmp_path / 'again', workers=2) == 0
    assert content(tmp_path / 'again') == content(built)
    assert '4 clips of 3 of 9 inputs' in capsys.readouterr().out


class PowerCutError(BaseException):
    pass


def test_interrupted_before_and_after_every_file_it_resumes_to_the_same_bytes(built, source, tmp_path, monkeypatch):
    rename = os.replace
    remove = os.remove
    allowed = 0

    def cut(action):
        def until(*arguments):
            nonlocal allowed
            if not allowed:
                raise PowerCutError
            allowed -= 1
            action(*arguments)

        return until

    monkeypatch.setattr(os, 'replace', cut(rename))
    monkeypatch.setattr(os, 'remove', cut(remove))
    for attempt in range(100):
        allowed = 3 if attempt % 5 == 4 else 1  # one step; or the tables and the manifest, which are made together
        try:
            assert build(source, tmp_path / 'set') == 0
            break
        except PowerCutError:
            continue
    assert attempt > 10 and content(tmp_path / 'set') == content(built)


def start(source, out):
    code = 'import sys; from data_pipelines.__main__ import main; sys.exit(main(sys.argv[1:]))'
    options = ['build', f'--source={source}', f'--out={out}', '--workers=2', *RECIPE]
    command = [sys.executable, '-c', code, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def build_and_kill(source, out, after):
    """Start a build, wait for its first files and kill it `after` seconds later; return whether it still ran."""
    process = start(source, out)
    while process.poll() is None and not (out / 'work' / 'build.json').exists():
        time.sleep(0.01)
    time.sleep(after)
    process.kill()
    _, err = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), err
    return process.returncode == -signal.SIGKILL


def build_and_finish(source, out):
    process = start(source, out)
    _, err = process.communicate()
    assert process.returncode == 0, err
    return content(out)


def test_killed_twice_it_resumes_to_the_same_bytes(built, source, tmp_path):
    rng = seeds.generator()
    moments = [rng.uniform(0, 1), rng.uniform(0.3, 1.5)]
    # A quick machine may be done before the first moment: the next build is killed earlier.
    while not build_and_kill(source, out := tmp_path / f'{moments[0]:.4f}', moments[0]):
        moments[0] /= 2
        assert moments[0] > 1e-3
    build_and_kill(source, out, moments[1])
    assert build_and_finish(source, out) == content(built), moments


@pytest.mark.slow
@needs_clips
def test_real_clips_killed_at_ten_random_moments_make_the_same_bytes(tmp_path):
    began = time.monotonic()
    expected = build_and_finish(CLIPS, tmp_path / 'whole')
    length = time.monotonic() - began
    at_work = 0
    moments = seeds.generator().uniform(0, length / 5, 10)
    for moment in moments:
        at_work += build_and_kill(CLIPS, tmp_path / 'set', moment)
    assert build_and_finish(CLIPS, tmp_path / 'set') == expected, moments
    assert at_work >= 5, (moments, length)


def test_a_finished_set_is_left_unchanged(built, source, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in built.iterdir()}
    assert build(source, built) == 0
    assert 'nothing was done' in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in built.iterdir()} == before


@pytest.mark.parametrize('library', ['av', 'pebble'])
def test_a_missing_library_is_named_before_anything_is_written(source, tmp_path, capsys, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    assert build(source, tmp_path / 'set') == 2
    assert "pip install 'vdm_jax[curate]'" in capsys.readouterr().err and not (tmp_path / 'set').exists()


def test_another_recipe_source_or_version_is_refused_with_the_difference(built, source, tmp_path, capsys, monkeypatch):
    copy = tmp_path / 'source'
    copy.mkdir()
    for path in source.glob('*.mp4'):
        (copy / path.name).write_bytes(path.read_bytes())
    unfinished = tmp_path / 'unfinished'
    monkeypatch.setattr(pool, 'make_parts', lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    assert build(copy, unfinished) == 3
    assert 'the same command goes on' in capsys.readouterr().err

    def refusal_of(source, out, *more):
        assert build(source, out, *more) == 2
        return capsys.readouterr().err

    assert 'recipe.clips.crf was 18, now it is 20' in refusal_of(source, built, '--recipe.clips.crf=20')
    assert 'recipe.clips.crf was 18, now it is 20' in refusal_of(copy, unfinished, '--recipe.clips.crf=20')
    assert 'a b/two.mp4 is no longer in the source' in refusal_of(copy, built)
    (copy / 'new.mp4').write_bytes(b'x')
    assert 'new.mp4 was not in the source' in refusal_of(copy, unfinished)
    (copy / 'new.mp4').unlink()
    (copy / 'copy.txt').write_text('a caption')
    assert 'copy.mp4 has another size, captions, label, scores or times' in refusal_of(copy, unfinished)
    (copy / 'copy.txt').unlink()
    monkeypatch.setattr(build_state, '__version__', '9.9')
    assert 'vdm_jax was' in refusal_of(copy, unfinished) and build(source, built) == 0


def test_a_directory_with_something_else_in_it_is_refused(source, tmp_path, capsys):
    (tmp_path / 'thesis.tex').write_text('x')
    assert build(source, tmp_path) == 2
    assert 'holds thesis.tex' in capsys.readouterr().err and len(list(tmp_path.iterdir())) == 1


def test_two_builds_in_one_directory_are_refused(source, tmp_path, capsys):
    folder = tmp_path / 'work'
    folder.mkdir()
    with build_state.lock_folder(str(folder)):
        assert build(source, tmp_path) == 2
    assert 'another build is at work there' in capsys.readouterr().err


def test_a_full_disk_is_no_fault_of_a_video(source, tmp_path, capsys, monkeypatch):
    write = part_files.write_part
    count = 0

    def full(path, outcomes):
        nonlocal count
        count += 1
        if count == 2:
            raise OSError(errno.ENOSPC, 'No space left on device')
        write(path, outcomes)

    monkeypatch.setattr(part_files, 'write_part', full)
    assert build(source, tmp_path / 'set') == 2
    assert 'No space left on device; mend that, and the same command goes on' in capsys.readouterr().err
    assert not (tmp_path / 'set' / 'manifest.json').exists()


def test_a_build_that_keeps_nothing_is_refused(source, tmp_path, capsys):
    (tmp_path / 'source').mkdir()
    (tmp_path / 'source' / 'short.mp4').write_bytes((source / 'short.mp4').read_bytes())
    assert build(tmp_path / 'source', tmp_path / 'set') == 2
    assert 'no clip was kept' in capsys.readouterr().err and manifest(tmp_path / 'set')['clips']['kept'] == 0


def test_a_full_disk_under_a_shard_is_one_line_and_the_build_resumes(built, source, tmp_path, capsys, monkeypatch):
    class Full:
        def __init__(self, path, options):
            Path(path).write_bytes(b'half')

        def write(self, data):
            pass

        def close(self):
            raise RuntimeError('write() failed: No space left on device\nat byte 4')

    with monkeypatch.context() as patched:
        patched.setattr('array_record.python.array_record_module.ArrayRecordWriter', Full)
        assert build(source, tmp_path / 'set') == 2
    assert 'No space left on device; mend that, and the same command goes on' in capsys.readouterr().err
    assert build(source, tmp_path / 'set') == 0 and content(tmp_path / 'set') == content(built)


def test_links_out_of_the_source_are_built_with_follow_links(source, tmp_path, capsys):
    """As in a cache of Hugging Face's, where names are links to blobs."""
    blobs = tmp_path / 'blobs'
    snapshot = tmp_path / 'snapshots' / 'main'
    blobs.mkdir(), snapshot.mkdir(parents=True)
    for number, name in enumerate(('odd.gif', 'short.mp4')):
        (blobs / f'{number}').write_bytes((source / name).read_bytes())
        (snapshot / name).symlink_to(f'../../blobs/{number}')
    assert build(snapshot, tmp_path / 'set') == 2
    stderr = capsys.readouterr().err
    assert 'holds nothing that can be used: 0 inputs; 2 link (odd.gif, short.mp4)' in stderr
    assert f'to {os.path.realpath(blobs)}/0; --follow-links takes it' in stderr and not (tmp_path / 'set').exists()
    assert build(snapshot, tmp_path / 'set', '--follow-links') == 0
    assert '1 clips of 1 of 2 inputs' in capsys.readouterr().out
    assert [record.source for record in RecordSet(str(tmp_path / 'set'))] == ['odd.gif']
    (snapshot / 'own.mp4').write_bytes((source / 'short.mp4').read_bytes())
    (snapshot / 'gone.mp4').symlink_to('../../blobs/gone')
    assert build(snapshot, tmp_path / 'other') == 2
    stderr = capsys.readouterr().err
    assert '1 inputs; 1 broken_link (gone.mp4); 2 link (odd.gif, short.mp4); --follow-links takes links' in stderr


@pytest.mark.parametrize('option', ['--follow-links', '--scores=clip'])
def test_options_of_folders_and_lists_are_not_for_published_sets(source, tmp_path, capsys, option):
    assert build(source, tmp_path / 'set', '--dataset=ucf101', '--split=train', option) == 2
    assert f'{option}: is for lists and folders of videos, not for --dataset' in capsys.readouterr().err


def test_a_set_in_a_store_is_refused(source, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert build(source, 'gs://bucket/set') == 2
    assert '--out=gs://bucket/set: is not on this machine' in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_set_inside_of_its_source_is_refused(source, capsys):
    assert build(source, source / 'set') == 2
    assert 'of which it would be a part' in capsys.readouterr().err and not (source / 'set').exists()


def test_options_of_beam_are_for_beam(source, tmp_path, capsys):
    assert build(source, tmp_path / 'set', '--', '--direct_num_workers=2') == 2
    assert '--runner=beam' in capsys.readouterr().err


def test_a_part_damaged_on_the_disk_is_named(source, tmp_path, capsys, monkeypatch):
    def make(items, recipe, folder, workers, done):
        for item in items:
            pool.make_part(item, recipe, folder)
        part = Path(part_files.part_path(folder, 'odd.gif'))
        content = bytearray(part.read_bytes())
        content[1000] ^= 1
        part.write_bytes(content)

    monkeypatch.setattr(pool, 'make_parts', make)
    assert build(source, tmp_path / 'set') == 2
    assert '.part was damaged' in capsys.readouterr().err and not (tmp_path / 'set' / 'manifest.json').exists()
