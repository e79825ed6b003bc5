"""A directory of latents: plain .npy files, in parts of consecutive clips, and beside each what its clips tell.

    DIR/about.json                    what they were made with, of how many clips and views, in how many parts
    DIR/moments-00000-of-00004.npy    float16 or float32 (clips, views, T', H', W', 2C): means, then log variances
    DIR/told-00000-of-00004.npy       (clips, views): label int32, each scalar by its name float32, where the source
                                      has it drawn float64 (k,), and sha256, eight bytes of that of the moments
    DIR/done-00000-of-00004           how many of its clips and views, one after the other, are there, and the sha256
                                      of told-* up to these

View 0 of a clip is the one that evaluation sees, the others were drawn as training draws them. A source in buckets has
such a directory for each of them, DIR/bucket-00000 and so on. latent_about.py says what carries which sha256; moments
are checked when a process first reads them, a view at a time, so that no run waits for all of them to be read.
"""

import dataclasses
import functools
import hashlib
import io
import os
import threading
from pathlib import Path

import numpy as np

from vdm_jax.data.latents.metadata import (
    Note,
    all_done,
    bounds,
    is_verified,
    note_text,
    part_file,
    read_about,
    read_note,
    row_dtype,
)
from vdm_jax.data.npy import DamageError, RowFile, digest_of, header_of, read_header
from vdm_jax.data.source import Source
from vdm_jax.errors import UserError
from vdm_jax.files import read_whole, write_whole


def bucket_directory(directory: str | os.PathLike[str], source: Source, bucket: int) -> Path:
    """Return where the latents of one bucket of a source are."""
    return Path(directory) / f'bucket-{bucket:05}' if source.bucketed else Path(directory)


