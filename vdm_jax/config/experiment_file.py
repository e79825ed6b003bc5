"""Experiment files and command-line overrides, as nested dicts that schema.py makes dataclasses of.

Precedence: dataclass default < experiment file < command line. An experiment file is a Python program with
`get_config(arg)` that returns a ConfigDict of groups; running it runs its code.
"""

import copy
import importlib.util
import types
from pathlib import Path
from typing import Any

from vdm_jax.config import packaged
from vdm_jax.config.schema import read_value
from vdm_jax.config.values import Text, suggest
from vdm_jax.errors import UserError

try:
    from ml_collections import ConfigDict as ConfigDict
except ImportError:  # images without ml_collections: the same attribute access, which is all that experiment files use

    class ConfigDict(dict):
        """A dict whose keys are attributes."""

        def __getattr__(self, name):
            try:
                return self[name]
            except KeyError:
                raise AttributeError(name) from None

        def __setattr__(self, name, value):
            self[name] = value


def parse_arg(arg: str | None, kinds: dict[str, Any] | None = None, **defaults) -> types.SimpleNamespace:
    """Reads the part of --config=file.py:ARG: 'size=S,pixels=64,debug' against typed defaults.

    A tuple has the values that there are, the first of them the default. kinds: annotations by name, such as FrameSize,
    of values that are not read by the type of their default.

    Raises:
      UserError: an unknown name, a value that is not of the default's type, or none of those that there are.
    """
    choices = {name: value for name, value in defaults.items() if isinstance(value, tuple)}
    defaults = defaults | {name: known[0] for name, known in choices.items()}
    values = dict(defaults)
    for item in filter(None, (arg or '').split(',')):
        name, has_value, text = item.partition('=')
        if name not in defaults:
            raise UserError(f'--config=FILE:{item}: unknown argument {name!r}{suggest(name, defaults)}')
        kind = (kinds or {}).get(name, type(defaults[name]))
        values[name] = read_value(Text(text if has_value else 'true'), kind, f'--config=FILE:{name}', {})
        if name in choices and values[name] not in choices[name]:
            raise UserError(f'--config=FILE:{item}: want one of {", ".join(map(str, choices[name]))}')
    return types.SimpleNamespace(**values)


def load_experiment(spec: str) -> dict:
    """Runs get_config of 'path/to/file.py' or 'path/to/file.py:ARG' and returns its groups as nested plain dicts.

    NAME and NAME:ARG are the package's own experiment of that name (packaged.py).

    Raises:
      UserError: no such file, no get_config in it.
    """
    path, arg = packaged.file_of(spec)
    module_spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f'--config={spec}: {path}, line {error.lineno}, is no Python: {error.msg}') from None
    if not hasattr(module, 'get_config'):
        raise UserError(f'--config={spec}: {path} has no get_config(arg)')
    return _plain(module.get_config(arg or None))


def check_groups(groups: dict, called: str) -> dict:
    """The same resolved config, of a file that somebody else may have made, once what is asked of it by name is there.

    Raises:
      UserError: a group is missing, or is no mapping.
    """
    for name in ('data', 'ema', 'model', 'optim', 'train'):
        if (name in groups or name == 'model') and not isinstance(groups.get(name), dict):
            raise UserError(f'{called}: {name}={groups.get(name)!r:.80}: want the keys of this group of a config')
    return groups


def override(groups: dict, assignments: list[str], root: str = 'config') -> dict:
    """Sets 'config.group.key=value' assignments (`root` is the first word) on top of nested dicts; returns a new tree.

    An item of a list that the experiment file has is named by its number: 'config.data.sources.0.path=DIR'.
    """
    groups = copy.deepcopy(groups)
    for assignment in assignments:
        name, equals, text = assignment.removeprefix('--').partition('=')
        parts = name.split('.')
        if parts[0] != root or len(parts) < 2 or not equals:
            raise UserError(f'{assignment}: want --{root}.GROUP.KEY=VALUE')
        place = groups
        for above, part in zip(parts, parts[1:-1], strict=False):
            part = _item(place, part, f'{name}: {above}')
            below = place[part] if isinstance(place, list) else place.get(part)
            if isinstance(below, (str, Text)):  # the short form of a choice: 'ddpm' for {'name': 'ddpm'}
                below = {'': below}
            place[part] = below = {} if below is None else below
            place = below
            if not isinstance(place, (dict, list)):
                raise UserError(f'{name}: {part} is a value, not a group')
        last = _item(place, parts[-1], f'{name}: {parts[-2]}')
        if isinstance(below := place[last] if isinstance(place, list) else place.get(last), dict):
            below[''] = Text(text)  # the name of a choice, whose other keys stay
        else:
            place[last] = Text(text)
    return groups


def _item(place, part: str, what: str):
    """The key of a group as it stands, or the number of one of a list's items."""
    if not isinstance(place, list):
        return part
    if part.isdigit() and int(part) < len(place):
        return int(part)
    raise UserError(f'{what} is a list of {len(place)}; its items are called 0 to {len(place) - 1}, not {part!r}')


def _plain(value):
    if hasattr(value, 'to_dict'):
        value = value.to_dict()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
