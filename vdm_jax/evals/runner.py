"""Runs a protocol: asks for samples, scores them, writes the score with its protocol beside it."""

import hashlib
import json
import math
import re
from collections.abc import Callable

import numpy as np
from etils import epath

from vdm_jax import files
from vdm_jax.data.latents import MOVABLE
from vdm_jax.data.source import Reader
from vdm_jax.errors import UserError
from vdm_jax.evals.protocols import EvaluateConfig, Protocol
from vdm_jax.parallel import processes


def evaluate(
    protocol: Protocol,
    draw: Callable[[dict[str, np.ndarray]], np.ndarray],
    source: Reader,
    held_out: Reader,
    config: EvaluateConfig,
    about: dict,
) -> tuple[dict, np.ndarray]:
    """Scores what `draw` makes. Where several processes run all have to call it; the first one judges.

    Args:
      draw: {'label': (N,), perhaps 'frames': (N, k, H, W, C)} -> whole videos uint8 (N, T, H, W, C), known frames too.
      about: what else belongs to the score: step, sampler, …

    Returns:
      The score, JSON values only, with `passed`: whether every verdict is true; and the videos.
    """
    asks = protocol.asks(source, held_out, config)
    videos = draw(asks)
    score = processes.by_first(lambda: protocol.score(videos, asks, source, held_out, config))

    # JSON has neither nan nor infinity
    def known(figures):
        return {name: value if math.isfinite(value) else None for name, value in figures.items()}

    score['figures'] = {row: known(figures) for row, figures in score['figures'].items()}
    score |= about | {
        'samples': len(videos),
        'seed': config.seed,
        'clip': list(source.shape),
        'samples_sha256': hashlib.sha256(np.ascontiguousarray(videos).tobytes()).hexdigest(),
        'passed': all(score['verdict'].values()),
    }
    return score, videos


RESULTS = ('figures', 'verdict', 'passed', 'samples_sha256')
ASIDE = ('overrides', 'config')  # what was said, and all that became of it, of which `settings` are what matters
TRAINING = ('seed', 'latents', 'train', 'optim', 'ema', 'mesh', 'checkpoint', 'profile', 'log')  # groups of a config
# Keys of the other groups that change no pixel: where lies what has a fingerprint, how work is shared out.
PLACES = {
    'model': ('scan', 'remat'),
    'data': MOVABLE,
    'codec': ('path',),
    'text': ('path', 'texts'),
    'reconstruction': ('lpips_path',),
    'evaluate': ('batch_size',),
}


def settings(config: dict) -> dict:
    """What of a resolved config can change a sample or its score."""
    return {name: _without(group, PLACES.get(name, ())) for name, group in config.items() if name not in TRAINING}


def _without(value, keys):
    """Nested dicts and lists without these keys, at any depth."""
    if isinstance(value, list):
        return [_without(item, keys) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _without(item, keys) for name, item in value.items() if name not in keys}


def write(score: dict, directory) -> epath.Path:
    """Writes the score, and its own sha256, as NAME_stepN_SETTINGS.json into a directory; returns the file.

    SETTINGS are six digits of the sha256 of all that was set (weights, config, seed, …): the same question asked again
    overwrites its answer, another one does not.

    Raises:
      UserError: the score's own name or step would name a file elsewhere.
    """
    asked = {name: value for name, value in score.items() if name not in (*RESULTS, *ASIDE)}
    asked['settings'] = settings(score.get('config', {}))
    digits = files.digest_json(asked)[:6]
    name, step = score['name'], score['step']
    if type(step) is not int or step < 0 or not re.fullmatch(r'\w+', str(name)):
        raise UserError(f'a score of name {name!r:.80} and step {step!r:.80} names no file: want a word and a number')
    path = epath.Path(directory) / f'{name}_step{step}_{digits}.json'
    files.write_whole(path, json.dumps(files.sealed(score), indent=2) + '\n')
    return path


def read(path) -> dict:
    """A score that `write` wrote, as it was written.

    Raises:
      UserError: no such file, or another one, or it is damaged.
    """
    return files.unsealed(files.read_json(path), str(path))


def table(score: dict) -> str:
    """The score as text: a row for each set of clips, a column for each figure, and the verdicts."""
    rows = score['figures']
    columns = list(dict.fromkeys(name for figures in rows.values() for name in figures))
    cells = [['', *columns]]
    cells += [[name, *(_shown(figures.get(column)) for column in columns)] for name, figures in rows.items()]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = [
        '  '.join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]
    verdict = '  '.join(f'{name} {"ok" if good else "MISSED"}' for name, good in score['verdict'].items())
    sampler = [score['sampler']] if 'sampler' in score else []
    head = ', '.join([f'step {score["step"]}, {score["samples"]} samples', *sampler, f'seed {score["seed"]}'])
    return '\n'.join([f'{score["name"]}: {head}', '', *lines, '', verdict])


def _shown(value) -> str:
    return '-' if value is None else str(value) if isinstance(value, int) else f'{value:.3f}'
