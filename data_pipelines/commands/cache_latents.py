"""Encode every clip of an experiment's source to latents once: `python -m data_pipelines cache-latents`.

Killed anywhere and started again, on as many machines or others, it goes on where it was. Moments of the codec's
posterior are stored, so that its sample is drawn in training. View 0 of a clip is the one that evaluation sees; the
others are drawn as training draws them, from the experiment's seed.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vdm_jax.cli import configure_jax, outputs
from vdm_jax.codecs.video_codec import measure_statistics
from vdm_jax.data.latents import metadata
from vdm_jax.data.latents.metadata import MAX_PARTS, conditions_dtype, part_file
from vdm_jax.data.latents.store import LatentSet, PartWriter, bucket_directory
from vdm_jax.data.order.order import VIEW_STREAM, philox
from vdm_jax.data.scalars import attach_scalars, available_scalars
from vdm_jax.data.source import Reader, Shape
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.parallel import processes
from vdm_jax.parallel.mesh import MeshConfig, pad_rows, to_global

NOTE_BATCHES = 50  # between two notes of how far a part is
PART_BYTES = 2**32  # of moments, about, in a part
STATISTICS_CLIPS = 4096  # the first ones, that mean and standard deviation are of
STATISTICS_CHUNKS = 64

About = dict[str, Any]  # about.json of a directory (vdm_jax/data/latents/metadata.py)
Encode = Callable[[np.ndarray], Any]  # videos (B, T, H, W, C) -> moments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument('--config', required=True, metavar='FILE[:ARGS]', help='experiment; --config.a.b=v as ever')
    parser.add_argument('--out', required=True, metavar='DIR', help='where the latents go: config.latents of a run')
    parser.add_argument('--batch', type=int, default=64, help='clips at a time, on each machine (default 64)')
    parser.add_argument('--views', type=int, default=1, help='of each clip: as evaluated, and as drawn (default 1)')
    parser.add_argument('--dtype', choices=('float32', 'float16'), default='float32', help='of moments on disk')
    parser.add_argument('--parts', type=int, help='files of moments (default: as many as machines, of 4 GiB at most)')
    parser.add_argument('--distributed', action='store_true', help='several machines: let jax find the others')


def run(arguments: argparse.Namespace) -> None:
    """Encode the clips of an experiment.

    Raises:
      UserError: it has no codec with weights.
    """
    configure_jax()
    processes.start(arguments.distributed)
    try:
        _encode_experiment(arguments)
    except BaseException as error:
        # So that the others do not wait for one that is gone.
        processes.schedule_exit(2 if isinstance(error, UserError) else 1)
        raise


def _encode_experiment(arguments: argparse.Namespace) -> None:
    outputs.check_writable_here(arguments.out, False)
    out = Path(arguments.out)
    experiment = read_experiment(arguments.config, arguments.assignments)

    # Each process encodes clips of its own on its own devices, and waits for no other.
    local_run = Run(dataclasses.replace(experiment, mesh=MeshConfig()), jax.local_devices())
    if 'codec' not in local_run.programs.abstract_frozen:
        raise UserError('config.codec: it has no weights, and nothing to save by encoding beforehand')
    if processes.is_primary():
        for note in local_run.data.reader.notes():
            print(note, file=sys.stderr)
    cache(local_run, out, arguments.batch, arguments.views, arguments.dtype, arguments.parts)
    if processes.is_primary():
        for _, directory, _ in list_buckets(local_run, out):
            print_report(directory)


def print_report(out: Path) -> None:
    """Print what there is, and what to normalise it by."""
    latents = LatentSet(str(out), f'--out={out}')
    count = latents.about['count']
    views = latents.about['views']
    parts = latents.about['parts']
    size = sum((out / part_file('moments', number, parts)).stat().st_size for number in range(parts))
    in_views = f' in {views} views' if views > 1 else ''
    print(f'{out}: moments of {count} clips{in_views}, {size / 1e6:.1f} MB')

    # Read a chunk at a time: all of them may not fit into memory.
    chunks = np.array_split(np.arange(min(count, STATISTICS_CLIPS)), STATISTICS_CHUNKS)
    means = (np.split(latents.moments(ids, 0 * ids), 2, -1)[0] for ids in chunks if len(ids))
    for name, values in zip(('mean', 'std'), measure_statistics(means), strict=True):
        print(f'  {name} of their channels: ({", ".join(f"{value:.4g}" for value in values)})')


def cache(run: Run, out: Path, batch: int, views: int = 1, dtype: str = 'float32', parts: int | None = None) -> None:
    """Encode what is not there yet, in this process the parts that are its own; done when all processes are.

    Args:
      run: The experiment, on this process's devices.
      out: The directory of latents.
      batch: Views that are encoded at a time.
      views: Of each clip.
      dtype: Of moments on disk.
      parts: Files of moments; None: as many as processes, of PART_BYTES at most.

    Raises:
      UserError: a number is not 1 or more, the directory holds latents of another codec, of other clips, or made
        otherwise, there is no room for them, or the clips are latents already.
    """
    _check_counts(batch, views, parts)
    if run.data.reader.latents:
        raise UserError('config.data: its clips are latents already; train on them as they are')
    check_same_on_all(run.latent_cache_key)

    # Compiled once: all batches of a bucket have one size.
    moments = jax.jit(run.experiment.codec.moments)
    with jax.set_mesh(run.mesh), concurrent.futures.ThreadPoolExecutor(max(run.data.source.threads, 1)) as pool:
        size = pad_rows(batch, run.mesh)
        weights = run.frozen['codec']

        def encode(video: np.ndarray) -> Any:
            return moments(weights, to_global({'video': video}, run.mesh, size)['video'])

        for reader, directory, shape in list_buckets(run, out):
            begin = functools.partial(begin_directory, run, reader, shape, directory, views, dtype, parts)
            about = processes.run_on_primary(begin)
            # Parts of its own for each process: none asks another what is left.
            own_parts = np.array_split(np.arange(about['parts']), jax.process_count())[jax.process_index()]
            # All are opened before the first clip is encoded: files that were changed are named now.
            with explain_disk_errors(directory):
                writers = [PartWriter(directory, about, int(number)) for number in own_parts]
            progress = Progress(sum(writer.total - writer.done for writer in writers))
            for writer in writers:
                encode_part(writer, reader, about, size, encode, pool, progress)

            # Files tell when the other processes are done, however long they take.
            while metadata.count_done(directory, about) < about['count'] * about['views']:
                time.sleep(1)
    # None leaves while others still work, as jax takes a process that is gone for a failure.
    processes.gather_texts('')


def _check_counts(batch: int, views: int, parts: int | None) -> None:
    """Check what the command line asks for of each."""
    for name, value in (('batch', batch), ('views', views), ('parts', parts)):
        if value is not None and value < 1:
            raise UserError(f'--{name}={value}: want 1 or more')
    if parts is not None and parts > MAX_PARTS:
        raise UserError(f'--parts={parts}: want {MAX_PARTS} at most')


def list_buckets(run: Run, out: Path) -> list[tuple[Reader, Path, Shape]]:
    """Return (clips of one shape, where their latents go, the shape of those) of each bucket that has clips."""
    if not run.data.source.bucketed:
        return [(run.data.reader, out, run.network.latent_shape)]
    buckets = []
    for number, shape in zip(run.data.source.bucket_numbers, run.network.latent_shapes, strict=True):
        reader = run.data.reader.for_bucket(number)
        if len(reader):
            buckets.append((reader, bucket_directory(out, run.data.source, number), shape))
    return buckets


def check_same_on_all(cache_key: Mapping[str, Any]) -> None:
    """Raise UserError unless all processes are about to make the same latents."""
    cache_keys = [json.loads(text) for text in processes.gather_texts(json.dumps(cache_key))]
    for number, other in enumerate(cache_keys):
        metadata.check_same_encoding(f'process {number}', other, cache_keys[0])


def begin_directory(
    run: Run, reader: Reader, shape: Shape, out: Path, views: int, dtype: str, parts: int | None
) -> About:
    """Return about.json of a directory, written now if nothing is there yet.

    Args:
      run: The experiment.
      reader: The clips whose latents go there.
      shape: Of a clip's latents.
      out: The directory.
      views: Of each clip.
      dtype: Of moments on disk.
      parts: Files of moments, None for any number.

    Raises:
      UserError: it was begun otherwise, or there is no room.
    """
    where = f'--out={out}'
    # The one view of evaluation draws nothing: a cache of it suits runs of any seed.
    seed = run.experiment.seed if views > 1 else None
    stored: About | None = metadata.read_about(out, where)
    if stored:
        metadata.check_same_encoding(where, stored['made'], run.latent_cache_key)
        wanted = {'--views': views, '--dtype': dtype, 'config.seed': seed, '--parts': parts or stored['parts']}
        _check_same_options(where, stored, wanted)
        return stored

    scalars = list(available_scalars(reader))
    reserved = set(scalars) & {*metadata.OTHER_FIELDS}
    if reserved:
        raise UserError(f'config.data: a score of its clips is called {reserved.pop()}; give it another name')

    *grid, channels = shape
    size = len(reader) * views * math.prod(grid) * 2 * channels * np.dtype(dtype).itemsize
    out.mkdir(parents=True, exist_ok=True)
    check_free_space(out, size)

    parts = parts or max(jax.process_count(), -(-size // PART_BYTES))
    about: About = {
        'version': metadata.VERSION,
        'made': run.latent_cache_key,
        'count': len(reader),
        'views': views,
        'dtype': dtype,
        'shape': [*grid, 2 * channels],
        'scalars': scalars,
        'seed': seed,
        'drawn': reader.num_draws,
        'parts': min(parts, len(reader)),
    }
    with explain_disk_errors(out):
        metadata.write_about(out, about)
    return about


def check_free_space(out: Path, size: int) -> None:
    """Check that so many bytes fit on the disk: before the first clip is encoded, and not hours later.

    Raises:
      UserError: They do not.
    """
    free = shutil.disk_usage(out).free
    if size > free:
        raise UserError(f'--out={out}: {size / 1e9:.1f} GB are wanted, {free / 1e9:.1f} are free; see --dtype, --views')


def _check_same_options(where: str, stored: About, wanted: Mapping[str, Any]) -> None:
    """Check that a directory was begun with these options, by the names that the command line has for them."""
    for name, value in wanted.items():
        stored_value = stored[name.lstrip('-').removeprefix('config.')]
        if stored_value != value:
            raise UserError(f'{where}: begun with {name}={stored_value}, and asked for {value}; name another directory')


def encode_part(
    writer: PartWriter,
    reader: Reader,
    about: About,
    size: int,
    encode: Encode,
    pool: concurrent.futures.Executor,
    progress: 'Progress',
) -> None:
    """Encode what a part lacks, `size` views at a time; the next ones are read meanwhile.

    Raises:
      UserError: moments are not finite, or too large for the dtype.
    """
    wanted = range(writer.first + writer.done, writer.first + writer.total)

    def start_reading(pairs: Sequence[int]) -> list[concurrent.futures.Future[dict[str, Any]]]:
        return [pool.submit(read_view, reader, about, pair) for pair in pairs]

    next_views = start_reading(wanted[:size])
    for number, start in enumerate(range(0, len(wanted), size)):
        views = [future.result() for future in next_views]
        # A batch of one size, or the codec would be compiled again for the last one.
        video = np.stack([views[row % len(views)]['video'] for row in range(size)])
        device_moments = encode(video)
        # While the device works on this batch.
        next_views = start_reading(wanted[start + size : start + 2 * size])

        # What overflows is looked for below, where the clip can be named.
        with np.errstate(over='ignore'):
            moments = np.asarray(device_moments)[: len(views)].astype(about['dtype'])
        for pair, own_moments in zip(wanted[start:], moments, strict=False):
            if not np.isfinite(own_moments).all():
                hint = 'take float32' if about['dtype'] == 'float16' else 'look at the codec that config.codec names'
                raise UserError(
                    f'--dtype={about["dtype"]}: the latents of clip {pair // about["views"]} are not finite in it; '
                    + hint
                )
        with explain_disk_errors(writer.path):
            writer.write(moments=moments, conditions=make_rows(views, about))
        progress.add(len(views))
        if number % NOTE_BATCHES == NOTE_BATCHES - 1 or writer.done == writer.total:
            with explain_disk_errors(writer.path):
                writer.commit()
            progress.show()
    writer.close()


def read_view(reader: Reader, about: About, pair: int) -> dict[str, Any]:
    """Return view `pair` % views of clip `pair` // views, with all that is stored of it."""
    number, view = divmod(pair, about['views'])
    if view:
        # From a stream of its own, by clip and view: the same on whatever machine, and wherever encoding goes on.
        clip = reader.draw(number, np.random.Generator(philox(VIEW_STREAM, about['seed'], number, view)))
    else:
        clip = reader[number]
    return {**attach_scalars(clip, about['scalars']), 'drawn': clip.get('draws')}


