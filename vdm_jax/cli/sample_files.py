"""Files of samples, written by threads beside the one that makes them: all in one grid, or each in files of its own."""

import collections
import contextlib
import dataclasses
import importlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from vdm_jax import media
from vdm_jax.cli import vbench_files
from vdm_jax.errors import Failure, UserError
from vdm_jax.files import check_no_link, is_local, parse_json, read_bytes, write_atomically

# Videos that the grid shows at most: the first ones.
MOST_IN_GRID = 64

# Videos that wait to be written, where a batch has no more: memory does not grow where the disk is slow.
MOST_WAITING = 16

# Frames a second that players take.
LOWEST_FPS = 0.1
MOST_FPS = 1000.0

INDEX = 'samples.jsonl'
# Of an index that is read.
MOST_BYTES = 2**28

Writer = Callable[[str, np.ndarray, float], None]


def _write_npy(path: str, video: np.ndarray, fps: float) -> None:
    media.write_npy(path, video)


def _write_frames(path: str, video: np.ndarray, fps: float) -> None:
    media.write_frames(path, video)


# What writes a video of its own, given the path of its file, by the name of the format.
WRITERS: dict[str, Writer] = {
    'mp4': media.write_mp4,
    'gif': media.write_gif,
    'npy': _write_npy,
    'frames': _write_frames,
    'vbench': media.write_mp4,
}
FORMATS = ('grid', *WRITERS)

# Packages that formats need: they come with the extra `video`.
NEEDED_BY = {'av': {'mp4', 'vbench'}, 'PIL': {'grid', 'gif', 'frames'}}


@dataclass(frozen=True)
class Sample:
    """A video, and what it was conditioned on.

    Attributes:
      number: Which of all videos of the command, from 0.
      video: uint8 (T, H, W, C).
      label: Its class, None where there are none.
      prompt: Its text, None where it had none.
      seed: Of the noise.
      index: Which of all videos of its prompt, from 0.
    """

    number: int
    video: np.ndarray
    label: int | None = None
    prompt: str | None = None
    seed: int = 0
    index: int = 0

    def file_name(self, kind: str) -> str:
        """Return the path of its file, or of its folder of frames, in the folder of a format."""
        if kind == vbench_files.FOLDER:
            return vbench_files.name_file(self.prompt or '', self.index)
        return f'{self.number:06}' if kind == 'frames' else f'{self.number:06}.{kind}'

    @property
    def title(self) -> str:
        """What stands beside it in a strip."""
        if self.prompt is not None:
            return ' '.join(self.prompt.split())[:40]
        return '' if self.label is None else f'label {self.label}'


class IndexLine(NamedTuple):
    """A line of the index, with what the lines are sorted by.

    Attributes:
      format: Of the file.
      set_number: Of the set of videos that it is of.
      number: Of its video.
      about: The line itself, as JSON.
    """

    format: str
    set_number: int
    number: int
    about: dict[str, Any]


def read_formats(text: str) -> tuple[str, ...]:
    """Return the formats of --format=grid,mp4,…, each once, in the order of FORMATS.

    Raises:
      UserError: One is not known, none is named, or what writes one is not installed.
    """
    names = [name.strip() for name in text.split(',')]
    for name in names:
        if name not in FORMATS:
            raise UserError(f'--format={text}: {name!r} is none of {", ".join(FORMATS)}')
    for module, users in NEEDED_BY.items():
        if users & {*names} and not _is_installed(module):
            raise UserError(f"--format={text}: {module} is not installed: pip install 'vdm_jax[video]'")
    return tuple(name for name in FORMATS if name in names)


def check_fps(fps: float, called: str) -> float:
    """Return frames a second that files can have.

    Raises:
      UserError: They are below LOWEST_FPS or above MOST_FPS.
    """
    if not LOWEST_FPS <= fps <= MOST_FPS:
        raise UserError(f'{called}={fps}: want {LOWEST_FPS} to {MOST_FPS:g} frames a second')
    return fps


