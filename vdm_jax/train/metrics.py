"""Where numbers go: metrics.jsonl and the console always, TensorBoard where tensorboardX is installed."""

import json
import os
import sys
import time

from etils import epath

from vdm_jax.train.mirror import Mirror


class Metrics:
    """Writes scalars, notes and clips of one run; a run that goes on drops what it had written past its checkpoint."""

    def __init__(self, workdir, start_step: int):
        self._files = Mirror(workdir)
        self._files.fetch('metrics.jsonl')
        path = self._files.local / 'metrics.jsonl'
        _cut(path, start_step)
        self._jsonl = open(path, 'a')  # noqa: SIM115, closed in close()
        self._board_files = Mirror(epath.Path(workdir) / 'tensorboard')
        self._board = _board(self._board_files.local, start_step)

    def scalars(self, step: int, values: dict) -> None:
        """One line of metrics.jsonl and one point of each curve."""
        self._jsonl.write(json.dumps({'step': step} | values) + '\n')
        self._jsonl.flush()
        for name, value in values.items():
            if self._board and isinstance(value, (int, float)):
                self._board.add_scalar(name, value, step)

    def clip(self, step: int, name: str, gif: bytes, shape: tuple[int, int]) -> None:
        """An animated clip, as GIF bytes, as a TensorBoard image summary; shape is (H, W)."""
        if not self._board:
            return
        from tensorboardX.proto.summary_pb2 import Summary

        image = Summary.Image(height=shape[0], width=shape[1], colorspace=3, encoded_image_string=gif)
        self._board.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def flush(self) -> None:
        """Makes everything written so far visible in the run directory."""
        if self._board:
            self._board.flush()
        self._files.push()
        self._board_files.push()

    def close(self) -> None:
        self.flush()
        self._jsonl.close()
        if self._board:
            self._board.close()
        self._files.close()
        self._board_files.close()


def _cut(path, last_step: int) -> None:
    """Cuts off what is past `last_step`, or half a line, from where it begins; what stays is never written anew."""
    if not path.exists():
        return
    end = 0
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b'\n') or json.loads(line)['step'] > last_step:
            break
        end += len(line)
    os.truncate(path, end)


def _board(directory, start_step: int):
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(directory), purge_step=start_step + 1 if start_step else None)


class Silence:
    """Metrics and Progress of a process that says and writes nothing: whatever it is told is gone."""

    def __getattr__(self, name):
        return lambda *_, **__: None


class Progress:
    """The live line of a run: step, loss, videos/s, time left; rewritten on a terminal, else printed now and then."""

    def __init__(self, steps: int, start_step: int, batch: float, stream=None):
        self._steps, self._start, self._batch = steps, start_step, batch
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._began = self._shown = None

    def show(self, step: int, loss: float) -> None:
        """Called after each step; the first call, which saw the compilation, only starts the clock."""
        now = time.monotonic()
        if self._began is None:
            self._began, self._start, self._shown = now, step, now
            return
        last = step == self._steps
        if not last and now - self._shown < (0.2 if self._live else 10.0):
            return
        self._shown = now
        rate = (step - self._start) / max(now - self._began, 1e-9)
        left = (self._steps - step) / max(rate, 1e-9)
        share = step / self._steps
        bar = '█' * int(24 * share) + '░' * (24 - int(24 * share))
        line = (
            f'{bar} step {step}/{self._steps}  loss {loss:.4f}  {rate * self._batch:.1f} videos/s  {_clock(left)} left'
        )
        self.say(line, keep=not self._live or last)

    def say(self, text: str, keep: bool = True) -> None:
        """Prints a line; keep=False lets the next one overwrite it."""
        if self._live:
            self._stream.write('\r\033[K' + text + ('\n' if keep else ''))
        elif keep:
            self._stream.write(text + '\n')
        self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
