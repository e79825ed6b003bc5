"""Latents that were made beforehand, in place of the clips that they are of."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vdm_jax.data.source import Source
from vdm_jax.errors import UserError

ARRAY, ABOUT = 'moments.npy', 'about.json'
# Fields of sources that change no clip: where files lie, and how they are read.
MOVABLE = 'path', 'threads', 'prefetch', 'cache_mb', 'max_broken', 'limits'


@dataclasses.dataclass(frozen=True)
class Latents:
    """`source` with the moments of its clips' latents read from the directory `path`, instead of the clips, where a
    clip is drawn for training: {'moments': float32 (T', H', W', 2C), 'label', 'scalars'}: means, then log variances.

    `python -m data_pipelines cache-latents` made them, of every clip as evaluation sees it: what a source draws at
    random (where a clip begins, mirroring) was drawn once. All else is the source's own.
    """

    path: str
    source: Source

    def __getattr__(self, name):
        if name.startswith('__') or name in ('path', 'source'):
            raise AttributeError(name)
        return getattr(self.source, name)

    def __len__(self):
        return len(self.source)

    def __getitem__(self, i):
        return self.source[i]

    def draw(self, i, rng):
        scalars = {name: values[i] for name, values in self._scalars.items()}
        return {'moments': np.array(self._moments[i]), 'label': np.int32(self._labels[i]), 'scalars': scalars}

    def check(self, made: dict, scalars: Sequence[str] = ()) -> None:
        """Whether these were made with all that `made` says (Run.encoding), and tell these scalars of their clips.

        Raises:
          UserError: they were not, or do not.
        """
        where, about = f'config.latents={self.path}', self.about
        agree(where, about.get('made', {}), made)
        for name in scalars:
            if name not in about['scalars']:
                raise UserError(
                    f'{where}: they tell {", ".join(about["scalars"])} of their clips, and config.model.scalars wants '
                    f'{name}; leave it out or make them anew'
                )

    @functools.cached_property
    def about(self) -> dict:
        """What they were `made` with, `labels` and `scalars` of their clips, and how many are `done` of what `count`.

        Raises:
          UserError: there are none, or they are not all there.
        """
        try:
            about = json.loads((Path(self.path) / ABOUT).read_text())
        except (OSError, json.JSONDecodeError):
            raise UserError(
                f'config.latents={self.path}: no latents there; make them with python -m data_pipelines cache-latents'
            ) from None
        if about['done'] < about['count']:
            raise UserError(f'config.latents={self.path}: {about["done"]} of {about["count"]} clips; let it go on')
        return about

    @functools.cached_property
    def _moments(self) -> np.ndarray:
        self.about  # noqa: B018, that they are there
        return np.load(Path(self.path) / ARRAY, mmap_mode='r')

    @functools.cached_property
    def _labels(self) -> np.ndarray:
        return np.asarray(self.about['labels'], np.int32)

    @functools.cached_property
    def _scalars(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(values, np.float32) for name, values in self.about['scalars'].items()}


def agree(where: str, there: dict, here: dict) -> None:
    """Whether latents were made with what is `here`: {what: JSON value}.

    Raises:
      UserError: something is another one `there`.
    """
    for what, wanted in here.items():
        if (found := there.get(what)) != wanted:
            raise UserError(f'{where}: made with {what} {found}, and this run has {wanted}; name another directory')
