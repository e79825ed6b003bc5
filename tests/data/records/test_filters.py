"""Filters on what is known of clips: the same for a table of them and for one."""

import time

import numpy as np
import pytest

from vdm_jax.data.records.filters import FACTS, MAX_LENGTH, Columns, parse
from vdm_jax.data.records.schema import Caption, Record
from vdm_jax.data.records.shards import RecordSet, write_shard, write_table
from vdm_jax.errors import UserError

KNOWN = {
    'frames': np.array([8, 16, 48]),
    'height': np.array([128, 256, 512], np.int32),
    'label': np.array([np.nan, 0.0, 3.0]),
    'label_name': np.array(['', 'dunk', 'high jump'], object),
    'motion': np.array([0.02, np.nan, 0.5]),
}


@pytest.mark.parametrize(
    ('texts', 'expected_rows'),
    [
        ((), [1, 1, 1]),
        (['motion>=0.02'], [1, 0, 1]),
        (['motion > 0.02'], [0, 0, 1]),
        (['motion<=0.02|missing'], [1, 1, 0]),
        (['motion!=0.02'], [0, 0, 1]),
        (['height<512', 'frames==16'], [0, 1, 0]),
        (['label_name==high jump'], [0, 0, 1]),
        (['label_name!=dunk'], [0, 0, 1]),
        (['label_name!=dunk|missing'], [1, 0, 1]),
        (['label<1e0'], [0, 1, 0]),
    ],
)
def test_a_table_and_its_rows_match_the_same_filters(texts, expected_rows):
    filters = parse(texts)
    np.testing.assert_array_equal(filters.matches(KNOWN), np.array(expected_rows, bool))
    for i, expected in enumerate(expected_rows):
        assert (filters.first_failing({name: column[i] for name, column in KNOWN.items()}) is None) == bool(expected)


def test_the_filter_that_fails_first_is_named_as_it_was_written():
    filters = parse(['height >= 100', 'motion>=0.1', 'frames>100'])
    assert filters.first_failing({'height': 128, 'motion': 0.05, 'frames': 8}) == 'motion>=0.1'
    assert filters.first_failing({'height': 128, 'motion': None, 'frames': 8}) == 'motion>=0.1'
    assert filters.first_failing({'height': 128, 'frames': 8}) == 'motion>=0.1'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('motio>=0.02', "config.data.filters: motio>=0.02: nothing is called 'motio'; did you mean 'motion'?"),
        ('zzz>1', "nothing is called 'zzz'; known: frames, height, label, label_name, motion"),
        ('motion=0.02', "'motion=0.02' is no filter; write == for equal"),
        ('motion', "'motion' is no filter; want NAME"),
        ('motion>=', "'motion>=' is no filter"),
        ('>=1', "'>=1' is no filter"),
        ('motion>=much', "motion is a number, and 'much' is none"),
        ('motion>=nan', "motion is a number, and 'nan' is none"),
        ('label_name>dunk', 'label_name is a text; compare it with == or !='),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(UserError) as error:
        parse([text]).matches(KNOWN)
    assert message in str(error.value)


def test_a_set_is_filtered_by_its_facts_and_scores(tmp_path):
    records = [
        Record('a', 16, 32, 64, 8.0, b'v', captions=(Caption('one'), Caption('two')), scores={'motion': 0.5}),
        Record('b', 4, 32, 64, 8.0, b'v', label=2, label_name='dunk', scores={'blur.x': 1.0}),
    ]
    write_table(tmp_path / 'records.parquet', write_shard(tmp_path / 'shard', records, 0))
    columns = Columns(RecordSet(str(tmp_path)))
    assert set(columns) == {*FACTS, 'motion', 'blur.x'} and len(columns) == len(FACTS) + 2
    assert all(len(columns[name]) == 2 for name in columns)
    matches = {
        'seconds>=2': [1, 0],
        'captions>=1': [1, 0],
        'motion>0': [1, 0],
        'blur.x==1': [0, 1],
        'label_name==dunk': [0, 1],
        'label==2': [0, 1],
        'width>=64': [1, 1],
    }
    for text, expected in matches.items():
        np.testing.assert_array_equal(parse([text]).matches(columns), np.array(expected, bool), text)


@pytest.mark.parametrize('text', [' a', 'a ', 'a >', '(', '. ', '=', 'a>=1', '>', 'a-', 'é', '\n'], ids=repr)
def test_filters_of_any_length_are_read_at_once(text):
    """A thousandth of a second a filter, where time in proportion to the square of the length would be seconds."""
    began = time.perf_counter()
    for length in (1000, MAX_LENGTH, 10**6):
        try:
            parse([(text * length)[:length]]).check(['frames'])
        except UserError as error:
            assert '\n' not in str(error) and len(str(error)) < 2 * MAX_LENGTH
    with pytest.raises(UserError, match='1,000,000 characters; a filter has 10,000 at most'):
        parse([(text * 10**6)[: 10**6]])
    assert time.perf_counter() - began < 0.5
