"""Latents of every clip of an experiment's source, encoded once: `python -m data_pipelines cache-latents`.

Killed anywhere and started again, on as many machines or others, it goes on where it was. Moments are kept, so that
what a codec draws is drawn in training. View 0 of a clip is the one that evaluation sees; the others are drawn as
training draws them, from the experiment's seed.
"""

import concurrent.futures
import dataclasses
import functools
import json
import math
import shutil
import sys
import time
from pathlib import Path

import jax
import numpy as np

from vdm_jax.cli import outputs, prepare
from vdm_jax.codecs.video_codec import measure_statistics
from vdm_jax.data.latents import metadata
from vdm_jax.data.latents.metadata import MOST_PARTS, part_file, told_dtype
from vdm_jax.data.latents.store import LatentSet, PartWriter, bucket_directory
from vdm_jax.data.order.order import VIEW_STREAM, philox
from vdm_jax.data.scalars import attach_scalars, available_scalars
from vdm_jax.data.source import Reader, Shape
from vdm_jax.errors import UserError
from vdm_jax.experiment.registry import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.parallel import processes
from vdm_jax.parallel.mesh import MeshConfig, pad_rows, to_global

SAVED = 50  # batches between two notes of how far a part is
PART_BYTES = 2**32  # of moments, about, in a part
MEASURED = 4096  # clips, the first ones, that mean and standard deviation are of


def add_arguments(parser):
    parser.add_argument('--config', required=True, metavar='FILE[:ARGS]', help='experiment; --config.a.b=v as ever')
    parser.add_argument('--out', required=True, metavar='DIR', help='where the latents go: config.latents of a run')
    parser.add_argument('--batch', type=int, default=64, help='clips at a time, on each machine (default 64)')
    parser.add_argument('--views', type=int, default=1, help='of each clip: as evaluated, and as drawn (default 1)')
    parser.add_argument('--dtype', choices=('float32', 'float16'), default='float32', help='of moments on disk')
    parser.add_argument('--parts', type=int, help='files of moments (default: as many as machines, of 4 GiB at most)')
    parser.add_argument('--distributed', action='store_true', help='several machines: let jax find the others')


def run(arguments):
    """Encodes the clips of an experiment. Raises UserError where it has no codec with weights."""
    prepare()
    processes.start(arguments.distributed)
    try:
        made(arguments)
    except BaseException as error:
        processes.report_failure(2 if isinstance(error, UserError) else 1)
        raise


def made(arguments):
    outputs.try_writing(arguments.out, False)
    out = Path(arguments.out)
    experiment = read_experiment(arguments.config, arguments.assignments)
    # Each process encodes clips of its own on its own devices, and waits for no other.
    here = Run(dataclasses.replace(experiment, mesh=MeshConfig()), jax.local_devices())
    if 'codec' not in here.abstract_frozen:
        raise UserError('config.codec: it has no weights, and nothing to save by encoding beforehand')
    if processes.is_primary():
        for note in here.reader.notes():
            print(note, file=sys.stderr)
    cache(here, out, arguments.batch, arguments.views, arguments.dtype, arguments.parts)
    if processes.is_primary():
        for _, directory, _ in pieces(here, out):
            report(directory)


def report(out: Path) -> None:
    """Says what there is, and what to normalise it by."""
    there = LatentSet(str(out), f'--out={out}')
    about = there.about
    size = sum((out / part_file('moments', number, about['parts'])).stat().st_size for number in range(about['parts']))
    views = f' in {about["views"]} views' * (about['views'] > 1)
    print(f'{out}: moments of {about["count"]} clips{views}, {size / 1e6:.1f} MB')
    ids = np.array_split(np.arange(min(about['count'], MEASURED)), 64)
    means = (np.split(there.moments(few, 0 * few), 2, -1)[0] for few in ids if len(few))
    for name, values in zip(('mean', 'std'), measure_statistics(means), strict=True):
        print(f'  {name} of their channels: ({", ".join(f"{value:.4g}" for value in values)})')


def cache(run, out: Path, batch: int, views: int = 1, dtype: str = 'float32', parts: int | None = None) -> None:
    """Encodes what is not there yet, in this process the parts that are its own; done when all processes are.

    Raises:
      UserError: a number is not 1 or more, the directory holds latents of another codec, of other clips, or made
        otherwise, there is no room for them, or the clips are latents already.
    """
    for name, value in (('batch', batch), ('views', views), ('parts', parts)):
        if value is not None and value < 1:
            raise UserError(f'--{name}={value}: want 1 or more')
    if parts is not None and parts > MOST_PARTS:
        raise UserError(f'--parts={parts}: want {MOST_PARTS} at most')
    if run.reader.latents:
        raise UserError('config.data: its clips are latents already; train on them as they are')
    same(run.encoding)
    moments = jax.jit(run.experiment.codec.moments)
    with jax.set_mesh(run.mesh), concurrent.futures.ThreadPoolExecutor(max(run.source.threads, 1)) as pool:
        size, weights = pad_rows(batch, run.mesh), run.frozen['codec']

        def encode(video):
            return moments(weights, to_global({'video': video}, run.mesh, size)['video'])

        for reader, directory, shape in pieces(run, out):
            begin = functools.partial(begun, run, reader, shape, directory, views, dtype, parts)
            about = processes.run_on_primary(begin)
            ours = np.array_split(np.arange(about['parts']), jax.process_count())[jax.process_index()]
            writers = [guarded(directory, functools.partial(PartWriter, directory, about, int(n))) for n in ours]
            progress = Progress(sum(writer.total - writer.done for writer in writers))
            for writer in writers:
                fill(writer, reader, about, size, encode, pool, progress)
            while metadata.all_done(directory, about) < about['count'] * about['views']:  # however long others take
                time.sleep(1)
    processes.gather('')


