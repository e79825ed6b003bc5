import csv
import errno
import json
import os
import sys

import pyarrow as pa
import pytest
from pyarrow import parquet

from data_pipelines.inputs.digest import digest_item
from data_pipelines.inputs.item import Item
from data_pipelines.inputs.listing import list_inputs
from vdm_jax.data.records.schema import Caption
from vdm_jax.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """A folder for files that are videos only by their names, for none is opened here."""
    (tmp_path / 'videos').mkdir()
    return tmp_path / 'videos'


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b'video')


def items(source, **options):
    return {item.name: item for item in list_inputs(str(source), **options).items}


def reasons(listed):
    return {name: item.problem.partition(':')[0] for name, item in listed.items()}


def write(path, rows):
    """The rows as a list of the kind of the path's suffix; as CSV lists and mappings are JSON."""
    if path.suffix == '.csv':
        columns = list(dict.fromkeys(name for row in rows for name in row))
        with path.open('w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()

            def flat(value):
                return json.dumps(value) if isinstance(value, list | dict) else value

            writer.writerows({name: flat(value) for name, value in row.items()} for row in rows)
    elif path.suffix == '.jsonl':
        path.write_text('\n'.join(json.dumps(row) for row in rows))
    else:
        names = dict.fromkeys(name for row in rows for name in row)
        parquet.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path


def test_a_folder_is_listed_with_all_below_in_the_order_of_names(folder):
    put(folder, 'b.mp4', 'a b/-x.MOV', 'a b/кот 猫.webm', 'c/d/e.gif', '.hidden/f.mp4', '.g.mp4', 'notes.md', 'c/x.jpg')
    listing = list_inputs(str(folder))
    names = [item.name for item in listing.items]
    assert names == ['a b/-x.MOV', 'a b/кот 猫.webm', 'b.mp4', 'c/d/e.gif']
    assert all(os.path.isabs(item.path) and os.path.isfile(item.path) and not item.problem for item in listing.items)
    assert listing.ignored == {'.jpg': 1, '.md': 1, 'hidden': 2}


def test_files_beside_a_video_hold_its_captions_and_labels(folder):
    put(folder, 'a.mp4', 'b.mp4', 'c.mp4', 'alone.txt')
    (folder / 'a.txt').write_bytes('\ufeffa dog runs\n\n  ein Hund läuft  \r\n'.encode())
    timed = {'text': 'it stops', 'weight': 2, 'start': 1.5, 'end': '0:00:03'}
    (folder / 'b.json').write_text(
        json.dumps({'captions': ['a cat', timed], 'label': 3, 'label_name': 'cat', 'scores': {'clip': 0.3}, 'good': 5})
    )
    (folder / 'b.txt').write_text('one more')
    listed = items(folder)
    assert [caption.text for caption in listed['a.mp4'].captions] == ['a dog runs', 'ein Hund läuft']
    b = listed['b.mp4']
    assert b.captions == (Caption('a cat'), Caption('it stops', 2.0, 1.5, 3.0), Caption('one more'))
    assert (b.label, b.label_name, b.scores) == (3, 'cat', {'clip': 0.3, 'good': 5.0})
    assert listed['c.mp4'].captions == () and not listed['c.mp4'].problem
    assert list_inputs(str(folder)).ignored == {'.txt': 1}


@pytest.mark.parametrize(
    ('side', 'content', 'reason'),
    [
        ('a.txt', 'läuft'.encode('latin-1'), 'encoding'),
        ('a.txt', 'läuft'.encode('utf-16'), 'encoding'),
        ('a.txt', b'x' * (2**20 + 1), 'caption_file'),
        ('a.json', b'{"captions": ["a"', 'bad_json'),
        ('a.json', b'[' * 100_000, 'bad_json'),
        ('a.json', b'["a"]', 'bad_json'),
        ('a.json', b'{"captions": [3]}', 'bad_caption'),
        ('a.json', b'{"captions": [{"text": "a", "weight": -1}]}', 'bad_caption'),
        ('a.json', b'{"captions": [{"text": "a", "start": 3, "end": 2}]}', 'bad_caption'),
        ('a.json', b'{"caption": "\\ud800"}', 'encoding'),
        ('a.json', b'{"label": "cat"}', 'bad_label'),
        ('a.json', b'{"label": 1.5}', 'bad_label'),
        ('a.json', b'{"label": 99999999999999999999}', 'bad_label'),
        ('a.json', b'{"scores": {"clip": "high"}}', 'bad_score'),
        ('a.json', b'{"start": 5, "end": 5}', 'bad_times'),
        ('a.json', b'{"end": Infinity}', 'bad_times'),
    ],
)
def test_a_file_beside_a_video_that_cannot_be_used_is_the_reason_of_its_row(folder, side, content, reason):
    put(folder, 'a.mp4', 'b.mp4')
    (folder / side).write_bytes(content)
    assert reasons(items(folder)) == {'a.mp4': reason, 'b.mp4': ''}


def test_links_out_broken_links_and_non_files_have_their_own_reasons(folder, tmp_path):
    put(tmp_path, 'elsewhere/secret.mp4', 'elsewhere/secret.txt')
    put(folder, 'a.mp4', 'b.mp4', 'sub/c.mp4')
    (folder / 'inside.mp4').symlink_to(folder / 'a.mp4')
    (folder / 'outside.mp4').symlink_to(tmp_path / 'elsewhere' / 'secret.mp4')
    (folder / 'b.txt').symlink_to(tmp_path / 'elsewhere' / 'secret.txt')
    os.mkfifo(folder / 'sub' / 'c.txt')
    (folder / 'broken.mp4').symlink_to(folder / 'gone.mp4')
    (folder / 'broken_outside.mp4').symlink_to(tmp_path / 'gone.mp4')
    (folder / 'circle.mp4').symlink_to(folder / 'circle.mp4')
    (folder / 'linked').symlink_to(tmp_path / 'elsewhere')
    os.mkfifo(folder / 'pipe.mp4')
    listed = items(folder)
    assert reasons(listed) == {
        'a.mp4': '',
        'b.mp4': 'link',
        'broken.mp4': 'broken_link',
        'broken_outside.mp4': 'broken_link',
        'circle.mp4': 'broken_link',
        'inside.mp4': '',
        'linked/': 'link',
        'outside.mp4': 'link',
        'pipe.mp4': 'no_file',
        'sub/c.mp4': 'no_file',
    }
    secret = os.path.realpath(tmp_path / 'elsewhere' / 'secret')
    for name, detail in {
        'outside.mp4': f'to {secret}.mp4; --follow-links takes it',
        'b.mp4': f'b.txt: a link leads out of the folder of --source, or of that of --root, to {secret}.txt',
        'linked/': 'to a folder; --follow-links goes into it',
        'broken.mp4': f'it is a link to {folder}/gone.mp4, which is not there',
        'circle.mp4': 'in a circle',
    }.items():
        assert detail in listed[name].problem


def cache(place, files):
    """A snapshot as Hugging Face's cache has it: each name is a link to a blob, which is called by its hash."""
    (place / 'blobs').mkdir(parents=True)
    for number, (name, content) in enumerate(files.items()):
        (place / 'blobs' / f'{number:040x}').write_bytes(content)
        link = place / 'snapshots' / 'main' / name
        link.parent.mkdir(parents=True, exist_ok=True)
        up = '../' * (2 + name.count('/'))
        link.symlink_to(f'{up}blobs/{number:040x}')
    return place / 'snapshots' / 'main'


def test_links_out_of_the_folder_are_followed_with_follow_links(tmp_path):
    """Files beside videos and the paths of lists among them; a name that leads out by itself is none of them."""
    files = {'a.mp4': b'video', 'sub/b.webm': b'video', 'a.txt': b'a dog', 'sub/b.json': b'{"captions": ["a cat"]}'}
    files |= {'list.csv': b'path,caption\na.mp4,one\nsub/b.webm,two\n../../blobs/' + b'0' * 40 + b',three\n'}
    snapshot = cache(tmp_path, files)
    assert reasons(items(snapshot)) == {'a.mp4': 'link', 'sub/b.webm': 'link'}
    listed = items(snapshot, follow_links=True)
    assert {name: [each.text for each in item.captions] for name, item in listed.items()} == {
        'a.mp4': ['a dog'],
        'sub/b.webm': ['a cat'],
    }
    assert listed['a.mp4'].path == str(snapshot / 'a.mp4') and not any(reasons(listed).values())
    root = str(snapshot)
    named = reasons(items(snapshot / 'list.csv', root=root, follow_links=True))
    assert list(named.values()) == ['outside', '', ''] and list(named)[1:] == ['a.mp4', 'sub/b.webm']
    assert set(reasons(items(snapshot / 'list.csv', root=root)).values()) == {'outside', 'link'}


def test_linked_folders_are_entered_once_with_follow_links(folder, tmp_path):
    put(tmp_path, 'elsewhere/deep/x.mp4', 'elsewhere/y.mp4')
    put(folder, 'a.mp4', 'sub/b.mp4')
    (folder / 'again').symlink_to(tmp_path / 'elsewhere')
    (folder / 'linked').symlink_to(tmp_path / 'elsewhere')
    (folder / 'own').symlink_to(folder / 'sub')
    (folder / 'sub' / 'up').symlink_to(folder)
    (tmp_path / 'elsewhere' / 'deep' / 'back').symlink_to(tmp_path / 'elsewhere')
    assert set(reasons(items(folder))) == {'a.mp4', 'again/', 'linked/', 'own/', 'sub/b.mp4', 'sub/up/'}
    listed = items(folder, follow_links=True)
    assert reasons(listed) == {
        'a.mp4': '',
        'again/deep/back/': 'link',
        'again/deep/x.mp4': '',
        'again/y.mp4': '',
        'linked/': 'link',
        'own/': 'link',
        'sub/b.mp4': '',
        'sub/up/': 'link',
    }
    assert 'listed already' in listed['linked/'].problem


@pytest.mark.skipif(sys.platform == 'darwin', reason='file names there are always UTF-8')
def test_a_name_that_is_no_utf_8_is_listed_and_found(folder):
    (folder / os.fsdecode(b'caf\xe9.mp4')).write_bytes(b'video')
    ((name, item),) = items(folder).items()
    assert name == 'caf\\xe9.mp4' and os.path.isfile(item.path) and not item.problem
    assert len(digest_item(item)) == 16


ROWS = [
    {'path': 'a.mp4', 'caption': 'a dog, running', 'aesthetic': 5.5, 'title': 'x', 'label': 1},
    {'path': 'sub/b.mp4', 'caption': '', 'aesthetic': None, 'title': '7', 'label': 0, 'start': 2, 'end': 4.25},
    {
        'path': './c.mp4',
        'caption': 'c',
        'captions': [{'text': 'moves', 'weight': 0.5, 'start': 1, 'end': 2}, {'text': 'plain'}],
        'aesthetic': 4.0,
        'title': 'y',
        'split': 'test',
    },
]


@pytest.mark.parametrize('kind', ['csv', 'jsonl', 'parquet'])
def test_lists_of_every_kind_give_the_same_items(folder, kind):
    put(folder, 'a.mp4', 'sub/b.mp4', 'c.mp4')
    listing = list_inputs(str(write(folder / f'list.{kind}', ROWS)))

    def path(name):
        return str(folder / name)

    c = Caption('c'), Caption('moves', 0.5, 1.0, 2.0), Caption('plain')
    assert listing.items == (
        Item('a.mp4', path('a.mp4'), (Caption('a dog, running'),), 1, scores={'aesthetic': 5.5}),
        Item('c.mp4', path('c.mp4'), c, scores={'aesthetic': 4.0}, split='test'),
        Item('sub/b.mp4#2-4.25', path('sub/b.mp4'), label=0, start=2.0, end=4.25),
    )
    assert listing.items[2].source == 'sub/b.mp4' and listing.unused == ('title',)


def test_rows_of_a_csv_that_cannot_be_used_do_not_spoil_the_others(folder):
    put(folder, 'a.mp4', 'b.mp4', 'c.mp4', 'd.mp4', '../secret.mp4')
    lines = [
        b'Video,Text,clip,Label',
        b'a.mp4,"a ""big"" dog",0.5,1',
        b'b.mp4,too few',
        b'c.mp4,too,many,2,columns',
        b',no path,0.1,1',
        b'c.mp4,l\xe4uft,0.2,1',
        b'../secret.mp4,x,0.3,1',
        b'/etc/passwd,x,0.3,1',
        b'http://host/x.mp4,x,0.3,1',
        b'gone.mp4,x,0.3,1',
        b'd.mp4,x,0.3,one',
        b'a.mp4,again,0.4,1',
        b'',
        str(folder / 'd.mp4').encode() + b',absolute,0.6,2',
        b'b.mp4,"never closed,0.7,1',
        b'c.mp4,x,0.8,1',
    ]
    (folder / 'list.csv').write_bytes(b'\n'.join(lines))
    listed = items(folder / 'list.csv')
    assert reasons(listed) == {
        'a.mp4': '',
        'd.mp4': 'bad_label',
        'd.mp4 (2)': 'listed_twice',
        'a.mp4 (2)': 'listed_twice',
        'list.csv line 3': 'columns',
        'list.csv line 4': 'columns',
        'list.csv line 5': 'no_path',
        'c.mp4': 'encoding',
        '../secret.mp4': 'outside',
        '/etc/passwd': 'outside',
        'http:/host/x.mp4': 'missing',
        'gone.mp4': 'missing',
        'list.csv line 15': 'bad_row',
    }
    assert listed['a.mp4'].captions == (Caption('a "big" dog'),) and listed['a.mp4'].scores == {'clip': 0.5}
    assert 'lines 15 to 16' in listed['list.csv line 15'].problem


def test_lines_of_json_that_cannot_be_used_do_not_spoil_the_others(folder):
    put(folder, 'a.mp4')
    lines = [
        b'{"file": "a.mp4"}',
        b'{"file": "a.mp4"',
        b'["a.mp4"]',
        b'{"file": "\xe4"}',
        b'{"file": 3}',
        b'{"file": "a\\u0000"}',
    ]
    (folder / 'list.jsonl').write_bytes(b'\n'.join(lines))
    assert list(reasons(items(folder / 'list.jsonl')).values()) == [
        '',
        'bad_json',
        'bad_json',
        'encoding',
        'no_path',
        'no_path',
    ]


def test_several_windows_of_one_file_are_several_inputs(folder):
    put(folder, 'a.mp4')
    rows = [{'path': 'a.mp4', 'start': start, 'end': end} for start, end in ((0, 2), (2, None), ('0:01:10.5', 80))]
    windows = items(write(folder / 'list.jsonl', rows))
    assert {name: (item.start, item.end) for name, item in windows.items()} == {
        'a.mp4#0-2': (0, 2),
        'a.mp4#2-': (2, None),
        'a.mp4#70.5-80': (70.5, 80),
    }
    assert {item.source for item in windows.values()} == {'a.mp4'} and not any(reasons(windows).values())


def test_classes_with_names_only_are_numbered_in_their_order(folder):
    put(folder, 'a.mp4', 'b.mp4', 'c.mp4')
    rows = [{'path': f'{name}.mp4', 'label_name': of} for name, of in zip('abc', ('swim', 'dive', 'swim'), strict=True)]
    assert [item.label for item in items(write(folder / 'list.csv', rows)).values()] == [1, 0, 1]


def test_paths_of_a_list_are_taken_from_a_root_where_one_is_named(folder, tmp_path):
    put(folder, 'a.mp4')
    path = write(tmp_path / 'list.csv', [{'path': 'a.mp4'}])
    assert reasons(items(path)) == {'a.mp4': 'missing'}
    assert reasons(items(path, root=str(folder))) == {'a.mp4': ''}


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('list.csv', b'', 'no header'),
        ('list.csv', b'name,caption\na,b\n', 'no column path or file or video; found: caption, name'),
        ('list.csv', b'path,caption,caption\n', "column 'caption' is there twice"),
        ('list.csv', b'path\n', 'holds no video'),
        ('list.parquet', b'PAR1', 'cannot be read'),
        ('list.xlsx', b'x', 'is no folder, and no list: those end in .csv, .jsonl, .parquet'),
    ],
)
def test_an_invalid_source_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match='--source=') as error:
        list_inputs(str(tmp_path / name))
    assert message in str(error.value)


