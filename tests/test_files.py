"""Files are put in place atomically, where their directory is and nowhere else."""

import os

import pytest

from vdm_jax import files
from vdm_jax.errors import UserError


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / 'other').write_text('of somebody else')
    (tmp_path / 'link').symlink_to(tmp_path / 'other')
    files.write_atomically(tmp_path / 'link', 'ours')
    assert (tmp_path / 'other').read_text() == 'of somebody else'
    assert not (tmp_path / 'link').is_symlink() and (tmp_path / 'link').read_text() == 'ours'


def test_names_may_be_as_long_as_the_file_system_has_them(tmp_path):
    files.write_atomically(tmp_path / ('a' * 255), b'x')
    assert [path.name for path in tmp_path.iterdir()] == ['a' * 255]


def test_what_is_no_file_is_written_to():
    reading, writing = os.pipe()
    files.write_atomically(f'/dev/fd/{writing}', 'through')
    os.close(writing)
    assert os.read(reading, 10) == b'through'
    os.close(reading)


class BusyError(Exception):
    code = 503


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (ConnectionRefusedError('Cannot connect to host storage'), 'cannot be reached (Cannot connect'),
        (TimeoutError('no\nanswer'), 'cannot be reached (no answer)'),
        (BusyError('later'), 'cannot be reached (later)'),
        (PermissionError('not you'), 'the store refuses (not you)'),
        (FileNotFoundError('bucket'), 'there is no such bucket'),
        (ImportError('No module named gcsfs'), "pip install 'vdm_jax[gcs]'"),
    ],
)
def test_what_a_store_raises_is_one_line(error, message):
    with pytest.raises(UserError) as caught, files.explain_refusal('--workdir=gs://a'):
        raise error
    assert str(caught.value).startswith('--workdir=gs://a: ') and message in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_programming_error_is_not_reported_as_one_of_the_store():
    with pytest.raises(KeyError), files.explain_refusal('--workdir=gs://a'):
        raise KeyError('a')
