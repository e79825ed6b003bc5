"""A file that grows by complete records, on a disk that may be full, fail for a while or lose the file."""

import contextlib
import errno
import os
from collections.abc import Iterator

SYNC_BYTES = 2**20  # a sync is due once this many bytes are unconfirmed; until then they are kept
MOST_UNSYNCED = 2**26  # bytes that are kept at most while no sync succeeds
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # of file systems that know no fsync


class AppendFile:
    """A local file, made where it is not there.

    Every record is written at the end of the last complete one, so that what is left of an attempt that failed is
    overwritten by the next: a reader finds half a record at the very end at most. Where the disk says only on a sync
    that it could not take what was written, that is written once more. A file that is gone is started anew.
    """

    def __init__(self, path: str | os.PathLike[str], head: bytes = b'', end: bytes = b'', own_directory: bool = False):
        """Open no file yet.

        Args:
          path: The file's.
          head: What such a file begins with.
          end: What ends a record of which somebody cut the rest.
          own_directory: Whether the file's directory is its own, to be made anew where it is gone; none above it is.
        """
        self._path = str(path)
        self._head = head
        self._record_end = end
        self._own_directory = own_directory

        self._descriptor: int | None = None
        self._identity: tuple[int, int] | None = None  # device and inode of the file that the sizes below are of
        self._end = 0  # bytes of complete records
        self._synced = 0  # of which the disk has these
        self._unsynced = bytearray()  # and not yet these
        self._before = b''  # what goes before the next record: the head, or what the disk lost

    def append(self, record: bytes) -> None:
        """Write a complete record.

        Raises:
          OSError: It cannot be written; nothing of it counts.
        """
        with self._close_on_error():
            descriptor = self._open()
            self._write(descriptor, self._before + record)
        if len(self._unsynced) > SYNC_BYTES:
            # What the disk lost goes before the next record.
            with contextlib.suppress(OSError):
                self.sync()

    def sync(self) -> None:
        """Return once the disk has what was written.

        Raises:
          OSError: It has not; what was written since the last sync goes before the next record.
        """
        with self._close_on_error():
            descriptor = self._open()
            self._write(descriptor, self._before)
            try:
                os.fsync(descriptor)
            except OSError as error:
                if error.errno not in NO_SYNC:
                    self._rewind()
                    raise
        self._synced = self._end
        self._unsynced = bytearray()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = None

    def _open(self) -> int:
        """Open the file at the path where that is not open, and find out where to go on in it."""
        descriptor = self._descriptor
        if descriptor is None or not self._is_in_place(descriptor):
            self.close()
            directory = os.path.dirname(os.path.abspath(self._path))
            if self._own_directory and not os.path.isdir(directory):
                os.mkdir(directory)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._descriptor = descriptor

        status = os.fstat(descriptor)
        identity = (status.st_dev, status.st_ino)
        is_known = identity == self._identity
        if is_known and status.st_size >= self._end:
            return descriptor
        # The disk lost what it had not confirmed.
        if is_known and status.st_size >= self._synced:
            self._rewind()
            return descriptor

        # It is another file, or somebody cut it, perhaps within a record.
        if not status.st_size:
            self._before = self._head + self._before.removeprefix(self._head)
        elif is_known:
            self._before = self._record_end + self._before
        self._identity = identity
        self._end = status.st_size
        self._synced = status.st_size
        self._unsynced = bytearray()
        return descriptor

    def _rewind(self) -> None:
        """Go back to what the disk has for certain: all else is to be written once more."""
        if len(self._unsynced) + len(self._before) < MOST_UNSYNCED:
            self._before = bytes(self._unsynced) + self._before
            self._end = self._synced
        self._unsynced = bytearray()

    def _is_in_place(self, descriptor: int) -> bool:
        """Whether the path still leads to the file that is open."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(descriptor))
        except OSError:
            return False

    def _write(self, descriptor: int, data: bytes) -> None:
        """Write all of `data` behind the complete records, or raise OSError and have written nothing that counts."""
        rest = memoryview(data)
        # At a known place and not at the end of the file, where half a record of a failed attempt may lie.
        position = self._end
        while rest:
            count = os.pwrite(descriptor, rest, position)
            if not count:
                raise OSError(errno.EIO, os.strerror(errno.EIO), self._path)
            rest = rest[count:]
            position += count
        # What is left of another attempt may have been longer.
        if os.fstat(descriptor).st_size > position:
            os.ftruncate(descriptor, position)
        self._end = position
        self._before = b''
        self._unsynced += data

    @contextlib.contextmanager
    def _close_on_error(self) -> Iterator[None]:
        """Close a descriptor that failed: it may fail for ever, as those of a network file system that came back do."""
        try:
            yield
        except OSError as error:
            self.close()
            if error.filename is None:
                error.filename = self._path
            raise
