"""Ranges: whatever number a config is given, it works or is refused in one line."""

import dataclasses
import itertools
import math

import pytest

from tests.probes import probe
from tests.walk import Field, ends, get, is_list, is_number, parts, walk
from vdm_jax.build import experiment_from
from vdm_jax.errors import UserError
from vdm_jax.ranges import Between, Ranged

BALLS = '--config=experiments/bouncing_balls.py'
VALUES = ('-1', '0', 'nan', 'inf', '-inf', '1e9')
FIELDS = walk()
BY_CLASS = {cls: list(group) for cls, group in itertools.groupby(FIELDS, lambda field: field.cls)}
classes = pytest.mark.parametrize('cls', BY_CLASS, ids=lambda cls: cls.__name__)


def works(field: Field, text: str) -> bool:
    """Whether the config takes the value; one that it takes must work, one that it refuses must be named in a line."""
    try:
        experiment = field.read(text)
        if is_number(field.annotation):
            assert float(field.value(experiment)) == float(text), 'another value than was asked for'
        probe(experiment, field.key)
    except UserError as error:
        assert '\n' not in str(error) and len(str(error)) < 400, error
        assert f'config.{field.key.rpartition(".")[0]}'.rstrip('.') in str(error), error
        return False
    except ValueError as error:  # of diffusion, which checks.py makes a UserError
        assert str(error).startswith('config.') and '\n' not in str(error), error
        return False
    return True


@classes
def test_every_number_works_or_is_refused_in_one_line(cls):
    for field in BY_CLASS[cls]:
        if is_number(field.annotation):
            taken = [text for text in VALUES if works(field, text)]
            assert not {'nan', 'inf', '-inf'} & {*taken}, field.key


@classes
def test_the_ends_of_every_range_work_too(cls):
    for field in BY_CLASS[cls]:
        if is_number(field.annotation):
            for number in ends(field.annotation):
                works(field, repr(number))


@classes
def test_every_list_works_or_is_refused_in_one_line(cls):
    for field in BY_CLASS[cls]:
        if not is_list(field.annotation):
            continue
        usual = get(experiment_from(field.groups), field.key)
        if usual and dataclasses.is_dataclass(usual[0]):
            continue
        items = [str(item) for item in usual or ('1', '2')]
        lists = [[], items, items * 2, items + items[:1]]
        lists += [[*items[:place], value, *items[place + 1 :]] for place in range(len(items)) for value in VALUES]
        taken = [each for each in lists if works(field, ','.join(each))]
        assert not any('nan' in each or 'inf' in each for each in taken), field.key


@classes
def test_no_number_is_without_a_range(cls):
    for field in BY_CLASS[cls]:
        for kind, rules in parts(field.annotation):
            if kind in (int, float):
                assert any(isinstance(rule, Between) for rule in rules), f'{cls.__name__}.{field.name}: declare a range'
                assert all(math.isfinite(end) for end in ends(field.annotation))


@classes
def test_ranges_hold_in_python_as_well(cls):
    for field in BY_CLASS[cls]:
        if not is_number(field.annotation):
            continue
        usual = get(experiment_from(field.groups), field.key.rpartition('.')[0])
        assert type(usual) is cls and isinstance(usual, Ranged)
        for value in (math.nan, math.inf, 1e300, True, 'text'):
            with pytest.raises(UserError, match=rf'^config\.[\w.]*{field.name}='):
                dataclasses.replace(usual, **{field.name: value})


@pytest.mark.parametrize('cls', [None])
def test_walk_finds_what_there_is(cls):
    keys = {field.key for field in FIELDS}
    assert {'seed', 'data.limits.frames', 'diffusion.process.logsnr_min', 'model.attention.block_q'} <= keys
    assert {'sampler.churn', 'sampler.spacing.offset', 'codec.model.norm_num_groups', 'profile.steps'} <= keys
    assert len(BY_CLASS) > 60
