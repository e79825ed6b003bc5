"""A directory of latents: plain .npy files, in parts of consecutive clips, and beside each the conditions of its clips.

    DIR/about.json                    what they were made with, of how many clips and views, in how many parts
    DIR/moments-00000-of-00004.npy    float16 or float32 (clips, views, T', H', W', 2C): means, then log variances
    DIR/told-00000-of-00004.npy       (clips, views): label int32, each scalar by its name float32, where the source
                                      has it drawn float64 (k,), and sha256, eight bytes of that of the moments
    DIR/done-00000-of-00004           how many of its clips and views, one after the other, are there, and the sha256
                                      of told-* up to these

View 0 of a clip is the one that evaluation sees, the others were drawn as training draws them. A source in buckets has
such a directory for each of them, DIR/bucket-00000 and so on. metadata.py says what carries which sha256; moments are
checked when a process first reads them, a view at a time, so that no run waits for all of them to be read.
"""

import dataclasses
import functools
import hashlib
import io
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vdm_jax.data.latents.metadata import (
    CONDITIONS,
    MOMENTS,
    PROGRESS,
    About,
    Directory,
    Progress,
    count_done,
    is_verified,
    part_bounds,
    part_file,
    read_about,
    read_progress,
    row_dtype,
)
from vdm_jax.data.npy import DamageError, RowFile, digest_of, header_of, read_header
from vdm_jax.data.source import Source
from vdm_jax.errors import UserError
from vdm_jax.files import read_bytes, write_atomically

Ids = Sequence[int] | np.ndarray  # (N,) of clips
Views = int | Sequence[int] | np.ndarray  # (N,), or one for all


def bucket_directory(directory: Directory, source: Source, bucket: int) -> Path:
    """Return where the latents of one bucket of a source are."""
    return Path(directory) / f'bucket-{bucket:05}' if source.bucketed else Path(directory)


