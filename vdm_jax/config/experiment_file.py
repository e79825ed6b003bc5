"""Read experiment files and command-line overrides as nested dicts, which schema.py turns into dataclasses.

Precedence: dataclass default < experiment file < command line. An experiment file is a Python program with
`get_config(arg)` that returns a ConfigDict of groups; reading it runs its code.
"""

import copy
import importlib.util
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vdm_jax.config import packaged
from vdm_jax.config.schema import read_value
from vdm_jax.config.values import Text, suggest
from vdm_jax.errors import UserError

try:
    from ml_collections import ConfigDict as ConfigDict
except ImportError:  # images without ml_collections: the same attribute access, which is all that experiment files use

    class ConfigDict(dict[str, Any]):  # type: ignore[no-redef]  # it stands in for the other
        """A dict whose keys are attributes."""

        def __getattr__(self, name: str) -> Any:
            try:
                return self[name]
            except KeyError:
                raise AttributeError(name) from None

        def __setattr__(self, name: str, value: Any) -> None:
            self[name] = value

        def to_dict(self) -> dict[str, Any]:
            """Return the same as a plain dict."""
            return dict(self)


def parse_arg(arg: str | None, kinds: Mapping[str, Any] | None = None, **defaults: Any) -> types.SimpleNamespace:
    """Parse the part ARG of --config=file.py:ARG, such as 'size=S,pixels=64,debug', against typed defaults.

    Args:
      arg: The text; an item without '=' is true.
      kinds: Annotations by name, such as FrameSize, of values that are not read by the type of their default.
      **defaults: The defaults by name; a tuple lists the values to choose from, the first of them the default.

    Raises:
      UserError: An unknown name, a value that is not of the default's type, or none of those to choose from.
    """
    kinds = kinds or {}
    # No argument is a list, so that a tuple is free to list values.
    options = {name: value for name, value in defaults.items() if isinstance(value, tuple)}
    values = defaults | {name: known[0] for name, known in options.items()}
    types_of_defaults = {name: type(value) for name, value in values.items()}

    for item in filter(None, (arg or '').split(',')):
        name, has_value, text = item.partition('=')
        if name not in defaults:
            raise UserError(f'--config=FILE:{item}: unknown argument {name!r}{suggest(name, defaults)}')
        kind = kinds.get(name, types_of_defaults[name])
        values[name] = read_value(Text(text if has_value else 'true'), kind, f'--config=FILE:{name}', {})
        if name in options and values[name] not in options[name]:
            raise UserError(f'--config=FILE:{item}: want one of {", ".join(map(str, options[name]))}')
    return types.SimpleNamespace(**values)


def load_experiment(spec: str) -> dict[str, Any]:
    """Run get_config of 'path/to/file.py' or 'path/to/file.py:ARG' and return its groups as nested plain dicts.

    NAME and NAME:ARG are the package's own experiment of that name (packaged.py).

    Raises:
      UserError: No such file, no get_config in it.
    """
    path, arg = packaged.find_experiment(spec)
    # By its path and not by its name, as it need not be on sys.path, and may be called as a module of ours is.
    module_spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert module_spec is not None and module_spec.loader is not None  # as for every file that ends in .py
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f'--config={spec}: {path}, line {error.lineno}, is no Python: {error.msg}') from None
    get_config = vars(module).get('get_config')
    if get_config is None:
        raise UserError(f'--config={spec}: {path} has no get_config(arg)')
    groups: dict[str, Any] = _to_plain(get_config(arg or None))
    return groups


def check_groups(groups: dict[str, Any], label: str) -> dict[str, Any]:
    """Check that a resolved config, of a file that somebody else may have made, has the groups that are read by name.

    Args:
      groups: The config.
      label: What messages call the file.

    Returns:
      The config as it is.

    Raises:
      UserError: A group is missing, or is no mapping.
    """
    for name in ('data', 'ema', 'model', 'optim', 'train'):
        # A group that is not there has its defaults, but no network is the default of weights.
        if (name in groups or name == 'model') and not isinstance(groups.get(name), dict):
            raise UserError(f'{label}: {name}={groups.get(name)!r:.80}: want the keys of this group of a config')
    return groups


def override(groups: dict[str, Any], assignments: Sequence[str], root: str = 'config') -> dict[str, Any]:
    """Set 'config.group.key=value' assignments on top of nested dicts and return a new tree.

    An item of a list that the experiment file has is named by its number: 'config.data.sources.0.path=DIR'.

    Args:
      groups: Nested dicts.
      assignments: In the order in which they are set.
      root: First word of the keys.

    Raises:
      UserError: An assignment is none, or its key leads through a plain value.
    """
    # Callers use the groups again, with other assignments.
    tree = copy.deepcopy(groups)
    for assignment in assignments:
        key, equals, text = assignment.removeprefix('--').partition('=')
        parts = key.split('.')
        if parts[0] != root or len(parts) < 2 or not equals:
            raise UserError(f'{assignment}: want --{root}.GROUP.KEY=VALUE')

        group: Any = tree
        for parent, part in zip(parts, parts[1:-1], strict=False):
            group = _enter(group, part, parent, key)
        last = _item_key(group, parts[-1], f'{key}: {parts[-2]}')
        current = _get_item(group, last)
        if isinstance(current, dict):
            group = current
            last = ''  # the name of a choice, whose other keys stay
        # Keys stay in the order in which they were set: of a group that is cleared what follows counts.
        if isinstance(group, dict):
            group.pop(last, None)
        group[last] = Text(text)
    return tree


def _enter(group: Any, part: str, parent: str, key: str) -> Any:
    """Return the group or list below `part` of a group, made where it is not there.

    Args:
      group: A dict or a list.
      part: The next word of a dotted key.
      parent: The word before it, which the group stands at.
      key: The whole dotted key, for messages.

    Raises:
      UserError: A plain value is there.
    """
    item = _item_key(group, part, f'{key}: {parent}')
    below = _get_item(group, item)
    if below is None:
        below = {}
    elif isinstance(below, (str, Text)):
        # The short form of a choice, 'ddpm' for {'name': 'ddpm'}: which key has the name is not known here.
        below = {'': below}
    group[item] = below
    if not isinstance(below, (dict, list)):
        raise UserError(f'{key}: {item} is a value, not a group')
    return below


def _item_key(group: Any, part: str, label: str) -> str | int:
    """Return the key of an item of a group, or the number of an item of a list."""
    if not isinstance(group, list):
        return part
    if part.isdigit() and int(part) < len(group):
        return int(part)
    raise UserError(f'{label} is a list of {len(group)}; its items are called 0 to {len(group) - 1}, not {part!r}')


def _get_item(group: Any, item: str | int) -> Any:
    """Return an item of a group or a list, None where a group has none."""
    return group[item] if isinstance(item, int) else group.get(item)


def _to_plain(value: Any) -> Any:
    """Return a tree of ConfigDicts, dicts, lists and tuples as one of dicts and lists."""
    if isinstance(value, ConfigDict):
        value = value.to_dict()
    if isinstance(value, dict):
        return {name: _to_plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_plain(item) for item in value]
    return value
