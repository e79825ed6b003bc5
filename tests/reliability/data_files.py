"""Files that data is read from: sets of records, latents and texts made beforehand."""

import contextlib
import gzip
import io
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet

from data_pipelines.__main__ import main as data_pipelines
from data_pipelines.build.process_video import captions_within
from data_pipelines.commands import cache_text
from data_pipelines.inputs.changes import digest_items
from data_pipelines.inputs.listing import list_inputs
from tests.data_pipelines.sets import records, write_set
from tests.reliability.damage import Kind, command
from vdm_jax.data.latents.metadata import VERSION, conditions_dtype, write_about
from vdm_jax.data.latents.store import LatentSet, PartWriter
from vdm_jax.data.latents.text_store import TextCache
from vdm_jax.data.order.order import clip_generator
from vdm_jax.data.records.source import Records
from vdm_jax.data.video import probe, store
from vdm_jax.data.video.limits import Limits
from vdm_jax.data.worlds import mnist_idx
from vdm_jax.data.worlds.moving_mnist import MovingMNIST
from vdm_jax.errors import UserError
from vdm_jax.text.hashing import Hashing

TEXTS = [f'clip {i} of {i * i} balls' for i in range(12)]
SET = 'set'


def make_set(directory: Path) -> None:
    """A set of records as a build leaves it."""
    (directory / 'clips').mkdir()
    write_set(directory / SET, list(records(directory / 'clips')))


def train_on_set(directory: Path):
    """Return all that training reads of its records."""
    source = Records(str(directory / SET), frames=4, pixels=16, filters=('motion>=0',), max_broken=0.9).open()
    values = [source.identity(), source.num_classes, source.scalars, source.extents()]
    values += [source.records.captions(i) for i in source.index]
    values += [source.draw(i, clip_generator(0, i)) for i in range(len(source))]
    return values, '; '.join(source.problem_files()['broken'])


