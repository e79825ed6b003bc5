"""Lists as spreadsheets, pandas and Hugging Face write them."""

import codecs
import unicodedata

import pytest

from data_pipelines.inputs.listing import list_inputs
from vdm_jax.errors import UserError

ROWS = ['{path}', 'caption', 'good'], ['a.mp4', 'ein Hund läuft, schnell; sehr | schnell', '0.5'], ['b.mp4', 'x', '1']


@pytest.fixture
def folder(tmp_path):
    for name in ('a.mp4', 'b.mp4'):
        (tmp_path / name).write_bytes(b'video')
    return tmp_path


def text_of(sign, path='path', end='\n'):
    """ROWS with this sign between columns; a value that has it stands in quotes."""

    def quote(value):
        return f'"{value}"' if sign in value else value

    return ''.join(sign.join(quote(value.format(path=path)) for value in row) + end for row in ROWS)


def check(path):
    listing = list_inputs(str(path))
    assert {item.name: ([each.text for each in item.captions], item.scores) for item in listing.items} == {
        'a.mp4': ([ROWS[1][1]], {'good': 0.5}),
        'b.mp4': (['x'], {'good': 1.0}),
    }
    assert not any(item.problem for item in listing.items) and listing.unused == ()


@pytest.mark.parametrize('name', 'path file video file_name filename file_path filepath video_path FileName'.split())
def test_the_column_of_paths_has_the_names_that_it_has_elsewhere(folder, name):
    (folder / 'list.csv').write_text(text_of(',', name))
    check(folder / 'list.csv')


def test_of_several_columns_of_paths_the_first_of_the_known_is_taken_and_the_others_are_named(folder):
    (folder / 'list.csv').write_text('file_name,caption,path\nz.mp4,x,a.mp4\n')
    listing = list_inputs(str(folder / 'list.csv'))
    assert [item.name for item in listing.items] == ['a.mp4'] and listing.unused == ('file_name',)


@pytest.mark.parametrize('sign', [',', ';', '\t', '|'])
@pytest.mark.parametrize('name', ['list.csv', 'list.tsv', 'LIST.CSV'])
def test_columns_may_be_parted_by_commas_semicolons_and_tabs(folder, sign, name):
    (folder / name).write_text(text_of(sign))
    check(folder / name)


@pytest.mark.parametrize('sign', [',', '\t'])
@pytest.mark.parametrize(
    ('mark', 'encoding'),
    [
        (codecs.BOM_UTF8, 'utf-8'),
        (codecs.BOM_UTF16_LE, 'utf-16-le'),
        (codecs.BOM_UTF16_BE, 'utf-16-be'),
        (codecs.BOM_UTF32_LE, 'utf-32-le'),
    ],
)
def test_a_list_with_a_byte_order_mark_is_read_as_that_says(folder, sign, mark, encoding):
    (folder / 'list.csv').write_bytes(mark + text_of(sign, end='\r\n').encode(encoding))
    check(folder / 'list.csv')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (text_of(',').encode('utf-16-le'), 'as UTF-16 without a byte order mark has; save it as UTF-8'),
        (codecs.BOM_UTF16_LE + text_of(',').encode('utf-16-le')[:-1], 'is cut off or damaged: .*; save it as UTF-8'),
        (b'name;caption\na.mp4;x\n', 'no column path or file or video; found: name;caption; call the one with'),
        (b'name,caption\na.mp4,x\n', 'found: caption, name; call the one with the paths of the videos path'),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_with_what_to_change(folder, content, message):
    (folder / 'list.csv').write_bytes(content)
    with pytest.raises(UserError, match=message):
        list_inputs(str(folder / 'list.csv'))


@pytest.mark.parametrize(('listed_as', 'stored_as'), [('NFC', 'NFD'), ('NFD', 'NFC')])
def test_a_name_in_another_unicode_form_is_the_file_that_is_there(folder, listed_as, stored_as):
    stored = unicodedata.normalize(stored_as, 'Über/café.mp4')
    (folder / stored).parent.mkdir()
    (folder / stored).write_bytes(b'video')
    other = unicodedata.normalize(listed_as, 'Über/café.mp4')
    rows = f'path,caption\n{other},one\n{stored},two\n{folder}/{other},three\nÜber/gone.mp4,four\n'
    (folder / 'list.csv').write_text(rows, encoding='utf-8')
    listed = {item.name: item for item in list_inputs(str(folder / 'list.csv')).items}
    assert [each.text for each in listed[stored].captions] == ['one', 'two', 'three'] and not listed[stored].problem
    assert listed['Über/gone.mp4'].problem == 'missing: no such file' and len(listed) == 2