def pieces(run: Run, out: Path) -> list[tuple[Reader, Path, Shape]]:
    """(clips of one shape, where their latents go, the shape of those): of each bucket that has clips."""
    if not run.source.bucketed:
        return [(run.reader, out, run.latent_shape)]
    buckets = []
    for number, shape in zip(run.source.bucket_numbers, run.latent_shapes, strict=True):
        reader = run.reader.for_bucket(number)
        if len(reader):
            buckets.append((reader, bucket_directory(out, run.source, number), shape))
    return buckets


def same(made: dict) -> None:
    """Whether all processes are about to make the same latents."""
    said = [json.loads(each) for each in processes.gather(json.dumps(made))]
    for number, other in enumerate(said):
        metadata.agree(f'process {number}', other, said[0])


def begun(run, reader: Reader, shape, out: Path, views: int, dtype: str, parts: int | None) -> dict:
    """about.json of the directory, written now if nothing is there yet."""
    where, made, seed = f'--out={out}', run.encoding, run.experiment.seed if views > 1 else None
    there = metadata.read_about(out, where)
    if there:
        metadata.agree(where, there['made'], made)
        asked = {'--views': views, '--dtype': dtype, 'config.seed': seed, '--parts': parts or there['parts']}
        for name, value in asked.items():
            found = there[name.lstrip('-').removeprefix('config.')]
            if found != value:
                raise UserError(f'{where}: begun with {name}={found}, and asked for {value}; name another directory')
        return there
    if clash := set(available_scalars(reader)) & {*metadata.OTHER_FIELDS}:
        raise UserError(f'config.data: a score of its clips is called {clash.pop()}; give it another name')
    *grid, channels = shape
    size = len(reader) * views * math.prod(grid) * 2 * channels * np.dtype(dtype).itemsize
    out.mkdir(parents=True, exist_ok=True)
    if size > (free := shutil.disk_usage(out).free):
        raise UserError(f'{where}: {size / 1e9:.1f} GB are wanted, {free / 1e9:.1f} are free; see --dtype, --views')
    about = {'version': metadata.VERSION, 'made': made, 'count': len(reader), 'views': views, 'dtype': dtype}
    about |= {'shape': [*grid, 2 * channels], 'scalars': list(available_scalars(reader)), 'seed': seed}
    about |= {'drawn': reader.num_draws}
    about |= {'parts': min(parts or max(jax.process_count(), -(-size // PART_BYTES)), len(reader))}
    guarded(out, functools.partial(metadata.write_about, out, about))
    return about


def fill(writer: PartWriter, reader: Reader, about: dict, size: int, encode, pool, progress) -> None:
    """Encodes what a part lacks, `size` views at a time; the next ones are read meanwhile.

    Raises: UserError where moments are not finite, or too large for the dtype.
    """
    wanted = range(writer.first + writer.done, writer.first + writer.total)

    def read(pairs):
        return [pool.submit(view_of, reader, about, pair) for pair in pairs]

    ahead = read(wanted[:size])
    for number, start in enumerate(range(0, len(wanted), size)):
        clips = [each.result() for each in ahead]
        video = np.stack([clips[row % len(clips)]['video'] for row in range(size)])
        found = encode(video)
        ahead = read(wanted[start + size : start + 2 * size])
        with np.errstate(over='ignore'):
            moments = np.asarray(found)[: len(clips)].astype(about['dtype'])
        for pair, each in zip(wanted[start:], moments, strict=False):
            if not np.isfinite(each).all():
                raise UserError(
                    f'--dtype={about["dtype"]}: the latents of clip {pair // about["views"]} are not finite in it; '
                    + ('take float32' if about['dtype'] == 'float16' else 'look at the codec that config.codec names')
                )
        guarded(writer.path, lambda: writer.write(moments=moments, told=rows_of(clips, about)))  # noqa: B023, at once
        progress.add(len(clips))
        if number % SAVED == SAVED - 1 or writer.done == writer.total:
            guarded(writer.path, writer.note)
            progress.show()
    writer.close()


def view_of(reader: Reader, about: dict, pair: int) -> dict:
    """View `pair` % views of clip `pair` // views, with all that is kept of it."""
    clip, view = divmod(pair, about['views'])
    if not view:
        found = reader[clip]
    else:
        found = reader.draw(clip, np.random.Generator(philox(VIEW_STREAM, about['seed'], clip, view)))
    return attach_scalars(found, about['scalars']) | {'drawn': found.get('draws')}


def rows_of(clips: list[dict], about: dict) -> np.ndarray:
    """What clips tell, (N,) with the fields label, each scalar and drawn."""
    rows = np.zeros(len(clips), told_dtype(about))
    for name in rows.dtype.names:
        rows[name] = [clip[name] for clip in clips]
    return rows


def guarded(where, action):
    """action(), where a disk that is full or gone is the user's to mend."""
    try:
        return action()
    except OSError as error:
        raise UserError(f'--out={where}: {error}; the same command goes on where it stopped') from None


class Progress:
    """How far the first process is, on the console."""

    def __init__(self, left: int):
        self.left, self._made, self._began = left, 0, time.monotonic()

    def add(self, count: int) -> None:
        self._made, self.left = self._made + count, self.left - count

    def show(self) -> None:
        if processes.is_primary():
            rate = self._made / (time.monotonic() - self._began)
            line = f'{self.left} views of clips left, {rate:.0f} a second, {self.left / rate:.0f} s'
            print(f'\r{line:70}', end='' if self.left else '\n', file=sys.stderr, flush=True)
