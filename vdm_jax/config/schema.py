"""Nested dicts -> frozen dataclasses, checked against their annotations, and back.

All defaults live in the dataclasses. What a number may be is said where it is declared (ranges.py).
"""

import dataclasses
import functools
import json
import types
import typing
from typing import Any, Literal

from vdm_jax.config import ranges
from vdm_jax.config.frame_size import FrameSize, read_pixels
from vdm_jax.config.old_configs import MOVED_KEYS
from vdm_jax.config.ranges import RangeError
from vdm_jax.config.values import Text, describe, one_of, read_scalar, read_text, show, suggest
from vdm_jax.errors import UserError, with_key


@dataclasses.dataclass(frozen=True)
class Choice:
    """A group that may be one of several dataclasses: the value of `key` picks the class from `table`."""

    key: str
    table: dict[str, type]

    def name_of(self, value) -> str:
        return next(name for name, cls in self.table.items() if type(value) is cls)


def to_dataclass(cls: type, mapping, choices: dict[Any, Choice], where: str = 'config'):
    """Builds the frozen dataclass `cls` from nested dicts, checking every key and value.

    Args:
      cls: the dataclass; a field whose annotation is in `choices` is built by name from that choice's table.
      mapping: nested dict of plain values and Text.
      choices: annotation -> Choice.
      where: the dotted name of this group, for messages.

    Raises:
      UserError: an unknown key (with the nearest known one), a value of another type, or a value the class refuses.
    """
    if not isinstance(mapping, dict):
        raise UserError(f'{where}={show(mapping)} is a group; set its keys: {", ".join(_fields(cls))}')
    fields, annotations = _fields(cls), _annotations(cls)
    values = {}
    for name, value in mapping.items():
        if name == '':
            raise UserError(f'{where}={show(value)} is a group; set its keys: {", ".join(fields)}')
        if name not in fields:
            moved_to = MOVED_KEYS.get(f'{where}.{name}')
            hint = f'; now it is {moved_to}' if moved_to else suggest(name, fields)
            raise UserError(f'{where}.{name}: no such key{hint}')
        kind, place = annotations[name], f'{where}.{name}'
        try:
            values[name] = read_value(value, kind, place, choices, _default(fields[name]))
        except UserError as error:
            if kind in choices and cls in choices[kind].table.values():  # one of its own kind
                raise with_key(error, place) from None
            raise
    for name in fields:
        if name not in values and _default(fields[name]) is dataclasses.MISSING:
            raise UserError(f'{where}.{name}: not set')
    try:
        return cls(**values)
    except RangeError as error:
        raise (error.at(where) if error.owner is cls else error) from None
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error) if str(error).startswith('config.') else f'{where}: {error}') from None


def to_dict(value, choices: dict[Any, Choice], annotation=None):
    """The inverse of `to_dataclass`: nested dicts of JSON values, with every default and every choice's name."""
    if isinstance(value, tuple):
        return [to_dict(item, choices, kind) for item, kind in zip(value, _kinds(annotation, value), strict=True)]
    if not dataclasses.is_dataclass(value):
        return value
    annotations = _annotations(type(value))
    named = {choices[annotation].key: choices[annotation].name_of(value)} if annotation in choices else {}
    fields = {name: to_dict(getattr(value, name), choices, annotations[name]) for name in _fields(type(value))}
    return named | fields


def flatten(value, key: str) -> dict[str, Any]:
    """A frozen group as {dotted key: JSON value}, with the class of each group at its own key; items of lists of groups
    are numbered.
    """
    if dataclasses.is_dataclass(value):
        parts = {name: getattr(value, name) for name in _fields(type(value))}
        own = {key: type(value).__name__}
    elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        parts, own = dict(enumerate(value)), {}
    else:
        return {key: json.loads(json.dumps(value))}
    return own | {k: v for name, part in parts.items() for k, v in flatten(part, f'{key}.{name}').items()}


def differences(a: dict, b: dict, where: str = 'config') -> dict[str, tuple]:
    """Dotted keys at which two nested dicts differ, with both values; items of lists of groups are numbered."""
    found = {}
    for name in {**a, **b}:
        left, right, key = a.get(name), b.get(name), f'{where}.{name}'
        if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
            if any(isinstance(item, dict) for item in left + right):
                left, right = dict(enumerate(left)), dict(enumerate(right))
        if isinstance(left, dict) and isinstance(right, dict):
            found |= differences(left, right, key)
        elif left != right:
            found[key] = (left, right)
    return found


