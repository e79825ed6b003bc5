"""TensorBoard's event files, written in place: no thread that could die, no queue that could fill.

Of tensorboardX the messages alone are used. Its writer puts events into a queue of ten that a thread works off: where
that thread dies of a full disk the eleventh event waits for ever, and so does the end of the process.
"""

import os
import socket
import struct
import time
from typing import Any

from etils import epath

from vdm_jax.train.loggers.append_file import AppendFile
from vdm_jax.train.loggers.file_logger import FileLogger
from vdm_jax.train.remote_files import StagedDirectory


class TensorBoard(FileLogger):
    """Curves and moving pictures in WORKDIR/tensorboard."""

    shows_clips = True

    def __init__(self, workdir: epath.PathLike, start_step: int):
        """Open no file yet.

        Args:
          workdir: The run directory.
          start_step: The step that the run resumes from: what an earlier start wrote past it is hidden.

        Raises:
          ImportError: tensorboardX is not there.
        """
        # Here and not above: the package need not be installed.
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.record_writer import masked_crc32c

        super().__init__(epath.Path(workdir) / 'tensorboard')
        self._event = Event
        self._summary = Summary
        self._crc = masked_crc32c
        self._name = f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}'

        self._head = self._frame(Event(wall_time=time.time(), file_version='brain.Event:2'))
        # TensorBoard hides events of earlier files from such a mark on.
        if start_step:
            start = SessionLog(status=SessionLog.START)
            self._head += self._frame(Event(wall_time=time.time(), step=start_step + 1, session_log=start))

    def scalars(self, step: int, values: dict[str, Any]) -> None:
        # Notes and lists have no curve.
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        if numbers:
            self._log(step, [self._summary.Value(tag=tag, simple_value=value) for tag, value in numbers.items()])

    def clip(self, step: int, name: str, gif: bytes, shape: tuple[int, int]) -> None:
        height, width = shape
        image = self._summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
        self._log(step, [self._summary.Value(tag=name, image=image)])

    def _make_file(self, staged: StagedDirectory) -> AppendFile:
        return AppendFile(staged.local / self._name, self._head, own_directory=True)

    def _log(self, step: int, values: list[Any]) -> None:
        event = self._event(wall_time=time.time(), step=step, summary=self._summary(value=values))
        self._append(self._frame(event))

    def _frame(self, event: Any) -> bytes:
        """Return a message as TensorFlow frames it: its length and itself, with a checksum behind each."""
        data: bytes = event.SerializeToString()
        length = struct.pack('<Q', len(data))
        return length + self._checksum(length) + data + self._checksum(data)

    def _checksum(self, part: bytes) -> bytes:
        return struct.pack('<I', self._crc(part))