class SampleFiles:
    """Write videos while others are made: a context manager; where it ends early, what has not begun is left out.

    The format `grid` is STEM.mp4, STEM.gif and STEM.png, written at the end, of MOST_IN_GRID videos at most. The others
    are a file (or a folder, `frames`) for each video in the directory STEM, with the index STEM/samples.jsonl, a line a
    file, to which other formats add theirs. In memory are the videos of the grid, and a batch that waits to be written.

    Args:
      directory: Where to write.
      stem: What the files are called.
      formats: Of FORMATS.
      fps: Frames a second.
      titles: One for each set of videos, where several stand side by side.
      folders: The folder in STEM that each set of videos then has.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        stem: str,
        formats: Sequence[str] = ('grid',),
        fps: float = media.FPS,
        titles: Sequence[str] | None = None,
        folders: Sequence[str] = ('',),
    ):
        self._directory = str(directory)
        self._stem = stem
        self._formats = formats
        self._fps = fps
        self._titles = titles
        self._folders = folders

        self._folder = f'{self._directory}/{stem}'
        check_no_link(self._folder, self._directory)
        # Which folder was made, to know another one in its place.
        self._folder_status: os.stat_result | None = None

        self._grid: list[dict[int, Sample]] = [{} for _ in folders]
        self._count = 0
        self._lines: list[IndexLine] = []
        self._pending: collections.deque[Future[None]] = collections.deque()
        # Encoders of mp4 and png release the GIL.
        self._threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix='sample_files')

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        # The videos that were written are still found by the index.
        if kind is not None:
            with contextlib.suppress(OSError):
                self._write_index()

    def put(self, samples: Sequence[Sample], set_number: int = 0) -> None:
        """Have videos of the set `set_number` written; wait while those of earlier calls are too many.

        Raises:
          Failure: A file could not be written.
        """
        self._count = max([self._count, *(sample.number + 1 for sample in samples)])
        self._wait(max(MOST_WAITING - len(samples), 0))

        formats = [name for name in self._formats if name in WRITERS]
        if formats and samples and self._folder_status is None:
            self._folder_status = self._make_folder()
        for sample in samples:
            if 'grid' in self._formats and sample.number < MOST_IN_GRID:
                self._grid[set_number][sample.number] = _copy_pixels(sample)
            if formats:
                self._pending.append(self._threads.submit(self._write, sample, set_number, formats))

    def close(self) -> list[str]:
        """Write the rest, the grid and the index.

        Returns:
          A line to print for each file of the grid, and for each format of the others.

        Raises:
          Failure: A file could not be written.
        """
        self._wait(0)
        with _explain_failure(f'{self._directory}/{self._stem}'):
            return [*self._write_grid(), *self._write_index()]

    def _wait(self, most: int) -> None:
        """Wait until no more than `most` videos are waiting to be written."""
        while len(self._pending) > most:
            self._pending.popleft().result()

    def _write(self, sample: Sample, set_number: int, formats: Sequence[str]) -> None:
        """Write a video in each of the formats."""
        about = {'number': sample.number, 'seed': sample.seed, 'label': sample.label, 'prompt': sample.prompt}
        for kind in formats:
            file = '/'.join(filter(None, (self._folders[set_number], sample.file_name(kind))))
            path = f'{self._folder}/{file}'
            # A link that others put there would lead files out of the folder.
            folder = path if kind == 'frames' else os.path.dirname(path)
            if folder != self._folder:
                check_no_link(folder, self._folder)
            with _explain_failure(path):
                WRITERS[kind](path, sample.video, self._fps)
            self._lines.append(IndexLine(kind, set_number, sample.number, {'file': file} | about))

    def _write_index(self) -> list[str]:
        """Write the lines of all files; return what to print of them."""
        if not self._lines:
            return []
        # Threads end in any order.
        self._lines.sort(key=lambda line: (FORMATS.index(line.format), line.set_number, line.number))
        text = ''.join(json.dumps(line.about, ensure_ascii=False) + '\n' for line in self._lines)

        folder = self._folder
        if self._folder_status is not None and not _is_same_folder(folder, self._folder_status):
            raise Failure(f'{folder}: was removed or replaced while files were written there; give the command again')
        index = f'{folder}/{INDEX}'
        write_atomically(index, self._read_other_lines(index) + text)
        named = [line.about for line in self._lines if line.format == vbench_files.FOLDER]
        for file, prompts in vbench_files.list_prompts(named).items():
            write_atomically(f'{folder}/{file}', prompts)

        counts = collections.Counter(line.format for line in self._lines)
        return [index, *(f'{folder}/: {count} {kind}' for kind, count in counts.items())]

    def _make_folder(self) -> os.stat_result | None:
        """Make the folder of the videos' own files where it is not there; return its status, None in a store."""
        if not is_local(self._folder):
            return None
        with _explain_failure(self._folder):
            os.makedirs(self._folder, exist_ok=True)
            return os.stat(self._folder)

    def _read_other_lines(self, index: str) -> str:
        """Return the lines of an index that is there already, but for those of files that are written again."""
        ours = {line.about['file'] for line in self._lines}
        others = []
        # None may be there, or it may be no such index.
        with contextlib.suppress(UserError):
            for line in read_bytes(index, MOST_BYTES).decode(errors='replace').splitlines():
                about = parse_json(line, index)
                if isinstance(about, dict) and about.get('file') not in ours:
                    others.append(line + '\n')
        return ''.join(others)

    def _write_grid(self) -> list[str]:
        """Write the grid of the videos that all sets have; return what to print of it."""
        # A video that is not finite is missing from its set, and would shift the others against each other.
        numbers = sorted(set.intersection(*({*samples} for samples in self._grid)))
        if not numbers:
            return []
        sets = [np.stack([samples[number].video for number in numbers]) for samples in self._grid]
        labels = [self._grid[0][number].title for number in numbers]
        files = media.write_samples(self._directory, self._stem, sets, labels, self._titles, self._fps)

        lines = [str(file) for file in files]
        if self._count > MOST_IN_GRID:
            lines.append(f'the grid shows the first {MOST_IN_GRID} of {self._count} videos')
        return lines


def _copy_pixels(sample: Sample) -> Sample:
    """Return a sample with pixels of its own, so that the batch it came with is freed."""
    return dataclasses.replace(sample, video=sample.video.copy())


def _is_same_folder(folder: str, status: os.stat_result) -> bool:
    return os.path.isdir(folder) and os.path.samestat(os.stat(folder), status)


@contextlib.contextmanager
def _explain_failure(path: str) -> Iterator[None]:
    """Turn the error of a file that cannot be written into one line."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise Failure(f'{path}: cannot be written ({why}); the same command again makes the same files') from error


def _is_installed(module: str) -> bool:
    # Found is not enough: a package without its libraries is there and cannot be imported.
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True
