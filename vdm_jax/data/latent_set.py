"""A directory of latents: plain .npy files, in parts of consecutive clips, and beside each what its clips tell.

    DIR/about.json                    what they were made with, of how many clips and views, in how many parts
    DIR/moments-00000-of-00004.npy    float16 or float32 (clips, views, T', H', W', 2C): means, then log variances
    DIR/told-00000-of-00004.npy       (clips, views): label int32, each scalar by its name float32, and, where the
                                      source has it, drawn float64 (k,)
    DIR/done-00000-of-00004           how many of its clips and views, one after the other, are there

View 0 of a clip is the one that evaluation sees, the others were drawn as training draws them. A source in buckets has
such a directory for each of them, DIR/bucket-00000 and so on.
"""

import dataclasses
import functools
import io
import json
import os
import threading
import weakref
from pathlib import Path

import numpy as np

from vdm_jax.errors import UserError

VERSION = 2
ABOUT = 'about.json'


def part_file(kind: str, number: int, parts: int) -> str:
    """The name of one part's file: kind is moments, told or done."""
    return f'{kind}-{number:05}-of-{parts:05}' + ('' if kind == 'done' else '.npy')


def bucket_directory(directory, source, bucket: int) -> Path:
    """Where the latents of one bucket of a source are."""
    return Path(directory) / f'bucket-{bucket:05}' if hasattr(source, 'within') else Path(directory)


def bounds(count: int, parts: int) -> np.ndarray:
    """The first clip of each part, and the number of all: int64 (parts + 1,)."""
    return np.arange(parts + 1) * count // parts


def told_dtype(about: dict) -> np.dtype:
    """Of a row of told-*.npy."""
    scalars = [(name, '<f4') for name in about['scalars']]
    return np.dtype([('label', '<i4'), *scalars] + [('drawn', '<f8', (about['drawn'],))] * bool(about['drawn']))


def read_about(directory, where: str) -> dict | None:
    """about.json of a directory, None where there is none.

    Raises:
      UserError: it is damaged, or of another version.
    """
    try:
        about = json.loads((Path(directory) / ABOUT).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f'{where}: {ABOUT} cannot be read ({error}); make the latents anew') from None
    if about.get('version') != VERSION:
        raise UserError(f'{where}: latents of another version of vdm_jax; make them anew, in another directory')
    return about


def read_done(directory, number: int, parts: int) -> int:
    """How many of a part's clips and views are there."""
    try:
        return int((Path(directory) / part_file('done', number, parts)).read_text())
    except FileNotFoundError:
        return 0


def all_done(directory, about: dict) -> int:
    """How many clips and views of all parts are there."""
    return sum(read_done(directory, number, about['parts']) for number in range(about['parts']))


def write_whole(path: Path, text: str) -> None:
    """The text as a file, which is there whole or not at all."""
    fresh = path.with_name(path.name + '.new')
    fresh.write_text(text)
    fresh.replace(path)


def agree(where: str, there: dict, here: dict) -> None:
    """Whether latents were made with what is `here`: {what: JSON value}, 'weights' the sha256 of the codec's.

    Raises:
      UserError: something is another one `there`; both hashes are named where it is the codec.
    """
    there = {what: 'stored' for what in here if what.endswith('.pixel_aspect')} | there  # those of before say nothing
    differ = [what for what in {**here, **there} if there.get(what) != here.get(what)]
    if not differ:
        return
    said = [f'{what} {there.get(what)}, and this run has {here.get(what)}' for what in differ]
    if 'weights' not in differ:
        raise UserError(f'{where}: made with {said[0]}; name another directory')
    codec = next((f' ({each})' for each in said if each.startswith('config.codec')), '')
    raise UserError(
        f'{where}: made by another codec{codec}: its weights have sha256 {there.get("weights")}, those of this run '
        f'{here.get("weights")}; take the codec that made them, or name another directory'
    )


