"""A logger whose records go to the end of one file, in a directory of this machine or of a store."""

from abc import abstractmethod

from etils import epath

from vdm_jax.train.loggers.append_file import AppendFile
from vdm_jax.train.loggers.logger import Logger
from vdm_jax.train.remote_files import StagedDirectory


class FileLogger(Logger):
    """A logger of one file, which is opened with the first record: until it can be, nothing is written."""

    def __init__(self, directory: epath.PathLike):
        self._directory = epath.Path(directory)
        self._staged: StagedDirectory | None = None
        self._file: AppendFile | None = None

    @abstractmethod
    def _make_file(self, staged: StagedDirectory) -> AppendFile:
        """Return the file in a directory.

        Raises:
          OSError: It cannot be made now.
        """

    def _append(self, record: bytes) -> None:
        file, _ = self._open()
        file.append(record)

    def flush(self) -> None:
        file, staged = self._open()
        file.sync()
        staged.push()

    def close(self) -> None:
        if self._file:
            self._file.close()
        if self._staged:
            self._staged.close()

    def _open(self) -> tuple[AppendFile, StagedDirectory]:
        # In two steps: where the second fails it alone is tried again, with the next record.
        if self._staged is None:
            self._staged = StagedDirectory(self._directory)
        if self._file is None:
            self._file = self._make_file(self._staged)
        return self._file, self._staged
