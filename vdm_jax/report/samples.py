"""The samples of a run directory, by training step."""

import functools
import re
from dataclasses import dataclass, field

import numpy as np
from etils import epath

from vdm_jax.errors import UserError, first_line
from vdm_jax.files import read_bytes
from vdm_jax.report.sprites import Setting, Sheet, encode_sheets
from vdm_jax.report.strips import Clips, read_strip
from vdm_jax.report.thinning import spread_evenly

MOST_STEPS = 40  # steps whose samples are shown
MOST_VIDEOS = 36  # videos of a step that are shown
LARGEST_FILE = 2**28  # bytes of a contact sheet that is read

# step_001200.png of training; what the command sample writes has more in its name.
NAME = re.compile(r'step_(\d{1,15})\.png')


@dataclass(frozen=True)
class StepSamples:
    """The samples of one step.

    Attributes:
      step: Of training.
      sheet: Their frames.
      fps: Frames a second.
    """

    step: int
    sheet: Sheet
    fps: float


@dataclass
class Samples:
    """The samples of a run.

    Attributes:
      steps: Those that are shown, by step.
      available: How many steps have samples.
      videos: Of the step that has the most.
      setting: How they are encoded.
      problems: A line for each file that cannot be shown.
    """

    steps: list[StepSamples] = field(default_factory=list)
    available: int = 0
    videos: int = 0
    setting: Setting = Setting(None)
    problems: list[str] = field(default_factory=list)

    def describe_reduction(self) -> list[str]:
        """Return a sentence for each thing that is less than what the files hold."""
        lines = []
        if len(self.steps) + len(self.problems) < self.available:
            lines.append(f'{len(self.steps)} of {self.available} steps are shown.')
        if self.videos > MOST_VIDEOS:
            lines.append(f'{MOST_VIDEOS} of {self.videos} videos a step are shown.')
        if loss := self.setting.describe():
            lines.append(f'To keep the page small, frames are {loss}; the files in samples/ have every pixel.')
        return lines


def read_samples(directory: epath.Path, frames: int | None, budget: int) -> Samples:
    """Return the samples that a run drew while it trained.

    Args:
      directory: Of the files, step_XXXXXX.png; it need not be there.
      frames: How many a clip has, for contact sheets that do not say.
      budget: Bytes of all sheets.
    """
    samples = Samples()
    paths = {int(match[1]): path for path in _list(directory) if (match := NAME.fullmatch(path.name))}
    steps = sorted(paths)
    samples.available = len(steps)

    rates = {}
    for step in (steps[number] for number in spread_evenly(len(steps), MOST_STEPS)):
        try:
            read = _read(paths[step], frames)
        except UserError as error:
            samples.problems.append(f'samples/{paths[step].name}: {error}')
            continue
        samples.videos = max(samples.videos, len(read.videos))
        # Frames are read again when they are encoded: forty sheets of large videos fill a memory.
        rates[step] = read.fps

    # What is read twice within a step is read from the disk once.
    load = [functools.partial(_read_videos, paths[step], frames) for step in rates]
    sheets, samples.setting = encode_sheets(load, budget) if load else ([], Setting(None))
    for (step, fps), sheet in zip(rates.items(), sheets, strict=True):
        samples.steps.append(StepSamples(step, sheet, fps))
    _read.cache_clear()
    return samples


def _list(directory: epath.Path) -> list[epath.Path]:
    return [*directory.iterdir()] if directory.is_dir() else []


@functools.lru_cache(4)
def _read(path: epath.Path, frames: int | None) -> Clips:
    try:
        content = read_bytes(path, LARGEST_FILE)
    except UserError as error:
        raise UserError(f'cannot be read ({first_line(error)})') from None
    try:
        return read_strip(content, frames)
    except UserError:
        # The frames that the config speaks of may be others than those of this sheet.
        return read_strip(content)


def _read_videos(path: epath.Path, frames: int | None) -> np.ndarray:
    return _read(path, frames).videos[:MOST_VIDEOS]