def make_rows(views: Sequence[Mapping[str, Any]], about: About) -> np.ndarray:
    """Return the conditions of views, (N,) with the fields label, each scalar and drawn."""
    rows = np.zeros(len(views), conditions_dtype(about))
    for name in rows.dtype.names or ():
        rows[name] = [view[name] for view in views]
    return rows


@contextlib.contextmanager
def explain_disk_errors(where: Path) -> Iterator[None]:
    """Raise UserError for a disk that is full or gone, which is the user's to mend."""
    try:
        yield
    except OSError as error:
        raise UserError(f'--out={where}: {error}; the same command goes on where it stopped') from None


class Progress:
    """Prints on the console of the first process how far it is.

    Attributes:
      left: Views that are still to be encoded.
    """

    def __init__(self, left: int) -> None:
        self.left = left
        self._encoded = 0
        self._began = time.monotonic()

    def add(self, count: int) -> None:
        """Count views that were encoded."""
        self._encoded += count
        self.left -= count

    def show(self) -> None:
        """Print how many views are left, and for how long."""
        if processes.is_primary():
            rate = self._encoded / (time.monotonic() - self._began)
            line = f'{self.left} views of clips left, {rate:.0f} a second, {self.left / rate:.0f} s'
            print(f'\r{line:70}', end='' if self.left else '\n', file=sys.stderr, flush=True)
