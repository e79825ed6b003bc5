"""`verify` of what was made beforehand: latents, embeddings of texts, exported weights."""

import json

import pytest

from data_pipelines.__main__ import main
from tests.reliability.data_files import make_latents, make_texts
from tests.reliability.weights_files import WEIGHTS, make_weights
from vdm_jax.data.latents.metadata import part_file

MAKERS = {'latents': make_latents, 'texts': make_texts, 'weights': make_weights}
SUMMARIES = {
    'latents': '12 views of clips',
    'texts': 'embeddings of 12 texts',
    'weights': WEIGHTS,
}
# A file of each whose last byte is one of the values themselves.
VALUES = {'latents': part_file('moments', 1, 2), 'texts': 'tokens-00001.npy', 'weights': WEIGHTS}


@pytest.fixture(params=MAKERS)
def kind(request):
    return request.param


@pytest.fixture
def place(kind, tmp_path):
    MAKERS[kind](tmp_path)
    return tmp_path / WEIGHTS if kind == 'weights' else tmp_path


def run_verify(place, capsys, *more):
    """Return the exit code and the standard output."""
    code = main(['verify', str(place), *more])
    out, err = capsys.readouterr()
    assert not err, err
    return code, out


def test_an_unchanged_cache_has_right_hashes(kind, place, capsys):
    code, out = run_verify(place, capsys)
    assert code == 0 and SUMMARIES[kind] in out and out.endswith(': all hashes are right\n') and out.count('\n') == 1
    report = json.loads(run_verify(place, capsys, '--json')[1])
    assert report['problems'] == [] and report['verified'] and report['bytes'] > 100


def test_a_bit_anywhere_in_the_values_is_found_and_its_file_named(kind, place, tmp_path, capsys):
    path = tmp_path / VALUES[kind]
    content = bytearray(path.read_bytes())
    content[-1] ^= 4
    path.write_bytes(content)
    code, out = run_verify(place, capsys)
    assert code == 1 and out.splitlines()[0].startswith(f'{path.name}: ') and out.endswith(': 1 problems\n')
    code, out = run_verify(place, capsys, '--json')
    assert code == 1 and [problem['file'] for problem in json.loads(out)['problems']] == [path.name]


def test_buckets_of_latents_are_all_looked_at(tmp_path, capsys):
    for number in range(2):
        (tmp_path / f'bucket-0000{number}').mkdir()
        make_latents(tmp_path / f'bucket-0000{number}')
    code, out = run_verify(tmp_path, capsys)
    assert code == 0 and '24 views of clips in 2 buckets' in out
    (tmp_path / 'bucket-00001' / 'about.json').write_text('{')
    code, out = run_verify(tmp_path, capsys)
    assert code == 1 and out.startswith('bucket-00001/about.json: ')


def test_what_is_none_of_these_is_named(tmp_path, capsys):
    assert main(['verify', str(tmp_path)]) == 2
    assert 'no manifest.json there' in capsys.readouterr().err
    assert main(['verify', str(tmp_path / 'none')]) == 2
    assert 'none: no such file' in capsys.readouterr().err
