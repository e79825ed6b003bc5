"""Resolved configs of earlier versions: which keys have moved since, or came later.

A resolved config is what a run directory or an exported file holds: every key with its value. Experiment files are not
brought up to date; a key in one that has moved is a mistake that says where it is now.
"""

from collections.abc import Mapping
from typing import Any

# Keys of a source that came later, with what was done before there was a choice.
LATER_SOURCE_KEYS = {'video_folder': {'pixel_aspect': 'stored'}, 'tfds': {'pixel_aspect': 'stored'}}

# Keys of config.evaluate that became the protocol's own, with the values that they had where nothing was set.
FRAME_PREDICTION_KEYS = {'context': 10, 'per_clip': 5}

# Keys that were written for every optimizer and that AdamW never read.
KEYS_OF_MUON = ('momentum', 'adam', 'adam_learning_rate')

# Where an experiment file sets today what a key of an earlier version was for.
MOVED_KEYS = {
    f'config.evaluate.{key}': f'config.evaluate.protocol.{key} of config.evaluate.protocol=frame_prediction'
    for key in FRAME_PREDICTION_KEYS
}


def update_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resolved config of any earlier version with today's keys, as a new dict.

    Values are taken as they are: whether they are right is asked where the config is read.
    """
    config = dict(config)
    if isinstance(config.get('data'), dict):
        config['data'] = _update_source(config['data'])
    if isinstance(config.get('evaluate'), dict):
        config['evaluate'] = _update_evaluate(config['evaluate'], takes_context=_takes_context(config))
    if isinstance(config.get('optim'), dict):
        config['optim'] = _update_optim(config['optim'])
    return config


def _update_source(group: Any) -> Any:
    """Return a source, and those within it, with the keys that came later, at what was done without them."""
    if not isinstance(group, dict) or 'source' not in group:
        return group
    name = group['source']
    later = LATER_SOURCE_KEYS.get(name, {}) if isinstance(name, str) else {}

    def update(value: Any) -> Any:
        return [_update_source(item) for item in value] if isinstance(value, list) else _update_source(value)

    return later | {key: update(value) for key, value in group.items()}


def _takes_context(config: Mapping[str, Any]) -> bool:
    """Return whether the network can be shown context frames, as far as a config says."""
    diffusion = config.get('diffusion')
    if not isinstance(diffusion, dict):
        return True
    return bool(diffusion.get('context', True) or diffusion.get('per_frame', True))


def _update_evaluate(group: dict[str, Any], takes_context: bool) -> dict[str, Any]:
    """Return config.evaluate with the parameters of frame_prediction where that is what a run is for.

    They were written for every run. Values left at their default do not show which protocol was meant, nor do those of
    a network without context frames.
    """
    if 'protocol' in group:
        return group
    parameters = {key: group.get(key, usual) for key, usual in FRAME_PREDICTION_KEYS.items()}
    rest = {key: value for key, value in group.items() if key not in parameters}
    if parameters == FRAME_PREDICTION_KEYS or not takes_context:
        return rest
    return rest | {'protocol': {'name': 'frame_prediction', **parameters}}


def _update_optim(group: dict[str, Any]) -> dict[str, Any]:
    """Return config.optim without the keys of Muon where it is AdamW's."""
    if group.get('name') != 'adamw':
        return group
    return {key: value for key, value in group.items() if key not in KEYS_OF_MUON}
