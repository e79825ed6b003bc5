"""Which values of a config are no defaults: what somebody chose."""

import dataclasses
from typing import Any

from vdm_jax.config.experiment_file import check_groups
from vdm_jax.config.old_configs import update_config
from vdm_jax.config.schema import to_dict
from vdm_jax.experiment.experiment import Experiment, experiment_from
from vdm_jax.experiment.registry import CHOICES

REQUIRED = 'none: it has to be set'


def find_changes(config: dict[str, Any]) -> dict[str, Any]:
    """Return {dotted key: default} of each key of a resolved config whose value is another one.

    Keys of a group that is a choice have the defaults of the class that was chosen; that another class was chosen is a
    change of its name. Of a group where there is none by default all that is set is a change, from None.

    Raises:
      UserError: The config is of no experiment of this version.
    """
    experiment = experiment_from(update_config(check_groups(config, 'config.json')))
    return _compare_groups(experiment, Experiment(), 'config')


def _compare_groups(group: Any, default: Any, key: str) -> dict[str, Any]:
    """Return the changes below a key.

    Args:
      group: A dataclass.
      default: The dataclass that stands there by default, of whatever class; None where there is no group by default,
        MISSING where nothing is known but the defaults of its class.
      key: Dotted key of both.
    """
    changes: dict[str, Any] = {}
    cls = type(group)
    for choice in CHOICES.values():
        is_chosen = cls in choice.table.values() and type(default) is not cls
        if is_chosen and default is None:
            changes[f'{key}.{choice.key}'] = None
        elif is_chosen and type(default) in choice.table.values():
            changes[f'{key}.{choice.key}'] = choice.name_of(default)
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        value = getattr(group, field.name)
        own = _default_of(field)
        # What the group around this one has at its place, where that is of the same class: Experiment's own defaults
        # may differ from those of a class.
        if default is None:
            own = None
        elif type(default) is cls:
            own = getattr(default, field.name)
        changes |= _compare_values(value, own, f'{key}.{field.name}')
    return changes


def _compare_values(value: Any, default: Any, key: str) -> dict[str, Any]:
    if dataclasses.is_dataclass(value):
        return _compare_groups(value, default, key)
    if isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        changes: dict[str, Any] = {}
        for number, item in enumerate(value):
            changes |= _compare_values(item, dataclasses.MISSING, f'{key}.{number}')
        return changes
    if default is dataclasses.MISSING:
        return {key: REQUIRED}
    if value == default:
        return {}
    return {key: to_dict(default, CHOICES) if dataclasses.is_dataclass(default) else default}


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
