"""Every field of every config group, whatever a name in a config may stand for."""

import copy
import dataclasses
import math
import types
import typing
from typing import Annotated, Any

from vdm_jax.config.experiment_file import override
from vdm_jax.config.ranges import Between, annotations_of
from vdm_jax.experiment.experiment import Experiment, experiment_from
from vdm_jax.experiment.registry import CHOICES

TINY = {
    'model': {'width': 16, 'heads': 2, 'depth': 2},
    'data': {'source': 'bouncing_balls', 'frames': 4},
    'train': {'batch_size': 2, 'steps': 1000},
    'sampler': {'steps': 8},
}
CLIPS = {'source': 'synthetic', 'pixels': 8, 'frames': 4}
# What a file must say beside a name, so that there is such a group at all.
NEEDS = {
    'bucketed': {'clips': {'source': 'video_folder', 'path': 'nowhere'}},
    'joint_images': {'clips': CLIPS, 'images': CLIPS},
    'mixture': {'sources': [CLIPS, CLIPS]},
    'stored': {'path': 'nowhere.npy', 'texts': 'nowhere.txt'},
    'stop_at_first': {'of': 'linear'},
}
BESIDE = {
    'fused_min_snr': {'diffusion': {'per_frame': True, 'prediction': 'x0'}},
    'stop_at_first': {'diffusion': {'process': 'ddpm'}},
    'sd_vae': {'data': {'source': 'synthetic'}},
    'conv_lstm': {'diffusion': {'context': 1}},
    'frame_prediction': {'data': {'frames': 12}},
}


@dataclasses.dataclass(frozen=True)
class Field:
    """One of a group `cls` at the dotted `key`, which is there where an experiment file has `groups`."""

    key: str
    cls: type
    groups: dict
    annotation: Any

    @property
    def name(self) -> str:
        return self.key.rpartition('.')[2]

    def read(self, text: str) -> Experiment:
        """The experiment with this on the command line."""
        return experiment_from(override(self.groups, [f'--config.{self.key}={text}']))

    def value(self, experiment: Experiment):
        return get(experiment, self.key)


def get(group, key: str):
    """What an experiment has at a dotted key."""
    for name in filter(None, key.split('.')):
        group = getattr(group, name)
    return group


def walk() -> list[Field]:
    """All fields of all groups, each once, where it first stands."""
    fields = []
    seen = {Experiment}
    waiting = [(Experiment, '', TINY)]

    while waiting:
        cls, path, groups = waiting.pop(0)
        annotations = annotations_of(cls)
        for field in dataclasses.fields(cls):
            key = f'{path}.{field.name}'.strip('.')
            fields.append(Field(key, cls, groups, annotations[field.name]))
            for inner, inner_groups in groups_of(annotations[field.name], key, groups):
                if inner not in seen:
                    seen.add(inner)
                    waiting.append((inner, key, inner_groups))
    return fields


def groups_of(annotation, key: str, groups: dict):
    """The classes that may stand at a key, each with the entry of a file that puts it there."""
    if annotation in CHOICES:
        choice = CHOICES[annotation]
        for name, cls in choice.table.items():
            usual = get_plain(groups, key) if cls in (type(get(experiment_from(groups), key)),) else {}
            chosen = put(groups, key, usual | {choice.key: name} | NEEDS.get(name, {}))
            yield cls, merge(chosen, BESIDE.get(name, {}))
    elif dataclasses.is_dataclass(annotation):
        yield annotation, groups


def get_plain(groups: dict, key: str) -> dict:
    for name in key.split('.'):
        groups = groups.get(name, {})
    return groups if isinstance(groups, dict) else {}


def put(groups: dict, key: str, value) -> dict:
    """The groups with a value at a dotted key."""
    groups = copy.deepcopy(groups)
    *above, last = key.split('.')
    place = groups
    for name in above:
        place = place.setdefault(name, {})
    place[last] = value
    return groups


def merge(groups: dict, others: dict) -> dict:
    """The groups with others put over them, key by key."""
    both_groups = dict(groups)
    for name, value in others.items():
        both = isinstance(value, dict) and isinstance(both_groups.get(name), dict)
        both_groups[name] = merge(both_groups[name], value) if both else value
    return both_groups


def parts(annotation):
    """The annotation with its rules, and those within it: of options and of items."""
    origin = typing.get_origin(annotation)
    options = typing.get_args(annotation)
    if origin is Annotated:
        kind, *rules = options
        for inner, own in parts(kind):
            yield inner, (*own, *rules) if inner is kind else own
    elif origin is tuple:
        yield annotation, ()
        for option in options:
            yield from parts(option) if option is not Ellipsis else ()
    elif origin in (typing.Union, types.UnionType):
        for option in options:
            yield from parts(option)
    else:
        yield annotation, ()


def is_number(annotation) -> bool:
    """Whether a field holds one number, or none."""
    return any(kind in (int, float) for kind, _ in parts(annotation)) and not is_list(annotation)


def is_list(annotation) -> bool:
    return any(typing.get_origin(kind) is tuple for kind, _ in parts(annotation))


def ends(annotation) -> list[float]:
    """The least and greatest numbers that the ranges of a field have."""
    numbers = []
    for _, rules in parts(annotation):
        for rule in rules:
            if isinstance(rule, Between):
                numbers += [rule.low, math.nextafter(rule.high, rule.low) if rule.below else rule.high]
    return numbers
