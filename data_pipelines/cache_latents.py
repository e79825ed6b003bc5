"""Latents of every clip of an experiment's source, encoded once: `python -m data_pipelines cache-latents`.

Killed and started again it goes on where it was. Moments are stored, float32, so that what a codec draws is drawn in
training, and a run learns the same from them as from the clips.
"""

import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

from vdm_jax.build import read_experiment
from vdm_jax.codecs.video_codec import statistics
from vdm_jax.data.clips import batch_of
from vdm_jax.data.latents import ABOUT, ARRAY, agree
from vdm_jax.data.scalars import given
from vdm_jax.errors import UserError
from vdm_jax.parallel.mesh import padded, to_global
from vdm_jax.run import Run

SAVED = 50  # batches between two notes of how far it is
MEASURED = 4096  # clips, the first ones, that mean and standard deviation are of


def add_arguments(parser):
    parser.add_argument('--config', required=True, metavar='FILE[:ARGS]', help='experiment; --config.a.b=v as ever')
    parser.add_argument('--out', required=True, metavar='DIR', help='where the latents go: config.latents of a run')
    parser.add_argument('--batch', type=int, default=64, help='clips at a time (default 64)')


def run(arguments):
    """Encodes the clips of an experiment. Raises UserError where it has no codec with weights."""
    experiment = Run(read_experiment(arguments.config, arguments.assignments))
    if 'codec' not in experiment.abstract_frozen:
        raise UserError('config.codec: it has no weights, and nothing to save by encoding beforehand')
    count = cache(experiment, Path(arguments.out), arguments.batch)
    array = Path(arguments.out) / ARRAY
    print(f'{arguments.out}: moments of {count} clips, {array.stat().st_size / 1e6:.1f} MB')
    means, _ = np.split(np.load(array, mmap_mode='r')[:MEASURED], 2, -1)
    for name, values in zip(('mean', 'std'), statistics(means), strict=True):
        print(f'  {name} of their channels: ({", ".join(f"{value:.4g}" for value in values)})')


def cache(run, out: Path, batch: int) -> int:
    """Encodes what is not there yet; returns the number of clips.

    Raises:
      UserError: the directory holds latents of another codec or of other clips.
    """
    codec, weights, source = run.experiment.codec, run.frozen['codec'], run.source
    frames, height, width, channels = run.latent_shape
    about = {'made': run.encoding, 'count': len(source), 'done': 0, 'labels': []}
    about['scalars'] = {name: [] for name in given(source)}
    out.mkdir(parents=True, exist_ok=True)
    if (out / ABOUT).exists():
        there = json.loads((out / ABOUT).read_text())
        agree(f'--out={out}', there.get('made', {}), about['made'])
        about = there
    shape = (len(source), frames, height, width, 2 * channels)
    mode = 'r+' if about['done'] else 'w+'
    array = np.lib.format.open_memmap(out / ARRAY, mode, np.float32, shape)
    encode = jax.jit(lambda weights, video: codec.moments(weights, video))
    began, since = time.monotonic(), about['done']
    with jax.set_mesh(run.mesh):
        size = padded(batch, run.mesh)
        for number, start in enumerate(range(about['done'], len(source), size)):
            rows = np.arange(start, min(start + size, len(source)))
            clips = batch_of(source, rows, about['scalars'])
            filled = {'video': clips['video'][np.arange(size) % len(rows)]}
            found = np.asarray(encode(weights, to_global(filled, run.mesh, size)['video']))
            array[rows] = found[: len(rows)]
            about['labels'] += clips['label'].tolist()
            for name, values in about['scalars'].items():
                values += clips[name].tolist()
            about['done'] = int(rows[-1]) + 1
            if number % SAVED == SAVED - 1 or about['done'] == len(source):
                array.flush()
                (out / f'{ABOUT}.new').write_text(json.dumps(about))
                (out / f'{ABOUT}.new').replace(out / ABOUT)
                rate = (about['done'] - since) / (time.monotonic() - began)
                left = (len(source) - about['done']) / rate
                line = f'{about["done"]} of {len(source)} clips, {rate:.0f} a second, {left:.0f} s left'
                print(f'\r{line}', end='', file=sys.stderr)
    print(file=sys.stderr)
    return len(source)
