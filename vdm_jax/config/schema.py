"""Build frozen dataclasses from nested dicts, checked against their annotations, and turn them back into dicts.

All defaults live in the dataclasses. What a number may be is declared with its field (ranges.py).
"""

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from vdm_jax.config import ranges
from vdm_jax.config.frame_size import FrameSize, read_pixels
from vdm_jax.config.old_configs import MOVED_KEYS
from vdm_jax.config.ranges import RangeError
from vdm_jax.config.values import NONE, Text, describe, list_options, read_scalar, read_text, show_quoted, suggest
from vdm_jax.errors import UserError, with_key

T = TypeVar('T')
Field = dataclasses.Field[Any]


@dataclasses.dataclass(frozen=True)
class Choice:
    """A group that may be one of several dataclasses.

    Attributes:
      key: The key of the group whose value picks the class.
      table: The classes by their names.
    """

    key: str
    table: Mapping[str, type]

    def name_of(self, value: object) -> str:
        """Return the name of an object's class."""
        return next(name for name, cls in self.table.items() if type(value) is cls)


Choices = Mapping[Any, Choice]


def to_dataclass(cls: type[T], mapping: Any, choices: Choices, key: str = 'config') -> T:
    """Build the frozen dataclass `cls` from nested dicts, checking every key and value.

    Args:
      cls: The dataclass; a field whose annotation is in `choices` is built by name from that choice's table.
      mapping: Nested dict of plain values and Text.
      choices: Choices by the annotation of the fields that hold them.
      key: Dotted key of this group, for messages.

    Raises:
      UserError: An unknown key (with the nearest known one), a value of another type, or a value the class refuses.
    """
    fields = _fields(cls)
    if not isinstance(mapping, dict):
        raise UserError(f'{key}={show_quoted(mapping)} is a group; set its keys: {", ".join(fields)}')
    values = {}
    for name, value in mapping.items():
        _check_name(name, value, fields, key)
        values[name] = _read_field(cls, name, value, choices, f'{key}.{name}')
    for name, field in fields.items():
        if name not in values and _default(field) is dataclasses.MISSING:
            raise UserError(f'{key}.{name}: not set')
    return _construct(cls, values, key)


def _check_name(name: str, value: Any, fields: Mapping[str, Field], key: str) -> None:
    """Check that a group at `key` has a field of this name.

    Raises:
      UserError: It has none.
    """
    # override() puts a value for the group itself, as of a choice's short form, under the empty name.
    if name == '':
        raise UserError(f'{key}={show_quoted(value)} is a group; set its keys: {", ".join(fields)}')
    if name not in fields:
        moved_to = MOVED_KEYS.get(f'{key}.{name}')
        hint = f'; now it is {moved_to}' if moved_to else suggest(name, fields)
        raise UserError(f'{key}.{name}: no such key{hint}')


def _read_field(cls: type, name: str, value: Any, choices: Choices, key: str) -> Any:
    """Return the value of one field of a dataclass; `key` is the field's own."""
    annotation = _annotations(cls)[name]
    default = _default(_fields(cls)[name])
    try:
        return read_value(value, annotation, key, choices, default)
    except UserError as error:
        # A group inside one of its own kind, such as a source of a mixture, names its keys as if it stood alone.
        if annotation in choices and cls in choices[annotation].table.values():
            raise with_key(error, key) from None
        raise


def _construct(cls: type[T], values: dict[str, Any], key: str) -> T:
    """Return an instance of a dataclass.

    Raises:
      UserError: The class refuses the values; the message names `key`.
    """
    try:
        return cls(**values)
    except RangeError as error:
        # The class knows only where it usually stands; an error of another class has its key already.
        raise (error.with_group(key) if error.owner is cls else error) from None
    except UserError:
        raise
    except ValueError as error:
        message = str(error)
        raise UserError(message if message.startswith('config.') else f'{key}: {message}') from None


def to_dict(value: Any, choices: Choices, annotation: Any = None) -> Any:
    """Invert `to_dataclass`: return nested dicts of JSON values, with every default and every choice's name."""
    if isinstance(value, tuple):
        item_annotations = _item_annotations(annotation, value)
        return [to_dict(item, choices, each) for item, each in zip(value, item_annotations, strict=True)]
    if not dataclasses.is_dataclass(value):
        return value

    # The name of a choice comes first, so that a reader of config.json knows what the keys after it are of.
    group = {}
    annotation = _find_group(annotation, choices)
    if annotation in choices:
        choice = choices[annotation]
        group[choice.key] = choice.name_of(value)
    cls: type = type(value)
    for name in _fields(cls):
        group[name] = to_dict(getattr(value, name), choices, _annotations(cls)[name])
    return group