@dataclasses.dataclass(frozen=True, eq=False)
class LatentSet:
    """The latents in a directory; files are opened when first asked for, and stay open.

    Raises: UserError, naming `where` (a key of a config), for a directory that holds none, or not all of them.
    """

    path: str
    where: str

    @functools.cached_property
    def about(self) -> dict:
        """{'made': {what: JSON value}, 'count', 'views', 'parts', 'dtype', 'shape' of a view, 'scalars': their names,
        'drawn': how many numbers, 'seed' that views were drawn from}."""
        about = read_about(self.path, self.where)
        if about is None:
            raise UserError(f'{self.where}: no latents there; make them with python -m data_pipelines cache-latents')
        done = all_done(self.path, about)
        if done < (total := about['count'] * about['views']):
            raise UserError(f'{self.where}: {done // about["views"]} of {total // about["views"]} clips; let it go on')
        return about

    @property
    def views(self) -> int:
        return self.about['views']

    def moments(self, ids, views) -> np.ndarray:
        """Moments of these views of these clips, in one array (N, T', H', W', 2C) of the stored dtype.

        They are read with pread: a memory map would count as memory of the process all that it ever touched, and end
        it without a word where a file is cut off. The system is told of all rows before the first is waited for.
        """
        parts, places = self._places(ids, views)
        found = np.empty((len(parts), *self.about['shape']), self.about['dtype'])
        rows = memoryview(found.reshape(-1).view(np.uint8))
        size = len(rows) // max(len(parts), 1)
        order = np.lexsort((places, parts)).tolist()  # ascending in each file
        wanted = [(*self._file(int(parts[i])), int(places[i]) * size, i) for i in order]
        if hasattr(os, 'posix_fadvise'):
            for file, first, place, _ in wanted:
                os.posix_fadvise(file, first + place, size, os.POSIX_FADV_WILLNEED)
        for file, first, place, i in wanted:
            self._read(file, first + place, rows[i * size : (i + 1) * size])
        return found

    def told(self, ids, views) -> np.ndarray:
        """What was told of them: (N,) with the fields label and each scalar."""
        return self._told[np.asarray(ids), views]

    def _places(self, ids, views):
        """(the part, the row within it) of each."""
        ids, firsts = np.asarray(ids, np.int64), self._firsts
        parts = np.searchsorted(firsts, ids, 'right') - 1
        return parts, (ids - firsts[parts]) * self.views + np.asarray(views, np.int64)

    @functools.cached_property
    def _firsts(self):
        return bounds(self.about['count'], self.about['parts'])

    @functools.cached_property
    def _told(self):
        parts, dtype = self.about['parts'], told_dtype(self.about)
        try:
            found = [np.load(os.path.join(self.path, part_file('told', i, parts))) for i in range(parts)]
            return np.concatenate(found).astype(dtype, casting='equiv').reshape(self.about['count'], self.views)
        except (OSError, EOFError, ValueError, TypeError) as error:
            raise self._damaged('told', error) from None

    @functools.cached_property
    def _files(self):
        return {}, threading.Lock()

    def _file(self, number: int) -> tuple[int, int]:
        """(an open file of moments, where its rows begin)."""
        files, lock = self._files
        with lock:
            if number not in files:
                name = os.path.join(self.path, part_file('moments', number, self.about['parts']))
                shape = (int(self._firsts[number + 1] - self._firsts[number]), self.views, *self.about['shape'])
                try:
                    there = np.load(name, mmap_mode='r')
                    if (there.shape, there.dtype) != (shape, np.dtype(self.about['dtype'])):
                        raise ValueError(f'{there.dtype} {there.shape} in place of {self.about["dtype"]} {shape}')
                    files[number] = _File(name), there.offset
                except (OSError, EOFError, ValueError) as error:
                    raise self._damaged('moments', error) from None
            file, first = files[number]
            return file.number, first

    def _read(self, file: int, at: int, into: memoryview) -> None:
        """Fills `into` from the place `at` of a file."""
        while into:
            if not (count := os.preadv(file, [into], at)):
                raise self._damaged('moments', 'a file ends too early')
            into, at = into[count:], at + count

    def _damaged(self, kind, error) -> UserError:
        return UserError(f'{self.where}: its {kind} cannot be read ({error}); make the latents anew')


class PartWriter:
    """One part being made: what is `done` of it is there for good, though the process or the machine be killed.

    Raises:
      UserError: files that it left are not there any more, or not as it left them.
    """

    def __init__(self, directory, about: dict, number: int):
        self.path, self._number, self._parts = Path(directory), number, about['parts']
        first, stop = bounds(about['count'], about['parts'])[number : number + 2]
        self.first, self.total = int(first) * about['views'], int(stop - first) * about['views']
        self.done = read_done(directory, number, about['parts'])
        lead = int(stop - first), about['views']
        dtypes = {'moments': (np.dtype(about['dtype']), (*lead, *about['shape'])), 'told': (told_dtype(about), lead)}
        self._files = {kind: self._open(kind, *layout) for kind, layout in dtypes.items()}

    def write(self, **rows: np.ndarray) -> None:
        """`moments` and `told` of as many views of clips, those behind the ones that are done; note them later."""
        for kind, values in rows.items():
            file, begin, size = self._files[kind]
            file.seek(begin + size * self.done)
            file.write(np.ascontiguousarray(values).data.cast('B'))
        self.done += len(values)

    def note(self) -> None:
        """Has all that was written stay."""
        for file, *_ in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        write_whole(self.path / part_file('done', self._number, self._parts), str(self.done))

    def close(self) -> None:
        for file, *_ in self._files.values():
            file.close()

    def _open(self, kind, dtype, shape):
        """(file, where its rows begin, bytes of a row)."""
        path = self.path / part_file(kind, self._number, self._parts)
        size = dtype.itemsize * int(np.prod(shape[2:], dtype=np.int64))
        header = io.BytesIO()
        about = {'descr': np.lib.format.dtype_to_descr(dtype), 'fortran_order': False, 'shape': shape}
        np.lib.format.write_array_header_1_0(header, about)
        begin = header.tell()
        if not self.done:
            file = path.open('wb')
            file.write(header.getvalue())
            file.truncate(begin + size * self.total)
        elif not path.exists() or path.stat().st_size != begin + size * self.total:
            raise UserError(f'{path}: not as it was left; remove {path.parent} and make the latents anew')
        else:
            file = path.open('r+b')
        return file, begin, size


class _File:
    """A file open for reading, closed when it is dropped."""

    def __init__(self, name):
        self.number = os.open(name, os.O_RDONLY)
        weakref.finalize(self, os.close, self.number)
