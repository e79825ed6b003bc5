"""Files of samples, written by threads beside the one that makes them: all in one grid, or files of their own."""

import collections
import contextlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from vdm_jax import media
from vdm_jax.errors import Failure, UserError
from vdm_jax.files import check_no_link, is_local, parse_json, read_bytes, write_atomically

GRID = 64  # videos that the grid shows at most: the first ones
WAITING = 16  # videos that wait to be written, where a batch has no more
FPS = 0.1, 1000.0  # lowest and highest frames a second
INDEX = 'samples.jsonl'
MOST_BYTES = 2**28  # of an index that is read
WRITERS = {
    'mp4': lambda place, video, fps: media.write_mp4(f'{place}.mp4', video, fps),
    'gif': lambda place, video, fps: media.write_gif(f'{place}.gif', video, fps),
    'npy': lambda place, video, fps: media.write_npy(f'{place}.npy', video),
    'frames': lambda place, video, fps: media.write_frames(place, video),
}
FORMATS = ('grid', *WRITERS)


@dataclass(frozen=True)
class Sample:
    """A video, and what it was asked by.

    Attributes:
      number: which of those asked for, from 0.
      video: uint8 (T, H, W, C).
      label: its class, None where there are none.
      prompt: its text, None where none was told.
      seed: of the noise.
    """

    number: int
    video: np.ndarray
    label: int | None = None
    prompt: str | None = None
    seed: int = 0

    @property
    def title(self) -> str:
        """What stands beside it in a strip."""
        if self.prompt is not None:
            return ' '.join(self.prompt.split())[:40]
        return '' if self.label is None else f'label {self.label}'


def read_formats(text: str) -> tuple[str, ...]:
    """The formats of --format=grid,mp4,…, each once, in the order of FORMATS.

    Raises:
      UserError: one is not known, none is named, or what writes one is not installed.
    """
    names = [name.strip() for name in text.split(',')]
    for name in names:
        if name not in FORMATS:
            raise UserError(f'--format={text}: {name!r} is none of {", ".join(FORMATS)}')
    for module, users in (('av', {'mp4'}), ('PIL', {'grid', 'gif', 'frames'})):
        if users & {*names} and not _installed(module):
            raise UserError(f"--format={text}: {module} is not installed: pip install 'vdm_jax[video]'")
    return tuple(name for name in FORMATS if name in names)


def check_fps(fps: float, called: str) -> float:
    """The same number.

    Raises:
      UserError: it is out of FPS.
    """
    if not FPS[0] <= fps <= FPS[1]:
        raise UserError(f'{called}={fps}: want {FPS[0]} to {FPS[1]:g} frames a second')
    return fps