@dataclasses.dataclass(frozen=True, eq=False)
class LatentSet:
    """The latents in a directory; files are opened when first asked for, and stay open.

    Raises: UserError, naming `where` (a key of a config), for a directory that holds none, or not all of them, and for
    files that are damaged.
    """

    path: str
    where: str

    @functools.cached_property
    def about(self) -> dict:
        """{'version', 'made': {what: JSON value}, 'count', 'views', 'parts', 'dtype', 'shape' of a view, 'scalars':
        their names, 'drawn': how many numbers, 'seed' that views were drawn from}.
        """
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

    @property
    def verified(self) -> bool:
        """Whether damage to them is noticed."""
        return is_verified(self.about)

    def moments(self, ids, views) -> np.ndarray:
        """Moments of these views of these clips, in one array (N, T', H', W', 2C) of the stored dtype.

        The system is told of all rows before the first is waited for.
        """
        parts, places = self._places(ids, views)
        files = {number: self._file(number) for number in np.unique(parts).tolist()}
        found = np.empty((len(parts), *self.about['shape']), self.about['dtype'])
        rows = memoryview(found.reshape(-1).view(np.uint8))
        size = len(rows) // max(len(parts), 1)
        order = np.lexsort((places, parts)).tolist()  # ascending in each file
        wanted = [(int(parts[i]), int(places[i]), rows[i * size : (i + 1) * size]) for i in order]
        for number, place, _ in wanted:
            files[number].expect(place * size, size)
        for number, place, row in wanted:
            try:
                files[number].read(place * size, row)
            except DamageError as error:
                raise self._damaged('moments', error) from None
            self._check(number, place, row)
        return found

    def told(self, ids, views) -> np.ndarray:
        """What was told of them: (N,) with the fields label and each scalar."""
        return self._told[np.asarray(ids), views]

    def problems(self):
        """Yields (file, what is wrong with it) for each view and file that is damaged, reading everything.

        Raises: UserError where it cannot be told what is there.
        """
        about = self.about
        self._told  # noqa: B018, raises where it is damaged
        for number in range(about['parts']):
            name = part_file('moments', number, about['parts'])
            try:
                self._file(number)
            except UserError as error:
                yield name, str(error).removeprefix(f'{self.where}: ')
                continue
            first, stop = (int(edge) for edge in self._firsts[number : number + 2])
            for clip in range(first, stop):
                for view in range(self.views):
                    try:
                        self.moments([clip], [view])
                    except UserError as error:
                        yield name, str(error).removeprefix(f'{self.where}: ').partition('; make')[0]

    def _places(self, ids, views):
        """(the part, the row within it) of each."""
        ids, firsts = np.asarray(ids, np.int64), self._firsts
        parts = np.searchsorted(firsts, ids, 'right') - 1
        return parts, (ids - firsts[parts]) * self.views + np.asarray(views, np.int64)

    def _check(self, number: int, place: int, row: memoryview) -> None:
        """Whether a view's moments are those that were made, where this is not known."""
        if not self.verified:
            return
        at = int(self._firsts[number]) * self.views + place
        if self._checked[at]:
            return
        if digest_of(row) != int(self._told.reshape(-1)['sha256'][at]):
            name = part_file('moments', number, self.about['parts'])
            clip, view = divmod(at, self.views)
            raise UserError(
                f'{self.where}: {name} is damaged at clip {clip}, view {view} (sha256); make the latents anew, in '
                f'another directory (python -m data_pipelines verify {self.path} looks at all of them)'
            )
        self._checked[at] = True

    @functools.cached_property
    def _checked(self):
        """Which views were read and are right."""
        return np.zeros(self._told.size, bool)

    @functools.cached_property
    def _firsts(self):
        return bounds(self.about['count'], self.about['parts'])

    @functools.cached_property
    def _told(self):
        parts = [self._told_of(number) for number in range(self.about['parts'])]
        return np.concatenate(parts).reshape(self.about['count'], self.views)

    def _told_of(self, number):
        """The rows of one told-*, (clips, views)."""
        about = self.about
        path = os.path.join(self.path, part_file('told', number, about['parts']))
        shape, dtype = (int(self._firsts[number + 1] - self._firsts[number]), self.views), row_dtype(about)
        try:
            note = read_note(self.path, number, about['parts'])
            content = read_whole(path, 2**12 + shape[0] * shape[1] * dtype.itemsize, os.path.basename(path))
            if is_verified(about) and hashlib.sha256(content).hexdigest() != note.told:
                raise DamageError(f'sha256 of {os.path.basename(path)} is another one than when it was made')
            file = io.BytesIO(content)
            header, values = read_header(file), content[file.tell() :]
            if header != (dtype, shape) or len(values) != shape[0] * shape[1] * dtype.itemsize:
                raise DamageError(f'{header[0]} {header[1]} in place of {dtype} {shape}')
        except (DamageError, UserError) as error:
            raise self._damaged('told', error) from None
        return np.frombuffer(values, dtype).reshape(shape)

    @functools.cached_property
    def _files(self):
        return {}, threading.Lock()

    def _file(self, number: int) -> RowFile:
        """An open file of moments."""
        files, lock = self._files
        with lock:
            if number not in files:
                name = os.path.join(self.path, part_file('moments', number, self.about['parts']))
                shape = (int(self._firsts[number + 1] - self._firsts[number]), self.views, *self.about['shape'])
                try:
                    file = RowFile(name)
                    if (file.shape, file.dtype) != (shape, np.dtype(self.about['dtype'])):
                        raise DamageError(f'{file.dtype} {file.shape} in place of {self.about["dtype"]} {shape}')
                except DamageError as error:
                    raise self._damaged('moments', error) from None
                files[number] = file
            return files[number]

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
        self._note = read_note(directory, number, about['parts'])
        self.done = self._note.done
        self._verified, self._row = is_verified(about), row_dtype(about)
        lead = int(stop - first), about['views']
        dtypes = {'moments': (np.dtype(about['dtype']), (*lead, *about['shape'])), 'told': (self._row, lead)}
        self._hash = hashlib.sha256()
        self._files = {kind: self._open(kind, *layout) for kind, layout in dtypes.items()}

    def write(self, moments: np.ndarray, told: np.ndarray) -> None:
        """`moments` and `told` of as many views of clips, those behind the ones that are done; note them later."""
        rows = np.zeros(len(told), self._row)
        for name in told.dtype.names:
            rows[name] = told[name]
        moments = np.ascontiguousarray(moments)
        if self._verified:
            rows['sha256'] = [digest_of(each.reshape(-1).view(np.uint8)) for each in moments]
        for kind, values in (('moments', moments), ('told', rows)):
            file, begin, size = self._files[kind]
            file.seek(begin + size * self.done)
            file.write(values.data.cast('B'))
        self._hash.update(rows.tobytes())
        self.done += len(rows)

    def note(self) -> None:
        """Has all that was written stay."""
        for file, *_ in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        self._note = Note(self.done, self._hash.copy().hexdigest() if self._verified else '')
        write_whole(self.path / part_file('done', self._number, self._parts), note_text(self._note))

    def close(self) -> None:
        for file, *_ in self._files.values():
            file.close()

    def _open(self, kind, dtype, shape):
        """(file, where its rows begin, bytes of a row)."""
        path = self.path / part_file(kind, self._number, self._parts)
        size = dtype.itemsize * int(np.prod(shape[2:], dtype=np.int64))
        header = header_of(dtype, shape)
        begin = len(header)
        if not self.done:
            file = path.open('wb')
            file.write(header)
            file.truncate(begin + size * self.total)
        elif self.done > self.total or not path.is_file() or path.stat().st_size != begin + size * self.total:
            raise self._changed(path)
        else:
            file = path.open('r+b')
        if kind == 'told':
            self._hash.update(header if not self.done else file.read(begin + size * self.done))
            if self.done and self._verified and self._hash.hexdigest() != self._note.told:
                file.close()
                raise self._changed(path)
        return file, begin, size

    def _changed(self, path) -> UserError:
        return UserError(f'{path}: not as it was left; remove {path.parent} and make the latents anew')