def flatten(value: Any, key: str) -> dict[str, Any]:
    """Return a frozen group as {dotted key: JSON value}.

    Each group's own key has the name of its class. Items of lists of groups are numbered.
    """
    flat: dict[str, Any] = {}
    if dataclasses.is_dataclass(value):
        flat[key] = type(value).__name__
        parts = {name: getattr(value, name) for name in _fields(type(value))}
    elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        parts = {str(number): item for number, item in enumerate(value)}
    else:
        # As it comes back from a file, since it is compared with what was read from one: tuples become lists.
        return {key: json.loads(json.dumps(value))}
    for name, part in parts.items():
        flat |= flatten(part, f'{key}.{name}')
    return flat


def find_differences(a: Mapping[Any, Any], b: Mapping[Any, Any], key: str = 'config') -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys at which two nested dicts differ, with both values; items of lists of groups are numbered.

    Args:
      a: Nested dict of JSON values.
      b: Another one; what only one of them has counts as None in the other.
      key: Dotted key of both.
    """
    differences: dict[str, tuple[Any, Any]] = {}
    for name in {**a, **b}:
        left: Any = a.get(name)
        right: Any = b.get(name)
        if _are_lists_of_groups(left, right):
            left = dict(enumerate(left))
            right = dict(enumerate(right))
        if isinstance(left, dict) and isinstance(right, dict):
            differences |= find_differences(left, right, f'{key}.{name}')
        elif left != right:
            differences[f'{key}.{name}'] = (left, right)
    return differences


def _are_lists_of_groups(left: Any, right: Any) -> bool:
    """Return whether both are lists of equal length, and any of their items is a group."""
    if not (isinstance(left, list) and isinstance(right, list)) or len(left) != len(right):
        return False
    return any(isinstance(item, dict) for item in left + right)


def read_value(value: Any, annotation: Any, key: str, choices: Choices, default: Any = dataclasses.MISSING) -> Any:
    """Return a value as its annotation wants it.

    Args:
      value: A plain value, a nested dict, or Text of the command line.
      annotation: Of the field, without ranges.
      key: Dotted key of the field, for messages.
      choices: Choices by annotation.
      default: Of the field: its class is taken where a choice has no name.

    Raises:
      UserError: It is no such value.
    """
    if annotation in choices:
        return _read_choice(value, choices[annotation], key, choices, default)
    if annotation == FrameSize:
        size = read_text(value.text, int) if isinstance(value, Text) else value
        return read_pixels(size, key)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return to_dataclass(annotation, value, choices, key)

    origin = typing.get_origin(annotation)
    if origin is Literal:
        return _read_literal(value, annotation, key)
    if origin in (typing.Union, types.UnionType):
        return _read_union(value, annotation, key, choices)
    if origin is tuple:
        return _read_tuple(value, annotation, key, choices)
    return read_scalar(value, annotation, key)


def _read_literal(value: Any, annotation: Any, key: str) -> Any:
    """Return the option of a Literal that a value is."""
    options = typing.get_args(annotation)
    for option in options:
        plain = read_text(value.text, type(option)) if isinstance(value, Text) else value
        # Also by type, since 1 == True.
        if type(plain) is type(option) and plain == option:
            return plain
    name = value.text if isinstance(value, Text) else value
    raise UserError(f'{key}={show_quoted(value)}: {list_options(options, name)}')


def _read_union(value: Any, annotation: Any, key: str, choices: Choices) -> Any:
    """Return a value as the first option of a union that takes it."""
    group = _find_group(annotation, choices)
    # 'none' on the command line, in place of the keys that the file has.
    is_cleared = isinstance(value, dict) and isinstance(value.get(''), Text) and value[''].text.lower() in NONE
    if group is not None and is_cleared:
        # Keys are in the order in which they were set: what came before is cleared, what comes after has no group.
        *_, last = value
        if last:
            raise UserError(f'{key}.{last}: {key}={value[""].text} before it leaves no group; leave one of them out')
        return None

    # str takes any text, so it comes last.
    options = sorted(typing.get_args(annotation), key=lambda option: option is str)
    for option in options:
        # What the options said by themselves would mislead: each knows only a part of what is allowed.
        try:
            return read_value(value, option, key, choices)
        except UserError:
            continue
    # A group knows which of its keys is wrong.
    if group is not None:
        return read_value(value, group, key, choices)
    raise UserError(f'{key}={show_quoted(value)}: want {describe(annotation)}')


def _find_group(annotation: Any, choices: Choices) -> Any:
    """Return the class or choice of an annotation that is a group or none of it, None where it is of no group."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    options = typing.get_args(annotation) if is_union else (annotation,)
    groups = [option for option in options if option in choices or dataclasses.is_dataclass(option)]
    return groups[0] if groups else None


