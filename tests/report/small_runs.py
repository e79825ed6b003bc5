"""Run directories made by hand, as small as can be."""

import json

import numpy as np

from vdm_jax import media
from vdm_jax.evals.score import Score
from vdm_jax.files import seal

CONFIG = {
    'seed': 0,
    'data': {'source': 'bouncing_balls', 'frames': 4},
    'train': {'steps': 40, 'batch_size': 8, 'sample_every': 10},
    'optim': {'name': 'adamw', 'learning_rate': 0.001},
    'checkpoint': {'best': 'validation_loss:min'},
}
COMMAND = ['/x/vdm_jax/__main__.py', 'train', '--config=balls.py', '--workdir=run 1', '--config.train.steps=40']


def write_run(directory, steps=40, config=CONFIG, lines=(), scores=(), samples=(10, 20, 40)):
    """Write a run directory; return it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / 'config.json').write_text(json.dumps(seal(config)))
    (directory / 'environment.json').write_text(
        json.dumps({'python': '3.11', 'packages': {'jax': '1'}, 'command': COMMAND})
    )
    write_metrics(directory, [line_of(step) for step in range(10, steps + 1, 10)] + [*lines])
    for step in samples:
        write_samples(directory, step, make_videos(seed=step))
    for score in scores:
        write_score(directory, score)
    return directory


def write_metrics(directory, lines):
    (directory / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))


def line_of(step, **values):
    """Return a line of metrics as the loop writes it."""
    usual = {'loss': 10 / step, 'grad_norm': 0.5, 'learning_rate': 1e-3, 'seconds': 2.0, 'waited_for_data': 0.5}
    return {'step': step, **usual, 'compilations': 6, 'memory_peak': 2**30, **values}


def make_videos(n=4, t=4, h=16, w=16, seed=0):
    """Return videos of a bright square that moves over noise, uint8 (N, T, H, W, 3)."""
    videos = np.random.default_rng(seed).integers(0, 60, (n, t, h, w, 3), np.uint8)
    for frame in range(t):
        videos[:, frame, : h // 4, frame * w // t : frame * w // t + w // 4] = 250
    return videos


def write_samples(directory, step, videos):
    media.write_strip(directory / 'samples' / f'step_{step:06d}.png', videos, fps=12)


def make_score(name='fvd8_4f', step=40, protocol=None, **changes):
    """Return a score with floor, controls and a curve over frames."""
    figures = {
        'samples': {'fvd': 100.5 / step, 'clips': 8},
        'floor': {'fvd': 2.5},
        'frozen': {'fvd': 300.0, 'clips': 8},
    }
    settings = {
        'protocol': {'name': 'fvd', 'resize': 'tf'} if protocol is None else protocol,
        'split': 'test',
        'step': step,
        'samples': 8,
        'seed': 0,
        'sampler': 'DDIM(steps=50)',
        'curves': {
            'samples': {
                'flicker': {'frames': [0, 1, 2], 'mean': [1.0, 1.5, None], 'error': [0.1, 0.1, 0.2], 'slope': 0.5}
            },
            'real': {'flicker': {'frames': [0, 1, 2], 'mean': [1.0, 1.1, 1.2], 'error': None, 'slope': None}},
            'noise': {'flicker': {'frames': [0], 'mean': [9.0], 'error': None, 'slope': None}},
        },
    }
    return Score(name, figures, {'fvd': step > 20}, settings | changes)


def write_score(directory, score):
    (directory / 'evals').mkdir(exist_ok=True)
    number = len([*(directory / 'evals').iterdir()])
    path = directory / 'evals' / f'{score.name}_step{score.settings.get("step")}_{number}.json'
    path.write_text(json.dumps(seal(score.to_json())))
    return path