@pytest.mark.parametrize('name', ['list.csv', 'list.jsonl'])
def test_unreadable_files_are_named(folder, monkeypatch, name):
    put(folder, 'a.mp4', 'b.mp4')
    for each in ('b.txt', name):
        (folder / each).touch()

    def refuse(path, *more, **how):
        raise PermissionError(errno.EACCES, 'Permission denied', path)

    monkeypatch.setattr('builtins.open', refuse)  # for root may read everything
    item = items(folder)['b.mp4']
    with pytest.raises(UserError) as error:
        list_inputs(str(folder / name))
    monkeypatch.undo()
    assert item.problem == 'caption_file: b.txt: Permission denied'
    assert str(error.value) == f'--source={folder / name} cannot be read: Permission denied'


def test_a_missing_source_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match='is not there'):
        list_inputs(str(tmp_path / 'gone'))
    with pytest.raises(UserError, match='holds no video'):
        list_inputs(str(tmp_path))


def test_the_digest_of_an_item_depends_on_everything_but_its_path(folder):
    put(folder, 'a.mp4')
    item = items(folder)['a.mp4']
    same = digest_item(item)
    (folder / 'a.txt').write_text('a dog')
    captioned = digest_item(items(folder)['a.mp4'])
    (folder / 'a.mp4').write_bytes(b'a longer video')
    assert len({same, captioned, digest_item(items(folder)['a.mp4'])}) == 3
    folder.rename(folder.parent / 'moved')
    (folder.parent / 'moved' / 'a.mp4').write_bytes(b'video')
    (folder.parent / 'moved' / 'a.txt').unlink()
    assert digest_item(items(folder.parent / 'moved')['a.mp4']) == same


def test_a_link_to_the_root_itself_is_followed(folder, tmp_path):
    put(folder, 'a.mp4')
    (tmp_path / 'link').symlink_to(folder)
    assert reasons(items(tmp_path / 'link')) == {'a.mp4': ''}
    assert reasons(items(write(tmp_path / 'link' / 'list.csv', [{'path': 'a.mp4'}]))) == {'a.mp4': ''}
