"""The reference of every key of a config, docs/config.md, made from the dataclasses that are the config."""

import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from vdm_jax.config.frame_size import FrameSize
from vdm_jax.config.ranges import OneOf, annotations_of
from vdm_jax.config.schema import Choice
from vdm_jax.config.values import describe, show_quoted
from vdm_jax.experiment.experiment import Experiment
from vdm_jax.experiment.registry import CHOICES
from vdm_jax.planning import docs_tables

INTRODUCTION = """# Every key of a config

Made from the code by `python -m vdm_jax config --out=docs/config.md`; do not edit.

Any key can be set in an experiment file or on the command line, `--config.train.steps=1000`; what neither sets has the
default below. Where a group is a choice, its name picks the class, and only that class's keys are known:
`--config.sampler=heun --config.sampler.steps=50`. `python -m vdm_jax inspect --config=FILE` prints all keys of an
experiment as they come out.
"""


Field = dataclasses.Field[Any]


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of a group.

    Attributes:
      name: Without its group.
      values: What it takes, in words.
      default: As a user would write it; '' where it must be set.
      meaning: What the group's docstring says of it.
    """

    name: str
    values: str
    default: str
    meaning: str


@dataclasses.dataclass(frozen=True)
class Group:
    """One group of a config, or one class of a group that is a choice.

    Attributes:
      where: The dotted key, such as config.sampler, and of which choice it is a group.
      name: Of the choice, '' for a group that is none.
      summary: First line of its docstring.
      keys: Its keys.
      is_default: Whether a choice has this name where nothing is set.
    """

    where: str
    name: str
    summary: str
    keys: tuple[Key, ...]
    is_default: bool = False


def walk() -> Iterator[Group]:
    """Yield every group once, where it first stands, in the order of a config."""
    seen: set[Any] = set()
    yield from _groups_of([('', Experiment, False)], 'config', seen)


def _groups_of(options: list[tuple[str, type, bool]], where: str, seen: set[Any]) -> Iterator[Group]:
    """Return the group of each (name, class, whether it is the default) at a key, then those below them."""
    for name, cls, is_default in options:
        annotations = annotations_of(cls)
        meanings = read_attributes(cls)
        keys = [_key(each, annotations[each.name], meanings, f'{where}.{each.name}') for each in _fields(cls)]
        yield Group(where, name, _summary(cls), tuple(keys), is_default)

    # Groups below come after all options, so that a choice stands in one piece on the page.
    for name, cls, _ in options:
        annotations = annotations_of(cls)
        for field in _fields(cls):
            below = _group_annotation(annotations[field.name])
            # Sources within sources would be listed without end.
            if below is None or below in seen:
                continue
            seen.add(below)
            owner = f' of {where}={name}' if name else ''
            yield from _groups_of(list(_options(below, field)), f'{where}.{field.name}{owner}', seen)


def _fields(cls: type) -> list[Field]:
    return [field for field in dataclasses.fields(cls) if field.init]


def _options(annotation: Any, field: Field) -> Iterator[tuple[str, type, bool]]:
    """(name, class, whether it is the default) of what may stand at a field."""
    if annotation not in CHOICES:
        yield '', annotation, False
        return
    choice: Choice = CHOICES[annotation]
    for name, cls in choice.table.items():
        yield name, cls, type(_default(field)) is cls


def _group_annotation(annotation: Any) -> Any:
    """Return the dataclass or choice within an annotation, None where it is a plain value."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if annotation in CHOICES or dataclasses.is_dataclass(annotation):
        return annotation
    for option in typing.get_args(annotation):
        if (below := _group_annotation(option)) is not None:
            return below
    return None


def _key(field: Field, annotation: Any, meanings: dict[str, str], where: str) -> Key:
    default = _default(field)
    if default is dataclasses.MISSING:
        text = ''
    elif (group := _group_annotation(annotation)) in CHOICES:
        text = _name_in(CHOICES[group], default)
    else:
        text = '' if dataclasses.is_dataclass(default) else _as_written(default)
    return Key(field.name, describe_values(annotation, where), text, meanings.get(field.name, ''))


def _name_in(choice: Choice, value: object) -> str:
    return choice.name_of(value) if type(value) in choice.table.values() else _as_written(value)


def _as_written(value: object) -> str:
    """Return a default as the command line takes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return show_quoted(value).strip("'") or "''"


def _default(field: Field) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def describe_values(annotation: Any, where: str = '') -> str:
    """Return in words what a key with this annotation takes."""
    if annotation == FrameSize:
        return 'a side in pixels, or HEIGHTxWIDTH'
    origin = typing.get_origin(annotation)
    options = typing.get_args(annotation)
    if origin is Annotated:
        # Names of a table say all; 'str' before them would say nothing.
        if isinstance(options[1], OneOf):
            return options[1].describe()
        rules = [rule.describe() for rule in options[1:]]
        return ', '.join([describe_values(options[0], where), *rules])
    if annotation in CHOICES:
        return 'one of ' + ', '.join(CHOICES[annotation].table)
    if dataclasses.is_dataclass(annotation):
        return f'a group, {where}'
    if origin is Literal:
        return ', '.join(map(str, options))
    if origin in (typing.Union, types.UnionType):
        return ', or '.join(describe_values(option, where) for option in options)
    if origin is tuple and options[-1] is Ellipsis:
        return f'a list of: {describe_values(options[0], where)}'
    if origin is tuple:
        return 'a list of: ' + ' and '.join(describe_values(option, where) for option in options)
    return describe(annotation)


def read_attributes(cls: type) -> dict[str, str]:
    """Return what the `Attributes:` of a dataclass and of its bases say of each field, on one line each."""
    meanings = {}
    # From the base on, so that a class's own words replace those of its base.
    for base in reversed(cls.__mro__):
        docstring = inspect.cleandoc(base.__dict__.get('__doc__') or '')
        _, heading, section = docstring.partition('\nAttributes:\n')
        if not heading:
            continue
        # A line that begins further left ends the section, as another heading does.
        section = re.split(r'\n(?=\S)', section)[0]
        for item in re.split(r'\n(?=\w)', textwrap.dedent(section)):
            name, _, meaning = item.partition(':')
            meanings[name.strip()] = ' '.join(meaning.split())
    return meanings


def _summary(cls: type) -> str:
    return (inspect.cleandoc(cls.__doc__ or '').splitlines() or [''])[0]


def page() -> str:
    """Return the text of docs/config.md."""
    lines = [INTRODUCTION]
    previous = ''
    for group in walk():
        if group.where != previous:
            lines += [f'## {group.where}', '']
            previous = group.where
        if group.name:
            lines += [f'### {group.name}{" (default)" if group.is_default else ""}', '']
        lines += [group.summary, '']
        if group.keys:
            rows: list[tuple[str, ...]] = [
                (f'`{key.name}`', key.values, _code(key.default), key.meaning) for key in group.keys
            ]
            lines += [*docs_tables.table(('key', 'values', 'default', 'meaning'), rows), '']
    return '\n'.join(lines).rstrip() + '\n'


def _code(text: str) -> str:
    return f'`{text}`' if text else ''