def verify(directory: Path):
    """Return the problems that `verify` names."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = data_pipelines(['verify', str(directory), '--fast'])
    if code == 2:
        raise UserError(out.getvalue().strip())
    return 0, out.getvalue() if code else ''


def verify_set(directory: Path):
    """Return the problems that `verify` names in a set."""
    return verify(directory / SET)


def inspect_set(directory: Path):
    """What `inspect` prints of a set."""
    return command(data_pipelines, ['inspect', str(directory / SET), '--json']), ''


def make_latents(directory: Path) -> None:
    """Latents of 6 clips in 2 views, in 2 parts, as cache-latents leaves them."""
    about = {'version': VERSION, 'made': {'weights': 'ab'}, 'count': 6, 'views': 2, 'dtype': 'float16'}
    about |= {'shape': [2, 4, 4, 8], 'scalars': ['fps', 'motion'], 'seed': 0, 'drawn': 3, 'parts': 2}
    write_about(directory, about)
    rng = np.random.default_rng(0)
    for number in range(2):
        writer = PartWriter(directory, about, number)
        conditions = np.zeros(writer.total, conditions_dtype(about))
        conditions['label'] = np.arange(writer.total)
        conditions['motion'] = rng.normal(size=writer.total)
        conditions['drawn'] = rng.normal(size=(writer.total, 3))
        writer.write(moments=rng.normal(size=(writer.total, 2, 4, 4, 8)).astype(np.float16), conditions=conditions)
        writer.commit()
        writer.close()


def read_latents(directory: Path):
    """All clips in all views."""
    latents = LatentSet(str(directory), 'config.latents=DIR')
    ids, views = (rows.ravel() for rows in np.indices((6, 2)))
    return [latents.about, latents.moments(ids, views), latents.conditions(ids, views)], ''


def make_texts(directory: Path) -> None:
    """Embeddings of 12 texts in two parts, as cache-text leaves them."""
    for share in (0, 1):
        cache_text.cache(TEXTS, Hashing(8, 6), directory, 'float16', (share, 2))


def read_texts(directory: Path):
    """All embeddings."""
    cache = TextCache(str(directory))
    return [cache.about, cache.count, *(cache[text] for text in TEXTS)], ''


@contextlib.contextmanager
def indexes_in(directory: Path):
    """Indexes of videos are kept there, and nowhere else."""
    usual, store.folder = store.folder, lambda: str(directory / 'indexes')
    try:
        yield
    finally:
        store.folder = usual


def make_index(directory: Path) -> None:
    """A video, and the index that is kept of it."""
    (directory / 'clips').mkdir()
    record = next(records(directory / 'clips', count=1, frames=12))
    (directory / 'video.mp4').write_bytes(record.video)
    read_index(directory)


def read_index(directory: Path):
    """The index, kept or made again."""
    with indexes_in(directory):
        index = probe.read_index(str(directory / 'video.mp4'), Limits())
    return vars(index) | {'orientation': str(index.orientation)}, ''


def make_list(directory: Path) -> None:
    """A list of videos in each format, and files beside one."""
    for name in 'ab':
        (directory / f'{name}.mp4').write_bytes(name.encode())
    rows = [{'path': f'{name}.mp4', 'caption': f'a clip {name}', 'label': i} for i, name in enumerate('ab')]
    (directory / 'list.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    (directory / 'list.csv').write_text('path,caption,label\na.mp4,a clip a,0\nb.mp4,"a, clip b",1\n')
    parquet.write_table(pyarrow.Table.from_pylist(rows), directory / 'list.parquet')
    (directory / 'a.json').write_text(json.dumps({'captions': [{'text': 'a ball', 'start': 0, 'end': 2.5}]}))
    (directory / 'a.txt').write_text('a ball\nthat falls\n')


def read_list(directory: Path):
    """What a build is to work on; no values, as nobody has hashes of lists that users write."""
    problems = []
    for source in ('list.jsonl', 'list.csv', 'list.parquet', ''):
        try:
            listing = list_inputs(str(directory / source))
        except UserError as error:
            problems.append(str(error))
            continue
        digest_items(listing.items)
        problems += [item.problem for item in listing.items if item.problem]
        packed = [captions_within(item.captions, 0.0, 1.0) for item in listing.items]
        json.dumps([[item.name, item.label, item.scores] for item in listing.items], ensure_ascii=False).encode()
        json.dumps([[caption.text for caption in captions] for captions in packed], ensure_ascii=False).encode()
    assert not any('\n' in problem for problem in problems)
    return 0, '; '.join(problems)


def make_digits(directory: Path) -> None:
    """Digits as MNIST's are published."""
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    content = struct.pack('>4I', mnist_idx.IMAGES, *images.shape) + images.tobytes()
    (directory / 'train-images-idx3-ubyte.gz').write_bytes(gzip.compress(content, mtime=0))


def read_digits(directory: Path):
    """Clips made of them."""
    reader = MovingMNIST(str(directory), frames=2).open()
    return [reader.identity(), *(reader[i] for i in range(4))], ''


KINDS = {
    'records: table and manifest': Kind(make_set, train_on_set, (f'{SET}/records.parquet', f'{SET}/manifest.json')),
    'records: shards': Kind(make_set, train_on_set, (f'{SET}/*.array_record',)),
    'records: all files, by verify': Kind(make_set, verify_set, (f'{SET}/*',)),
    'records: tables, by inspect': Kind(make_set, inspect_set, (f'{SET}/*.parquet', f'{SET}/manifest.json')),
    'latents made beforehand': Kind(make_latents, read_latents, ('*',)),
    'latents, by verify': Kind(make_latents, verify, ('*',)),
    'texts made beforehand': Kind(make_texts, read_texts, ('*',)),
    'texts, by verify': Kind(make_texts, verify, ('*',)),
    'indexes of videos': Kind(make_index, read_index, ('indexes/*/*.npz',)),
    'lists of videos': Kind(make_list, read_list, ('list.*', 'a.json', 'a.txt')),
    'digits (gzip)': Kind(make_digits, read_digits, ('*.gz',)),
}