class SampleFiles:
    """Writes videos while others are made: a context manager, which leaves what is not yet begun where it ends early.

    `grid` is STEM.mp4, STEM.gif and STEM.png, written at the end, of GRID videos at most. The others are a file (or a
    folder, `frames`) for each video in the directory STEM, with the index STEM/samples.jsonl, a line a file, to which
    other formats add theirs. In memory are the videos of the grid, and a batch that waits to be written.

    Args:
      titles: one for each set of videos, where several stand side by side; each then has a folder of its own, named by
        `folders`.
    """

    def __init__(
        self,
        directory,
        stem: str,
        formats: Sequence[str] = ('grid',),
        fps: float = media.FPS,
        titles: Sequence[str] | None = None,
        folders: Sequence[str] = ('',),
    ):
        self._directory, self._stem, self._formats, self._fps = str(directory), stem, formats, fps
        self._titles, self._folders = titles, folders
        self._grid = [{} for _ in folders]
        self._lines, self._count = [], 0
        self._pending: collections.deque[Future] = collections.deque()
        self._folder = f'{self._directory}/{stem}'
        check_no_link(self._folder, self._directory)
        self._made: os.stat_result | None = None
        self._threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix='sample_files')

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._threads.shutdown(cancel_futures=True)
        if exc[0] is not None:
            with contextlib.suppress(OSError):
                self._write_index()

    def put(self, samples: Sequence[Sample], which: int = 0) -> None:
        """Has videos written, of the set `which`; waits while those of earlier calls are too many.

        Raises:
          Failure: a file could not be written.
        """
        self._count = max([self._count, *(sample.number + 1 for sample in samples)])
        own = [name for name in self._formats if name in WRITERS]
        self._wait(max(WAITING - len(samples), 0))
        if own and samples and not self._made:
            self._made = self._make_folder()
        for sample in samples:
            if 'grid' in self._formats and sample.number < GRID:
                self._grid[which][sample.number] = _held(sample)
            if own:
                self._pending.append(self._threads.submit(self._write, sample, which, own))

    def close(self) -> list[str]:
        """Writes the rest, the grid and the index.

        Returns:
          A line to print for each file of the grid, and for each format of the others.

        Raises:
          Failure: a file could not be written.
        """
        self._wait(0)
        with _failing(f'{self._directory}/{self._stem}'):
            return [*self._write_grid(), *self._write_index()]

    def _wait(self, most: int) -> None:
        """Until no more than `most` videos wait."""
        while len(self._pending) > most:
            self._pending.popleft().result()

    def _write(self, sample: Sample, which: int, formats: Sequence[str]) -> None:
        name = '/'.join(filter(None, (self._folders[which], f'{sample.number:06}')))
        about = {'number': sample.number, 'seed': sample.seed, 'label': sample.label, 'prompt': sample.prompt}
        place = f'{self._folder}/{name}'
        for kind in formats:
            if kind == 'frames':
                check_no_link(place, self._folder)
            with _failing(place):
                WRITERS[kind](place, sample.video, self._fps)
            file = name if kind == 'frames' else f'{name}.{kind}'
            self._lines.append((kind, which, sample.number, {'file': file} | about))

    def _write_index(self) -> list[str]:
        if not self._lines:
            return []
        self._lines.sort(key=lambda line: (FORMATS.index(line[0]), *line[1:3]))
        text = ''.join(json.dumps(about, ensure_ascii=False) + '\n' for *_, about in self._lines)
        folder = self._folder
        if self._made and not (os.path.isdir(folder) and os.path.samestat(os.stat(folder), self._made)):
            raise Failure(f'{folder}: was removed or replaced while files were written there; give the command again')
        write_atomically(f'{folder}/{INDEX}', self._read_other_lines(f'{folder}/{INDEX}') + text)
        counts = collections.Counter(kind for kind, *_ in self._lines)
        return [f'{folder}/{INDEX}', *(f'{folder}/: {count} {kind}' for kind, count in counts.items())]

    def _make_folder(self) -> os.stat_result | None:
        """The folder of files of their own, made where it is not there: which one it is, so that another one in its
        place is known; None in a store.
        """
        if not is_local(self._folder):
            return None
        with _failing(self._folder):
            os.makedirs(self._folder, exist_ok=True)
            return os.stat(self._folder)

    def _read_other_lines(self, index: str) -> str:
        """The lines of an index that is there already, but those of files that this one writes again."""
        ours = {about['file'] for *_, about in self._lines}
        lines = []
        with contextlib.suppress(UserError):  # none is there, or it is no such index
            for line in read_bytes(index, MOST_BYTES).decode(errors='replace').splitlines():
                about = parse_json(line, index)
                if isinstance(about, dict) and about.get('file') not in ours:
                    lines.append(line + '\n')
        return ''.join(lines)

    def _write_grid(self) -> list[str]:
        numbers = sorted(set.intersection(*({*shown} for shown in self._grid)))
        if not numbers:
            return []
        sets = [np.stack([shown[number].video for number in numbers]) for shown in self._grid]
        labels = [self._grid[0][number].title for number in numbers]
        files = media.write_samples(self._directory, self._stem, sets, labels, self._titles, self._fps)
        less = [f'the grid shows the first {GRID} of {self._count} videos'] if self._count > GRID else []
        return [*map(str, files), *less]


def _held(sample: Sample) -> Sample:
    """The same with pixels of its own, so that the batch it came with is let go."""
    return Sample(sample.number, sample.video.copy(), sample.label, sample.prompt, sample.seed)


@contextlib.contextmanager
def _failing(place: str):
    """Has a file that cannot be written be one line."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise Failure(f'{place}: cannot be written ({why}); the same command again makes the same files') from error


def _installed(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True