@dataclasses.dataclass(frozen=True, eq=False)
class LatentSet:
    """The latents in a directory; files are opened when they are first needed, and stay open.

    Attributes:
      path: Of the directory.
      where: The key of a config, for messages.

    Raises:
      UserError: there are none, or not all of them, or files are damaged.
    """

    path: str
    where: str

    @functools.cached_property
    def about(self) -> About:
        """What is known of all of them.

        {'version', 'made': {what: JSON value}, 'count', 'views', 'parts', 'dtype', 'shape' of a view, 'scalars': their
        names, 'drawn': how many numbers, 'seed' that views were drawn from}.
        """
        about = read_about(self.path, self.where)
        if about is None:
            raise UserError(f'{self.where}: no latents there; make them with python -m data_pipelines cache-latents')
        done = count_done(self.path, about)
        total = about['count'] * about['views']
        # Behind what is done a file holds zeros, which would pass for latents.
        if done < total:
            raise UserError(f'{self.where}: {done // about["views"]} of {total // about["views"]} clips; let it go on')
        return about

    @property
    def views(self) -> int:
        """Views of each clip."""
        return int(self.about['views'])

    @property
    def is_verified(self) -> bool:
        """Whether damage to them is noticed."""
        return is_verified(self.about)

    def moments(self, ids: Ids, views: Views) -> np.ndarray:
        """Return the moments of these views of these clips: (N, T', H', W', 2C) of the stored dtype."""
        parts, ranks = self._locate(ids, views)
        files = {number: self._open_moments(number) for number in np.unique(parts).tolist()}
        moments = np.empty((len(parts), *self.about['shape']), self.about['dtype'])
        # Rows are read straight into the batch, without a copy of each.
        buffer = moments.reshape(-1).view(np.uint8).data
        size = len(buffer) // max(len(parts), 1)

        # Ascending in each file, as they lie on the disk.
        order = np.lexsort((ranks, parts)).tolist()
        reads = [(int(parts[i]), int(ranks[i]), buffer[i * size : (i + 1) * size]) for i in order]
        # The system learns of all rows before the first is waited for.
        for number, rank, _ in reads:
            files[number].expect(rank * size, size)
        for number, rank, row in reads:
            try:
                files[number].read(rank * size, row)
            except DamageError as error:
                raise self._damage_error(MOMENTS, error) from None
            self._check_row(number, rank, row)
        return moments

    def conditions(self, ids: Ids, views: Views) -> np.ndarray:
        """Return what was stored beside them: (N,) with the fields of conditions_dtype."""
        rows: np.ndarray = self._rows[np.asarray(ids), views]
        return rows

    def find_problems(self) -> Iterator[tuple[str, str]]:
        """Yield (file, what is wrong with it) for each view and file that is damaged, reading everything.

        Raises:
          UserError: it cannot be known what is there.
        """
        parts = self.about['parts']
        self._rows  # noqa: B018, raises where it is damaged
        for number in range(parts):
            name = part_file(MOMENTS, number, parts)
            try:
                self._open_moments(number)
            except UserError as error:
                yield name, str(error).removeprefix(f'{self.where}: ')
                continue
            first, stop = (int(edge) for edge in self._bounds[number : number + 2])
            for clip in range(first, stop):
                for view in range(self.views):
                    try:
                        # By itself, so that every one that is damaged is named.
                        self.moments([clip], [view])
                    except UserError as error:
                        yield name, str(error).removeprefix(f'{self.where}: ').partition('; make')[0]

    def _locate(self, ids: Ids, views: Views) -> tuple[np.ndarray, np.ndarray]:
        """Return the part that each is in, and its row there: int64 (N,) each."""
        ids = np.asarray(ids, np.int64)
        parts = np.searchsorted(self._bounds, ids, 'right') - 1
        return parts, (ids - self._bounds[parts]) * self.views + np.asarray(views, np.int64)

    def _check_row(self, number: int, rank: int, row: memoryview) -> None:
        """Check that a view's moments are those that were made, unless they were checked before."""
        if not self.is_verified:
            return
        index = int(self._bounds[number]) * self.views + rank
        # Once in a process, as every epoch reads all of them again.
        if self._is_checked[index]:
            return
        if digest_of(row) != int(self._rows.reshape(-1)['sha256'][index]):
            name = part_file(MOMENTS, number, self.about['parts'])
            clip, view = divmod(index, self.views)
            raise UserError(
                f'{self.where}: {name} is damaged at clip {clip}, view {view} (sha256); make the latents anew, in '
                f'another directory (python -m data_pipelines verify {self.path} looks at all of them)'
            )
        # Without a lock: two threads may check one row twice, and come to the same.
        self._is_checked[index] = True

    @functools.cached_property
    def _is_checked(self) -> np.ndarray:
        """Which views were read and are right: bool (clips * views,)."""
        return np.zeros(self._rows.size, bool)

    @functools.cached_property
    def _bounds(self) -> np.ndarray:
        return part_bounds(self.about['count'], self.about['parts'])

    @functools.cached_property
    def _rows(self) -> np.ndarray:
        """The rows of all told-*: (clips, views) of row_dtype."""
        parts = [self._read_rows(number) for number in range(self.about['parts'])]
        return np.concatenate(parts).reshape(self.about['count'], self.views)

    def _part_shape(self, number: int) -> tuple[int, int]:
        """Return (clips, views) of a part."""
        return int(self._bounds[number + 1] - self._bounds[number]), self.views

    def _read_rows(self, number: int) -> np.ndarray:
        """Return the rows of one told-*: (clips, views) of row_dtype.

        Raises:
          UserError: the file is damaged.
        """
        about = self.about
        path = os.path.join(self.path, part_file(CONDITIONS, number, about['parts']))
        name = os.path.basename(path)
        shape = self._part_shape(number)
        dtype = row_dtype(about)
        size = shape[0] * shape[1] * dtype.itemsize

        try:
            progress = read_progress(self.path, number, about['parts'])
            # The bound is that of the file and a header, which has some hundred bytes.
            content = read_bytes(path, 2**12 + size, name)
            if is_verified(about) and hashlib.sha256(content).hexdigest() != progress.sha256:
                raise DamageError(f'sha256 of {name} is another one than when it was made')

            # What a version without sha256 wrote is held against its header alone.
            file = io.BytesIO(content)
            header = read_header(file)
            values = content[file.tell() :]
            if header != (dtype, shape) or len(values) != size:
                raise DamageError(f'{header[0]} {header[1]} in place of {dtype} {shape}')
        except (DamageError, UserError) as error:
            raise self._damage_error(CONDITIONS, error) from None
        return np.frombuffer(values, dtype).reshape(shape)

    @functools.cached_property
    def _files(self) -> tuple[dict[int, RowFile], threading.Lock]:
        return {}, threading.Lock()

    def _open_moments(self, number: int) -> RowFile:
        """Return the file of moments of a part, opened once."""
        files, lock = self._files
        # One descriptor a file, however many threads ask for it at once.
        with lock:
            if number not in files:
                path = os.path.join(self.path, part_file(MOMENTS, number, self.about['parts']))
                shape = (*self._part_shape(number), *self.about['shape'])
                try:
                    file = RowFile(path)
                    if (file.shape, file.dtype) != (shape, np.dtype(self.about['dtype'])):
                        raise DamageError(f'{file.dtype} {file.shape} in place of {self.about["dtype"]} {shape}')
                except DamageError as error:
                    raise self._damage_error(MOMENTS, error) from None
                files[number] = file
            return files[number]

    def _damage_error(self, kind: str, error: Exception) -> UserError:
        return UserError(f'{self.where}: its {kind} cannot be read ({error}); make the latents anew')


