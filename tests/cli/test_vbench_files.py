"""Videos for VBench: it finds each by its prompt and index, whatever the prompt is; prompts of a file are read."""

import argparse
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from vdm_jax.cli import vbench_files
from vdm_jax.cli.conditions import make_stem
from vdm_jax.cli.prompts import read_prompts
from vdm_jax.cli.sample import choose_num, make_samples
from vdm_jax.cli.sample_files import Sample, SampleFiles
from vdm_jax.errors import UserError
from vdm_jax.sampling.generate import VideoBatch

ODD = ['a/b', 'a_b', 'a\nb', 'é' * 126, 'é' * 130, 'é' * 129 + 'e', '', '..', '"x" \'y\' -3', 'x' * 249, 'a:b?*']


def prompt_of(file_name):
    """What VBench takes for the prompt of a file: its name without -NUMBER and ending."""
    return re.sub(r'-\d+$', '', Path(file_name).stem)


def write(directory, prompts, num, folders=('',)):
    args = argparse.Namespace(prompt=prompts, seed=0)
    video = np.zeros((2, 8, 8, 3), np.uint8)
    with SampleFiles(directory, 'x', ('vbench',), folders=folders) as files:
        for number in range(len(folders)):
            batch = VideoBatch(np.arange(num), np.stack([video] * num), np.ones(num, bool))
            files.put(make_samples(args, batch, None), number)
        files.close()


def test_vbench_finds_five_videos_of_each_prompt_and_nothing_else(tmp_path):
    pytest.importorskip('av')
    prompts = ['A 3D model of a 1800s victorian house.', 'close-up. macro.-2', 'a "b" \'c\'']
    write(tmp_path, prompts, 15)
    names = {path.name for path in (tmp_path / 'x' / 'vbench').iterdir()}
    assert names == {f'{prompt}-{index}.mp4' for prompt in prompts for index in range(5)}
    assert {prompt_of(name) for name in names} == {*prompts}
    by_file = json.loads((tmp_path / 'x' / 'vbench_prompts.json').read_text())
    assert by_file.keys() == names and all(prompt == prompt_of(name) for name, prompt in by_file.items())
    rows = [json.loads(line) for line in (tmp_path / 'x' / 'samples.jsonl').read_text().splitlines()]
    assert rows[4] == {
        'file': f'vbench/{prompts[1]}-1.mp4',
        'number': 4,
        'seed': 0,
        'label': None,
        'prompt': prompts[1],
    }


def test_two_sets_of_weights_have_a_folder_each(tmp_path):
    pytest.importorskip('av')
    write(tmp_path, ['a'], 1, ('workdir', 'weights'))
    for folder in ('workdir', 'weights'):
        assert (tmp_path / 'x' / folder / 'vbench' / 'a-0.mp4').exists()
        assert json.loads((tmp_path / 'x' / folder / 'vbench_prompts.json').read_text()) == {'a-0.mp4': 'a'}


def test_any_prompt_has_a_name_of_its_own_and_the_file_of_prompts_has_its_text(tmp_path):
    paths = {prompt: vbench_files.name_file(prompt, 123) for prompt in ODD}
    assert len({*paths.values()}) == len(ODD)
    lines = [{'file': path, 'prompt': prompt} for prompt, path in paths.items()]
    (content,) = vbench_files.list_prompts(lines).values()
    for prompt, path in paths.items():
        folder, name = path.split('/')
        assert folder == 'vbench' and len(name.encode()) <= 255
        assert json.loads(content)[name] == prompt
        (tmp_path / name).touch()
        fits = '/' not in prompt and '\n' not in prompt and len(prompt.encode()) <= 255 - len('-123.mp4')
        assert (name == f'{prompt}-123.mp4') == fits
    assert len(os.listdir(tmp_path)) == len(ODD)


def test_a_link_in_the_place_of_its_folder_is_not_followed(tmp_path):
    pytest.importorskip('av')
    (tmp_path / 'other').mkdir()
    (tmp_path / 'x').mkdir()
    (tmp_path / 'x' / 'vbench').symlink_to(tmp_path / 'other')
    with pytest.raises(UserError, match='vbench in it is a link'):
        write(tmp_path, ['a'], 1)
    assert not list((tmp_path / 'other').iterdir())


@pytest.mark.parametrize(
    ('prompts', 'num', 'formats', 'expected'),
    [
        (None, None, ('grid',), 16),
        (['a', 'b'], None, ('grid',), 16),
        (['a', 'b'], None, ('grid', 'vbench'), 10),
        (['a', 'b'], 50, ('vbench',), 50),
    ],
)
def test_there_are_five_videos_of_each_prompt_unless_num_is_set(prompts, num, formats, expected):
    assert choose_num(argparse.Namespace(prompt=prompts, num=num), formats) == expected


@pytest.mark.parametrize(('prompts', 'message'), [(None, 'want --prompt=TEXT or --prompts'), (['a', 'b', 'a'], "'a'")])
def test_videos_that_prompts_do_not_tell_apart_are_refused(prompts, message):
    with pytest.raises(UserError, match=message):
        choose_num(argparse.Namespace(prompt=prompts, num=None), ('vbench',))


def read(path, prompt=None):
    return read_prompts(argparse.Namespace(prompt=prompt, prompts=None if path is None else str(path)))


def test_prompts_of_a_file_are_each_taken_once(tmp_path):
    entries = [{'prompt_en': text, 'dimension': ['scene']} for text in ('b ', 'a', 'b ')]
    (tmp_path / 'VBench_full_info.json').write_text(json.dumps(entries))
    assert read(tmp_path / 'VBench_full_info.json') == ['b ', 'a']
    (tmp_path / 'all.txt').write_bytes('\ufeffçb \r\n\r\n  a\nçb\n'.encode())
    assert read(tmp_path / 'all.txt') == ['çb', 'a']
    assert read(None, ['x', 'x']) == ['x', 'x'] and read(None) == []


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('p.txt', b'\n \n', 'holds no prompt'),
        ('p.txt', b'\xff\xfe', 'is not UTF-8'),
        ('p.json', b'[]', 'holds no prompt'),
        ('p.json', b'{"a": 1}', 'want a list'),
        ('p.json', b'[' * 100_000, 'is not JSON'),
        ('p.json', b'["a"]', "'a' has no text"),
        ('p.json', b'[{"prompt_en": 3}]', 'has no text'),
        ('p.json', b'[{"prompt_en": "\\ud800"}]', 'is not UTF-8'),
    ],
)
def test_a_file_that_holds_no_prompts_is_named_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path / name)
    assert f'--prompts={tmp_path}/{name}' in str(error.value) and '\n' not in str(error.value)


def test_prompts_of_a_file_and_of_the_command_line_are_not_mixed(tmp_path):
    with pytest.raises(UserError, match='not both'):
        read(tmp_path / 'p.txt', ['a'])
    with pytest.raises(UserError, match='no such file'):
        read(tmp_path / 'p.txt')


def test_samples_are_called_by_their_prompts_wherever_these_come_from():
    def stem(**options):
        names = dict.fromkeys(('workdir', 'scalars', 'negative', 'prompts'))
        args = argparse.Namespace(**names | {'num': 16, 'out': 'x'} | options)
        return make_stem(args, [], [20], {'num': 16})

    assert stem(prompt=['a']) == stem(prompt=['a'], prompts='file') != stem(prompt=['b'], prompts='file')
    assert stem(prompt=None) == 'step_000020'


def test_a_sample_without_a_prompt_has_a_name_too():
    assert Sample(3, np.zeros((1, 1, 1, 3), np.uint8)).file_name('vbench') == 'vbench/-0.mp4'
