"""Whether a source is still what a set was made of: bytes decide, and times say where to look."""

import hashlib
import json
import os
import shutil
import struct

import pytest

pytest.importorskip('av')
pytest.importorskip('cv2')

from pyarrow import parquet

from data_pipelines.__main__ import main
from data_pipelines.build import pool
from data_pipelines.inputs import changes, frame_sources
from data_pipelines.inputs.digest import EDGE_BYTES, digest_item, digest_item_before_edges
from data_pipelines.inputs.item import Item
from data_pipelines.inputs.listing import list_inputs
from data_pipelines.inputs.stills import ImageFolder
from data_pipelines.inputs.table import INPUTS
from tests.data_pipelines.videos import encode_frames, moving
from vdm_jax.data.records.schema import Caption

ROOM = 4 * EDGE_BYTES  # a box of nothing in particular behind the pictures, so that a file has a middle
RECIPE = '--recipe.clips.min_seconds=0.1', '--recipe.shots.detector=none', '--recipe.shots.fades=false', '--workers=0'


def build(source, out):
    return main(['build', f'--source={source}', f'--out={out}', *RECIPE])


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A folder with a source and the set that was made of it."""
    place = tmp_path_factory.mktemp('built')
    (place / 'source').mkdir()
    for seed, name in enumerate(('a.mp4', 'b.mp4')):
        content = encode_frames(moving(8, seed=seed)) + struct.pack('>I4s', ROOM, b'free') + bytes(ROOM - 8)
        (place / 'source' / name).write_bytes(content)
    (place / 'source' / 'broken.mp4').write_bytes(bytes(4 * EDGE_BYTES))
    assert build(place / 'source', place / 'set') == 0
    return place


@pytest.fixture
def place(built, tmp_path):
    """Another one, with the same times where those can be kept."""
    shutil.copytree(built, tmp_path / 'place')
    return tmp_path / 'place'


def change(path, at, times=None):
    """Changes one byte, so many from the start or the end; times: those that the file had."""
    about = os.stat(path)
    with open(path, 'r+b') as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        file.write(b'x')
    assert os.stat(path).st_size == about.st_size
    if times:
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize('name', ['a.mp4', 'broken.mp4'])
@pytest.mark.parametrize(
    ('at', 'message'),
    [
        (10, 'its size, its head or its tail'),
        (-10, 'its size, its head or its tail'),
        (-2 * EDGE_BYTES, 'of the same size'),
    ],
    ids=['head', 'tail', 'middle'],
)
@pytest.mark.parametrize('times', [False, True], ids=['later', 'same time'])
def test_a_file_that_changed_at_equal_size_is_seen(place, capsys, name, at, message, times):
    change(place / 'source' / name, at, times)
    assert build(place / 'source', place / 'set') == 2
    stderr = capsys.readouterr().err
    assert f'{name} is another file than it was' in stderr and message in stderr


def test_a_file_that_was_touched_or_copied_is_the_same(place, tmp_path, capsys):
    for name in ('a.mp4', 'broken.mp4'):
        os.utime(place / 'source' / name, (4e9, 4e9))
    assert build(place / 'source', place / 'set') == 0
    shutil.copytree(place / 'source', tmp_path / 'copy', copy_function=shutil.copyfile)
    assert build(tmp_path / 'copy', place / 'set') == 0
    assert capsys.readouterr().out.count('it was built before; nothing was done') == 2


def test_files_older_than_the_build_are_not_read_again(place, monkeypatch, capsys):
    """But for their ends; how old they are goes by the time at which the build began, which its manifest bears."""
    assert os.stat(place / 'set' / 'manifest.json').st_mtime <= os.stat(place / 'set' / INPUTS).st_mtime

    def read(item):
        raise AssertionError(item.name)

    monkeypatch.setattr(frame_sources, 'stream_bytes', read)
    monkeypatch.setattr(changes, 'last_change', lambda item: os.stat(place / 'set' / 'manifest.json').st_mtime - 3600)
    assert build(place / 'source', place / 'set') == 0
    assert 'nothing was done' in capsys.readouterr().out
    monkeypatch.setattr(changes, 'last_change', lambda item: os.stat(place / 'set' / 'manifest.json').st_mtime - 60)
    with pytest.raises(AssertionError, match='a.mp4'):
        build(place / 'source', place / 'set')


def forget_hashes(folder):
    """Makes a manifest as it was before it had a sha256 of its own, of files as they are now; its time is now too."""
    path = folder / 'manifest.json'
    about = json.loads(path.read_text())
    del about['sha256']
    for file in about['tables']:
        file['sha256'] = hashlib.sha256((folder / file['name']).read_bytes()).hexdigest()
    path.write_text(json.dumps(about))


def test_a_set_of_before_is_recognised_and_its_files_are_looked_at(place, capsys):
    """Its digests contain only sizes, and its manifest has the time of its end."""
    table = parquet.read_table(place / 'set' / INPUTS)
    codes = {item.name: digest_item_before_edges(item) for item in list_inputs(str(place / 'source')).items}
    column = [codes[row['input']] if row['key'] is None else None for row in table.to_pylist()]
    table = table.set_column(table.column_names.index('listed'), 'listed', [column])
    parquet.write_table(table, place / 'set' / INPUTS)
    forget_hashes(place / 'set')
    assert build(place / 'source', place / 'set') == 0
    assert 'nothing was done' in capsys.readouterr().out
    change(place / 'source' / 'a.mp4', 10)
    assert build(place / 'source', place / 'set') == 2
    assert 'a.mp4 is another file than it was, of the same size' in capsys.readouterr().err
    (place / 'source' / 'a.txt').write_text('a caption')
    assert build(place / 'source', place / 'set') == 2
    assert 'a.mp4 has another size, captions, label, scores or times than it had' in capsys.readouterr().err


def test_digests_of_before_are_what_they_were(tmp_path):
    """By value, for sets that are there hold them."""
    path = tmp_path / 'a.mp4'
    path.write_bytes(b'video')
    assert digest_item_before_edges(Item('a.mp4', str(path))) == '2f531010dc912ce4'
    assert digest_item_before_edges(Item('b.mp4', '', problem='missing: no such file')) == '0ace42d9069c5d84'
    captions = (Caption('a dog', 2.0, 0.5, None),)
    item = Item('a.mp4', str(path), captions, 3, 'dogs', {'clip': 0.5}, 1.0, 2.0, 'train')
    assert digest_item_before_edges(item) == '9b750eccfb43b772'


def test_a_build_that_was_cut_off_sees_a_file_that_changed_under_it(built, tmp_path, capsys, monkeypatch):
    shutil.copytree(built / 'source', tmp_path / 'source')

    def cut(items, recipe, folder, *more):
        pool.make_part(items[0], recipe, folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pool, 'make_parts', cut)
        assert build(tmp_path / 'source', tmp_path / 'set') == 3
    content = (tmp_path / 'source' / 'a.mp4').read_bytes()
    for at, message in ((10, 'its head'), (-2 * EDGE_BYTES, 'of the same size')):
        change(tmp_path / 'source' / 'a.mp4', at)
        assert build(tmp_path / 'source', tmp_path / 'set') == 2
        assert 'a.mp4 is another file than it was' in (stderr := capsys.readouterr().err) and message in stderr
        (tmp_path / 'source' / 'a.mp4').write_bytes(content)
    assert build(tmp_path / 'source', tmp_path / 'set') == 0
    names = 'records.parquet', INPUTS, 'manifest.json'
    assert [(tmp_path / 'set' / name).read_bytes() for name in names] == [
        (built / 'set' / name).read_bytes() for name in names
    ]


def test_pictures_that_changed_at_equal_size_are_seen(tmp_path):
    for number in range(3):
        (tmp_path / f'{number}.png').write_bytes(bytes(100))
    item = Item('clip', str(tmp_path), stills=ImageFolder(str(tmp_path), ('0.png', '1.png', '2.png'), 25.0))
    code = {'clip': digest_item(item)}
    read = {'clip': (changes.sha256_of(item), changes.last_change(item))}
    assert changes.find_change([item], code, code, read) == ''
    (tmp_path / '1.png').write_bytes(b'x' * 100)
    assert code == {'clip': digest_item(item)}
    assert 'clip is another file than it was' in changes.find_change([item], code, code, read)


def test_a_pipe_under_the_name_of_a_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'a.mp4')
    assert len(digest_item(Item('a.mp4', str(tmp_path / 'a.mp4')))) == 16


def test_a_recipe_of_before_is_one_of_stored_pixels(place, capsys):
    manifest = place / 'set' / 'manifest.json'
    about = json.loads(manifest.read_text())
    times = os.stat(manifest)
    del about['recipe']['clips']['pixel_aspect'], about['recipe']['limits']['index_pixels']
    del about['sha256']  # sets had none
    manifest.write_text(json.dumps(about))
    os.utime(manifest, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert build(place / 'source', place / 'set') == 2
    assert 'recipe.clips.pixel_aspect was stored, now it is square' in capsys.readouterr().err
    again = ['build', f'--source={place / "source"}', f'--out={place / "set"}', *RECIPE]
    assert main([*again, '--recipe.clips.pixel_aspect=stored']) == 0
    assert 'nothing was done' in capsys.readouterr().out
