"""Every codec, container and history of the matrix, against a complete decode by the ffmpeg program."""

import json
import pathlib
import shutil

import numpy as np
import pytest

pytest.importorskip('av')

from tests.data.video import matrix


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('matrix')


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('ffmpeg') is None, reason='the ffmpeg program is not there')
@pytest.mark.parametrize('case', matrix.cases(), ids=lambda case: case.name)
def test_a_file_is_read_as_ffmpeg_decodes_it_from_anywhere(folder, case):
    path = matrix.make(case, folder)
    result = matrix.check(path, *matrix.reference(path))
    assert result.frames > 30 and not result.wrong
    assert np.isnan(result.off) or result.off < 1e-6


STORED = pathlib.Path(__file__).parent / 'stored'
INDEX = json.loads((STORED / 'index.json').read_text())


@pytest.mark.parametrize('name', INDEX)
def test_a_stored_file_is_read_as_ffmpeg_decoded_it(name):
    result = matrix.check(STORED / name, INDEX[name]['hashes'], np.array(INDEX[name]['times']))
    assert result.frames > 10 and not result.wrong
    assert np.isnan(result.off) or result.off < 2e-6
