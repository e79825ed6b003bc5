"""A file that grows by whole records, on a disk that may be full, fail for a while or lose the file."""

import contextlib
import errno
import os

UNSYNCED = 2**20  # bytes written since the disk last said that it has them, which are kept to be written again
KEPT = 2**26  # bytes that are kept at most while no sync succeeds
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # of file systems that know no fsync


class Appended:
    """The local file at `path`, made where it is not there.

    Every record is written at the end of the last whole one, so that what is left of an attempt that failed is
    overwritten by the next: a reader finds half a record at the very end at most. Where the disk says only on a sync
    that it could not take what was written, that is written once more. A file that is gone is begun anew.

    Args:
      head: what such a file begins with.
      end: what ends a record of which somebody cut the rest.
      own_directory: whether the file's directory is its own, to be made anew where it is gone; none above it is.
    """

    def __init__(self, path, head: bytes = b'', end: bytes = b'', own_directory: bool = False):
        self._own_directory = own_directory
        self._path, self._head, self._cut = str(path), head, end
        self._descriptor = None
        self._identity = None
        self._end = 0  # bytes of whole records
        self._synced = 0  # of which the disk has these
        self._unsynced = bytearray()  # and not yet these
        self._before = b''  # what goes before the next record: the head, or what the disk lost

    def append(self, record: bytes) -> None:
        """Writes a record, whole.

        Raises:
          OSError: it cannot be written; nothing of it counts.
        """
        with self._closed_on_error():
            self._open()
            self._write(self._before + record)
        if len(self._unsynced) > UNSYNCED:
            with contextlib.suppress(OSError):  # what the disk lost goes before the next record
                self.sync()

    def sync(self) -> None:
        """Returns once the disk has what was written.

        Raises:
          OSError: it has not; what was written since the last sync goes before the next record.
        """
        with self._closed_on_error():
            self._open()
            self._write(self._before)
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                if error.errno not in NO_SYNC:
                    self._back()
                    raise
        self._synced, self._unsynced = self._end, bytearray()

    def close(self) -> None:
        """Lets go of the file."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = None

    def _open(self) -> None:
        """Has the file at the path open, and knows where to go on in it."""
        if self._descriptor is None or not self._is_in_place():
            self.close()
            directory = os.path.dirname(os.path.abspath(self._path))
            if self._own_directory and not os.path.isdir(directory):
                os.mkdir(directory)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        status = os.fstat(self._descriptor)
        identity = status.st_dev, status.st_ino
        if identity == self._identity and status.st_size >= self._end:
            return
        if identity == self._identity and status.st_size >= self._synced:  # the disk lost what it had not synced
            self._back()
            return
        if not status.st_size:
            self._before = self._head + self._before.removeprefix(self._head)
        elif identity == self._identity:  # somebody cut it
            self._before = self._cut + self._before
        self._identity = identity
        self._end = self._synced = status.st_size
        self._unsynced = bytearray()

    def _back(self) -> None:
        """Back to what the disk has for certain: all else is to be written once more."""
        if len(self._unsynced) + len(self._before) < KEPT:
            self._before = bytes(self._unsynced) + self._before
            self._end = self._synced
        self._unsynced = bytearray()

    def _is_in_place(self) -> bool:
        """Whether the path still leads to the file that is open."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except OSError:
            return False

    def _write(self, data: bytes) -> None:
        """Writes all of `data` behind what is there, or raises OSError and has written nothing that counts."""
        rest, position = memoryview(data), self._end
        while rest:
            count = os.pwrite(self._descriptor, rest, position)
            if not count:
                raise OSError(errno.EIO, os.strerror(errno.EIO), self._path)
            rest, position = rest[count:], position + count
        if os.fstat(self._descriptor).st_size > position:  # what is left of another attempt was longer
            os.ftruncate(self._descriptor, position)
        self._end, self._before = position, b''
        self._unsynced += data

    @contextlib.contextmanager
    def _closed_on_error(self):
        """A descriptor that failed once may fail for ever, as those of a network file system that came back do."""
        try:
            yield
        except OSError as error:
            self.close()
            if error.filename is None:
                error.filename = self._path
            raise
