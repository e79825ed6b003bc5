"""Several rows of one video, as MSR-VTT, MSVD and ActivityNet write captions."""

import json

import pytest

from data_pipelines.inputs.item import Item
from data_pipelines.inputs.listing import list_inputs
from vdm_jax.data.records.schema import Caption

FIELDS = {'label': 3, 'label_name': 'dogs', 'aesthetic': 5.5, 'split': 'train'}


def items(folder, *rows, **options):
    for name in ('a.mp4', 'b.mp4'):
        (folder / name).write_bytes(b'video')
    (folder / 'list.jsonl').write_text('\n'.join(json.dumps({'path': 'a.mp4', **row}) for row in rows))
    return {item.name: item for item in list_inputs(str(folder / 'list.jsonl'), **options).items}


def test_rows_of_one_video_are_its_captions_in_their_order(tmp_path):
    rows = [{'caption': f'caption {i % 19}', **FIELDS} for i in range(20)]  # the last is the first once more
    rows.insert(7, {'captions': [{'text': 'heavy', 'weight': 3}, {'text': 'late', 'start': 2}]})
    rows.insert(3, {'path': 'b.mp4', 'caption': 'another'})
    rows.insert(9, {'path': './a.mp4', 'caption': None, 'label': 3})
    texts = [Caption(f'caption {i}') for i in range(19)]
    texts[7:7] = [Caption('heavy', 3.0), Caption('late', start=2.0)]
    assert items(tmp_path, *rows) == {
        'a.mp4': Item('a.mp4', str(tmp_path / 'a.mp4'), tuple(texts), 3, 'dogs', {'aesthetic': 5.5}, split='train'),
        'b.mp4': Item('b.mp4', str(tmp_path / 'b.mp4'), (Caption('another'),)),
    }


@pytest.mark.parametrize('name', FIELDS)
def test_rows_may_hold_fields_that_others_leave_out(tmp_path, name):
    listed = items(tmp_path, {'caption': 'one'}, {'caption': 'two', name: FIELDS[name]}, {'caption': 'three'})
    (item,) = listed.values()
    assert [caption.text for caption in item.captions] == ['one', 'two', 'three'] and not item.problem
    assert (item.scores.get(name) if name == 'aesthetic' else getattr(item, name)) == FIELDS[name]


@pytest.mark.parametrize('name', FIELDS)
def test_rows_that_contradict_each_other_are_named_with_both_values(tmp_path, name):
    other = {'label': 4, 'label_name': 'cats', 'aesthetic': 4.5, 'split': 'test'}[name]
    rows = [{'caption': 'one', name: FIELDS[name]}, {'caption': 'two', name: other}, {'caption': 'three'}]
    listed = items(tmp_path, *rows)
    assert [caption.text for caption in listed['a.mp4'].captions] == ['one', 'three'] and not listed['a.mp4'].problem
    problem = listed['a.mp4 (2)'].problem
    earlier = FIELDS[name]
    assert problem.startswith(f'listed_twice: its {name} is {other!r} in this row and {earlier!r} in an earlier one')
    assert len(listed) == 2


def test_windows_of_one_video_stay_apart_and_each_has_its_rows(tmp_path):
    rows = [{'caption': f'{start} {i}', 'start': start, 'end': start + 2} for i in range(2) for start in (0, 2)]
    listed = items(tmp_path, *rows, {'caption': 'all of it'})
    assert {name: [caption.text for caption in item.captions] for name, item in listed.items()} == {
        'a.mp4': ['all of it'],
        'a.mp4#0-2': ['0 0', '0 1'],
        'a.mp4#2-4': ['2 0', '2 1'],
    }


def test_a_row_whose_caption_cannot_be_read_costs_only_that_caption(tmp_path):
    rows = [{'caption': '\ud800'}, {'caption': 'one'}, {'captions': [3]}, {'caption': 'two'}]
    listed = items(tmp_path, *rows)
    assert [caption.text for caption in listed['a.mp4'].captions] == ['one', 'two'] and not listed['a.mp4'].problem
    assert {name: item.problem.partition(':')[0] for name, item in listed.items() if item.problem} == {
        'a.mp4 (2)': 'encoding',
        'a.mp4 (3)': 'bad_caption',
    }


def test_rows_after_one_with_a_bad_label_are_listed_as_repeated(tmp_path):
    listed = items(tmp_path, {'caption': 'one', 'label': 'x'}, {'caption': 'two', 'label': 3})
    assert {name: item.problem.partition(':')[0] for name, item in listed.items()} == {
        'a.mp4': 'bad_label',
        'a.mp4 (2)': 'listed_twice',
    }


def test_a_video_that_is_not_there_is_missing_once_however_many_rows_it_has(tmp_path):
    listed = items(tmp_path, *({'path': 'gone.mp4', 'caption': f'{i}'} for i in range(20)), {'caption': 'one'})
    assert {name: item.problem for name, item in listed.items()} == {'a.mp4': '', 'gone.mp4': 'missing: no such file'}
