"""TensorBoard's event files, written in place: no thread that could die, no queue that could fill.

Of tensorboardX the messages alone are used. Its writer puts events into a queue of ten that a thread works off: where
that thread dies of a full disk the eleventh event waits for ever, and so does the end of the process.
"""

import os
import socket
import struct
import time

from etils import epath

from vdm_jax.train.loggers.append_file import Appended
from vdm_jax.train.loggers.logger import Logger
from vdm_jax.train.remote_files import StagedDirectory


class TensorBoard(Logger):
    """Curves and moving pictures in WORKDIR/tensorboard; a run that goes on after `start_step` hides what an earlier
    start wrote past it.

    Raises:
      ImportError: tensorboardX is not there.
    """

    shows_clips = True

    def __init__(self, workdir, start_step: int):
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.record_writer import masked_crc32c

        self._event, self._summary, self._checksum = Event, Summary, masked_crc32c
        self._directory = epath.Path(workdir) / 'tensorboard'
        self._name = f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}'
        self._head = self._record(Event(wall_time=time.time(), file_version='brain.Event:2'))
        if start_step:
            begin = SessionLog(status=SessionLog.START)
            self._head += self._record(Event(wall_time=time.time(), step=start_step + 1, session_log=begin))
        self._files: StagedDirectory | None = None
        self._file: Appended | None = None

    def scalars(self, step, values):
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        if numbers:
            self._append(step, [self._summary.Value(tag=tag, simple_value=value) for tag, value in numbers.items()])

    def clip(self, step, name, gif, shape):
        image = self._summary.Image(height=shape[0], width=shape[1], colorspace=3, encoded_image_string=gif)
        self._append(step, [self._summary.Value(tag=name, image=image)])

    def flush(self):
        self._opened().sync()
        self._files.push()

    def close(self):
        if self._file:
            self._file.close()
        if self._files:
            self._files.close()

    def _append(self, step: int, values: list) -> None:
        event = self._event(wall_time=time.time(), step=step, summary=self._summary(value=values))
        self._opened().append(self._record(event))

    def _opened(self) -> Appended:
        if self._file is None:
            self._files = StagedDirectory(self._directory)
            self._file = Appended(self._files.local / self._name, self._head, own_directory=True)
        return self._file

    def _record(self, event) -> bytes:
        """A message as TensorFlow frames it: its length and itself, with a checksum behind each."""
        data = event.SerializeToString()
        length = struct.pack('<Q', len(data))

        def checksum(part):
            return struct.pack('<I', self._checksum(part))

        return length + checksum(length) + data + checksum(data)
