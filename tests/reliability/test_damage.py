"""Damage to files of every kind is noticed or harmless; `python -m tests.reliability` makes the table of it."""

import itertools

import pytest

from tests.reliability import __main__ as table
from tests.reliability.apart import Reader
from tests.reliability.damage import FAULTS, HANG, Kind, Reading, attempt, count, judge, row
from tests.reliability.kinds import KINDS
from vdm_jax.errors import UserError

QUICK = range(1, 5)  # two bits, one file cut off, one zeroed
MANY = range(60)


def faults_of(counts):
    return {fault: counts[fault] for fault in FAULTS if counts[fault]}


@pytest.mark.parametrize('name', KINDS)
def test_damage_is_noticed_or_harmless(name, tmp_path):
    kind = KINDS[name]
    faults = []
    kind.make(tmp_path)
    counts = count(kind, tmp_path, lambda: attempt(kind, tmp_path), QUICK, fault=faults.append)
    assert not faults_of(counts), '\n'.join(faults)
    remade = name == 'indexes of videos'  # which are made again without a word
    assert counts['tried'] == len(QUICK) and (counts['noticed'] or remade)


@pytest.mark.slow
@pytest.mark.parametrize('name', KINDS)
def test_much_damage_is_noticed_or_harmless(name, capfd):
    counts = table.try_kind(name, MANY, seed=1)
    print(row(name, counts))
    assert not faults_of(counts), capfd.readouterr().err
    assert counts['tried'] == len(MANY)


def test_the_count_separates_noticed_from_unnoticed_damage(tmp_path):
    """Of readers that look at nothing, at everything, die of what they read, or go on without it."""

    def make(directory):
        return (directory / 'file').write_bytes(bytes(range(1, 100)))

    def content(directory):
        return (directory / 'file').read_bytes() if (directory / 'file').exists() else b''

    intact = bytes(range(1, 100))

    def careful(directory):
        if content(directory) != intact:
            raise UserError('file is damaged')
        return intact, ''

    def clumsy(directory):
        assert content(directory) == intact
        return intact, ''

    readers = {
        'harmless': lambda directory: (0, ''),
        'unnoticed': lambda directory: (content(directory), ''),
        'noticed': careful,
        'traceback': clumsy,
    }
    make(tmp_path)
    for column, read in readers.items():
        kind = Kind(make, read, ('file',))
        counts = count(kind, tmp_path, lambda kind=kind: attempt(kind, tmp_path), range(10), fault=lambda line: None)
        assert (counts['tried'], counts[column]) == (10, 10), column

    def going_on(directory):
        return (content(directory), '' if content(directory) == intact else 'one was left out')

    kind = Kind(make, going_on, ('file',))
    assert count(kind, tmp_path, lambda: attempt(kind, tmp_path), range(10))['noticed'] == 10
    answers = itertools.chain([Reading('a')], itertools.repeat(Reading(fault=HANG)))
    assert count(kind, tmp_path, lambda: next(answers), range(3), fault=lambda line: None)['hang'] == 3
    assert judge(Reading('a'), Reading(fault='more than one line')) == 'traceback'


def test_a_reader_without_a_result_counts_as_hanging(tmp_path):
    reader = Reader('none', tmp_path, limit=0.2)
    reader._command = ['sh', '-c', 'read line; echo {}; read line; sleep 60']
    assert reader() == Reading()
    assert reader() == Reading(fault=HANG)
    reader._command = ['sh', '-c', 'read line; exit 3']
    assert reader() == Reading(fault='its process died, with 3')
