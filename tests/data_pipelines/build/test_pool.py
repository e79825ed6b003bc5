import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('av')
pytest.importorskip('pebble')

from data_pipelines.build import part_files, pool
from data_pipelines.build.recipe import Limits, Recipe, read_recipe
from data_pipelines.inputs.item import Item
from tests.data_pipelines import bad_videos, faults


@pytest.fixture
def folder(tmp_path):
    for name in part_files.FOLDERS:
        (tmp_path / name).mkdir()
    return str(tmp_path)


def test_what_hangs_or_kills_its_worker_is_broken_and_the_rest_goes_on(folder):
    names = ['a', 'dies', 'b', 'hangs', 'c', 'killed once', 'd']
    items = [Item(name, '', problem='missing: no such file') for name in names]
    done = []
    recipe = read_recipe(assignments=['--recipe.limits.time=8'])
    pool.make_parts(items, recipe, folder, 2, done.append, faults.sometimes)
    assert sorted(item.name for item in done) == sorted(names)
    inputs = {name: part_files.read_index(part_files.part_path(folder, name))['input'] for name in names}
    assert {name: entry['reason'] for name, entry in inputs.items()} == {
        **dict.fromkeys('abcd', 'missing'),
        'dies': 'crashed',
        'hangs': 'timeout',
        'killed once': 'missing',  # the reason that the work on it gives
    }
    assert {entry['fate'] for entry in inputs.values()} == {'broken'}
    assert inputs['dies']['detail'] == 'its worker died twice, with exit code -11'
    assert inputs['hangs']['detail'] == 'more than recipe.limits.time=8 seconds of work'


@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='limits of memory hold on Linux')
def test_a_worker_is_held_to_its_memory(folder):
    path = Path(folder, 'claims.mp4')
    bad_videos.claiming(path, 40_000_000)  # whose index takes 3 GB
    items = [Item('claims', str(path)), Item('next', '', problem='missing: no such file')]
    recipe = Recipe(limits=Limits(memory=2**29))
    pool.make_parts(items, recipe, folder, 1, lambda item: None, faults.note_memory)
    fates = [part_files.read_index(part_files.part_path(folder, item.name))['input']['fate'] for item in items]
    assert fates == ['broken', 'broken'] and int(Path(folder, 'claims').read_text()) < 2**29


def test_what_is_no_fault_of_an_item_ends_the_build(folder):
    items = [Item(name, '', problem='missing: no such file') for name in ('a', 'fails')]
    with pytest.raises(RuntimeError, match='no fault of the item'):
        pool.make_parts(items, Recipe(), folder, 1, lambda item: None, faults.sometimes)
    assert part_files.read_index(part_files.part_path(folder, 'fails')) is None


def test_no_worker_outlives_a_killed_build(folder):
    code = (
        'import sys; from data_pipelines.build import pool; from data_pipelines.inputs.item import Item;'
        'from data_pipelines.build.recipe import Recipe; from tests.data_pipelines import faults;'
        'pool.make_parts([Item("a", "")], Recipe(), sys.argv[1], 1, print, faults.endless)'
    )
    build = subprocess.Popen([sys.executable, '-c', code, folder])
    note = os.path.join(folder, 'a')
    while not (os.path.exists(note) and open(note).read()):
        assert build.poll() is None
        time.sleep(0.02)
    worker = int(open(note).read())
    build.kill()
    build.wait()
    for _ in range(500):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    else:
        os.kill(worker, 9)
        pytest.fail('the worker goes on')
