"""Which of a score's settings its figures hang on, which are results, and which are neither.

Two scores that answer the same question have the same file; two that may stand in one column differ in whose samples
they are of and in nothing else (evals/columns.py).
"""

from collections.abc import Collection
from typing import Any

RESULTS = (
    'figures',
    'curves',
    'verdict',
    'passed',
    'samples_sha256',
    'real_features_sha256',
    'cautions',
    'floor',
    'interval',
)
# What is as it happens to be where a score is made, and what is as its step says.
CIRCUMSTANCES = ('environment', 'weights_sha256')
# What the command line changed, and the config that it became, of which `select_settings` are what matters.
CONFIGS = ('overrides', 'config')
TRAINING = ('seed', 'latents', 'train', 'optim', 'ema', 'mesh', 'checkpoint', 'profile', 'log')  # groups of a config
# Keys of the other groups that change no pixel: where lies what has a fingerprint, how work is shared out. Those of the
# data are declared by its source (Source.movable_keys). The protocol that was chosen stands in the score itself,
# whether a config names it or it is the source's usual one; so do the sampler and its guidance, in their own groups.
IRRELEVANT: dict[str, Collection[str]] = {
    'model': ('scan', 'remat'),
    'codec': ('path',),
    'text': ('path', 'texts'),
    'reconstruction': ('lpips_path',),
    'evaluate': ('batch_size', 'protocol', 'sampler', 'guidance'),
}


def select_settings(config: dict[str, Any], movable: Collection[str]) -> dict[str, Any]:
    """Return what of a resolved config can change a sample or its score; `movable` as `write` has it."""
    irrelevant: dict[str, Collection[str]] = IRRELEVANT | {'data': movable}
    return {name: leave_out(group, irrelevant.get(name, ())) for name, group in config.items() if name not in TRAINING}


def leave_out(value: Any, keys: Collection[str]) -> Any:
    """Return nested dicts and lists without these keys, at any depth."""
    if isinstance(value, list):
        return [leave_out(item, keys) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: leave_out(item, keys) for name, item in value.items() if name not in keys}