def _read_choice(value: Any, choice: Choice, key: str, choices: Choices, default: Any) -> Any:
    """Return an instance of the class that a choice's name picks."""
    group = _expand_short_form(value, choice, key)
    raw_name = _pop_name(group, choice)
    if isinstance(raw_name, dict):
        raise UserError(f'{key}.{choice.key} is a name, not a group; want one of {", ".join(choice.table)}')

    name = raw_name.text if isinstance(raw_name, Text) else raw_name
    if name is None:
        if default is dataclasses.MISSING:
            raise UserError(f'{key}.{choice.key}: not set; want one of {", ".join(choice.table)}')
        name = choice.name_of(default)
    if not isinstance(name, str) or name not in choice.table:
        raise UserError(f'{key}.{choice.key}={ranges.show(name)}: {list_options(choice.table, name)}')

    cls = choice.table[name]
    if isinstance(raw_name, Text):
        # The command line names another class: keys that the file set for its own class mean nothing to this one.
        group = {
            field: item
            for field, item in group.items()
            if isinstance(item, Text) or _accepts(cls, field, item, choices)
        }
    # to_dataclass would list the known keys, of which there are none here.
    if group and not _fields(cls):
        raise _no_keys_error(next(iter(group)), name, choice, key)
    return to_dataclass(cls, group, choices, key)


def _expand_short_form(value: Any, choice: Choice, key: str) -> dict[str, Any]:
    """Return the group of a choice as a new dict; the short form is its name alone."""
    if isinstance(value, Text):
        return {choice.key: value.text}
    if isinstance(value, str):
        return {choice.key: value}
    if not isinstance(value, dict):
        raise UserError(f'{key}={show_quoted(value)}: want {choice.key}, one of {", ".join(choice.table)}')
    return dict(value)


def _pop_name(group: dict[str, Any], choice: Choice) -> Any:
    """Remove the name of a choice from its group and return it, None where neither file nor command line has one.

    It stands under the choice's key, or under '' where override() met the short form.
    """
    name = group.pop(choice.key, None)
    short_form = group.pop('', None)
    # The file has the short form and the command line the name, which wins.
    is_overridden = isinstance(name, Text) and isinstance(short_form, str)
    return name if short_form is None or is_overridden else short_form


def _no_keys_error(field: str, name: str, choice: Choice, key: str) -> UserError:
    """Return the error of a key in a group whose class has no keys, with the classes that have it."""
    others = [other for other, cls in choice.table.items() if field in _fields(cls)]
    hint = f', and {" and ".join(others)} can have it' if others else ''
    return UserError(f'{key}.{field}: no such key; {choice.key}={name} has none{hint}')


def _accepts(cls: type, name: str, value: Any, choices: Choices) -> bool:
    """Return whether a dataclass has a field of this name that takes the value."""
    try:
        read_value(value, _annotations(cls)[name], name, choices)
    except (KeyError, UserError):
        return False
    return name in _fields(cls)


def _read_tuple(value: Any, annotation: Any, key: str, choices: Choices) -> tuple[Any, ...]:
    """Return a list as a tuple, each item as its annotation wants it."""
    items = _split_items(value, annotation, key)
    item_annotations = _item_annotations(annotation, items)
    if len(items) != len(item_annotations):
        raise UserError(f'{key}={show_quoted(value)}: want {describe(annotation)}')

    values = []
    for number, (item, item_annotation) in enumerate(zip(items, item_annotations, strict=True)):
        # Items that are groups have keys of their own; of plain values the list is named.
        item_key = f'{key}.{number}' if item_annotation in choices else key
        try:
            values.append(read_value(item, item_annotation, item_key, choices))
        except UserError as error:
            raise with_key(error, item_key) from None
    return tuple(values)


def _split_items(value: Any, annotation: Any, key: str) -> list[Any]:
    """Return the items of a list, which the command line separates by commas."""
    if isinstance(value, Text):
        # As people write lists: 1,2 and (1, 2) and [1, 2].
        texts = [item.strip() for item in value.text.strip('()[] ').split(',')]
        return [Text(text) for text in texts if text]
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, dict):
        raise UserError(f'{key} is a list: make it in the experiment file; then {key}.0 is the first of its items')
    raise UserError(f'{key}={show_quoted(value)}: want {describe(annotation)}')


def _item_annotations(annotation: Any, items: Sequence[Any]) -> tuple[Any, ...]:
    """Return the annotation of each item of a tuple, None for each where the annotation is of no tuple."""
    if typing.get_origin(annotation) is not tuple:
        return (None,) * len(items)
    options = typing.get_args(annotation)
    if options[-1] is Ellipsis:
        return (options[0],) * len(items)
    return options


@functools.cache
def _annotations(cls: type) -> dict[str, Any]:
    """Return the annotation of each field without its range; a FrameSize stays one."""
    annotations = ranges.annotations_of(cls)
    # A size is read by its own function (frame_size.py), which knows it by this annotation.
    return {name: kind if kind == FrameSize else ranges.without_ranges(kind) for name, kind in annotations.items()}


def _fields(cls: type) -> dict[str, Field]:
    return {field.name: field for field in dataclasses.fields(cls) if field.init}


def _default(field: Field) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