def read_value(value, annotation, where: str, choices, default=dataclasses.MISSING):
    """One value as its annotation wants it."""
    if annotation in choices:
        return _chosen(value, choices[annotation], where, choices, default)
    if annotation == FrameSize:
        return read_pixels(read_text(value.text, int) if isinstance(value, Text) else value, where)
    if dataclasses.is_dataclass(annotation):
        return to_dataclass(annotation, value, choices, where)
    origin, options = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        for option in options:
            plain = read_text(value.text, type(option)) if isinstance(value, Text) else value
            if type(plain) is type(option) and plain == option:
                return plain
        raise UserError(f'{where}={show(value)}: {one_of(options, getattr(value, "text", value))}')
    if origin in (typing.Union, types.UnionType):
        for option in sorted(options, key=lambda option: option is str):  # a string takes anything: ask it last
            try:
                return read_value(value, option, where, choices)
            except UserError:
                continue
        raise UserError(f'{where}={show(value)}: want {describe(annotation)}')
    if origin is tuple:
        return _tuple(value, annotation, where, choices)
    return read_scalar(value, annotation, where)


def _chosen(value, choice: Choice, where: str, choices, default):
    if isinstance(value, (str, Text)):  # short form: the name alone
        value = {choice.key: value.text if isinstance(value, Text) else value}
    if not isinstance(value, dict):
        raise UserError(f'{where}={show(value)}: want {choice.key}, one of {", ".join(choice.table)}')
    value = dict(value)
    named, short = value.pop(choice.key, None), value.pop('', None)
    from_file = isinstance(named, Text) and isinstance(short, str)  # the file's short form, the command line's name
    name = named if short is None or from_file else short
    if isinstance(name, dict):
        raise UserError(f'{where}.{choice.key} is a name, not a group; want one of {", ".join(choice.table)}')
    swapped = isinstance(name, Text)
    name = name.text if swapped else name
    if name is None:  # not said: the class of the default
        if default is dataclasses.MISSING:
            raise UserError(f'{where}.{choice.key}: not set; want one of {", ".join(choice.table)}')
        name = choice.name_of(default)
    if not isinstance(name, str) or name not in choice.table:
        raise UserError(f'{where}.{choice.key}={ranges.show(name)}: {one_of(choice.table, name)}')
    if swapped:  # what the file set for its own choice means nothing to the one the command line put in its place
        value = {
            key: item
            for key, item in value.items()
            if isinstance(item, Text) or _suits(choice.table[name], key, item, choices)
        }
    if value and not _fields(choice.table[name]):
        key = next(iter(value))
        others = [other for other, cls in choice.table.items() if key in _fields(cls)]
        hint = f', and {" and ".join(others)} can have it' if others else ''
        raise UserError(f'{where}.{key}: no such key; {choice.key}={name} has none{hint}')
    return to_dataclass(choice.table[name], value, choices, where)


def _suits(cls: type, name: str, value, choices) -> bool:
    """Whether `cls` has a field `name` that takes `value`."""
    try:
        read_value(value, _annotations(cls)[name], name, choices)
    except (KeyError, UserError):
        return False
    return name in _fields(cls)


def _tuple(value, annotation, where, choices):
    if isinstance(value, Text):
        items = [Text(item.strip()) for item in value.text.strip('()[] ').split(',') if item.strip()]
    elif isinstance(value, (list, tuple)):
        items = list(value)
    elif isinstance(value, dict):
        raise UserError(f'{where} is a list: make it in the experiment file; then {where}.0 is the first of its items')
    else:
        raise UserError(f'{where}={show(value)}: want {describe(annotation)}')
    kinds = _kinds(annotation, items)
    if len(items) != len(kinds):
        raise UserError(f'{where}={show(value)}: want {describe(annotation)}')
    found = []
    for number, (item, kind) in enumerate(zip(items, kinds, strict=True)):
        place = f'{where}.{number}' if kind in choices else where
        try:
            found.append(read_value(item, kind, place, choices))
        except UserError as error:
            raise with_key(error, place) from None
    return tuple(found)


def _kinds(annotation, items) -> tuple:
    """The annotation of each item of a tuple."""
    options = typing.get_args(annotation) if typing.get_origin(annotation) is tuple else (None, ...)
    return (options[0],) * len(items) if options[-1] is Ellipsis else options


@functools.cache
def _annotations(cls) -> dict[str, Any]:
    """What each field holds, without its range; of a FrameSize that it is one."""
    ranged = ranges.annotations_of(cls)
    return {name: kind if kind == FrameSize else ranges.without_ranges(kind) for name, kind in ranged.items()}


def _fields(cls) -> dict[str, dataclasses.Field]:
    return {field.name: field for field in dataclasses.fields(cls) if field.init}


def _default(field: dataclasses.Field):
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