@dataclasses.dataclass(frozen=True, eq=False)
class _PartFile:
    """A file of a part that is being written.

    Attributes:
      file: Open for reading and writing.
      begin: Where its rows begin.
      size: Bytes of a row.
    """

    file: BinaryIO
    begin: int
    size: int


class PartWriter:
    """One part being made: what is committed of it survives a kill of the process or the machine.

    Attributes:
      path: Of the directory.
      first: Its first view among those of all clips.
      total: Its views.
      done: How many of these were written.

    Raises:
      UserError: files that it left are not there any more, or not as it left them.
    """

    def __init__(self, directory: Directory, about: About, number: int):
        self.path = Path(directory)
        self._number = number
        self._parts = about['parts']
        self._progress = read_progress(directory, number, about['parts'])
        self.done = self._progress.done

        first, stop = part_bounds(about['count'], about['parts'])[number : number + 2]
        self.first = int(first) * about['views']
        self.total = int(stop - first) * about['views']

        self._verified = is_verified(about)
        self._row_dtype = row_dtype(about)
        self._hash = hashlib.sha256()  # of told-* as far as it is written
        shape = int(stop - first), about['views']
        self._files = {
            MOMENTS: self._open(MOMENTS, np.dtype(about['dtype']), (*shape, *about['shape'])),
            CONDITIONS: self._open(CONDITIONS, self._row_dtype, shape),
        }

    def write(self, moments: np.ndarray, conditions: np.ndarray) -> None:
        """Write as many views of clips, those behind the ones that are done; commit them later.

        Args:
          moments: (N, T', H', W', 2C) of the stored dtype.
          conditions: (N,) of conditions_dtype.
        """
        rows = np.zeros(len(conditions), self._row_dtype)
        for name in conditions.dtype.names or ():
            rows[name] = conditions[name]
        moments = np.ascontiguousarray(moments)
        if self._verified:
            rows['sha256'] = [digest_of(each.reshape(-1).view(np.uint8).data) for each in moments]

        for kind, values in ((MOMENTS, moments), (CONDITIONS, rows)):
            part = self._files[kind]
            # Sought anew each time: after a kill, rows that were never committed lie here, and are written over.
            part.file.seek(part.begin + part.size * self.done)
            part.file.write(values.data.cast('B'))
        self._hash.update(rows.tobytes())
        self.done += len(rows)

    def commit(self) -> None:
        """Make what was written so far stay."""
        for part in self._files.values():
            part.file.flush()
            os.fsync(part.file.fileno())
        # Only when both files are on the disk: what done-* promises is there.
        self._progress = Progress(self.done, self._hash.copy().hexdigest() if self._verified else '')
        write_atomically(self.path / part_file(PROGRESS, self._number, self._parts), self._progress.encode())

    def close(self) -> None:
        """Close the files; what was not committed is written again by the next writer of the part."""
        for part in self._files.values():
            part.file.close()

    def _open(self, kind: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> _PartFile:
        path = self.path / part_file(kind, self._number, self._parts)
        size = dtype.itemsize * int(np.prod(shape[2:], dtype=np.int64))
        header = header_of(dtype, shape)
        begin = len(header)

        file: BinaryIO
        if not self.done:
            file = path.open('wb')
            file.write(header)
            # At its full length from the start: by its size the next writer knows it again.
            file.truncate(begin + size * self.total)
        elif self.done > self.total or not path.is_file() or path.stat().st_size != begin + size * self.total:
            raise self._change_error(path)
        else:
            file = path.open('r+b')

        if kind == CONDITIONS:
            # The state of a hash cannot be stored: when a part goes on, it is made again of what was committed.
            self._hash.update(header if not self.done else file.read(begin + size * self.done))
            if self.done and self._verified and self._hash.hexdigest() != self._progress.sha256:
                file.close()
                raise self._change_error(path)
        return _PartFile(file, begin, size)

    def _change_error(self, path: Path) -> UserError:
        return UserError(f'{path}: not as it was left; remove {path.parent} and make the latents anew')
