"""Latents that were made beforehand, in place of the clips that they are of."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np

from vdm_jax.data.source import Source
from vdm_jax.errors import UserError

ARRAY, ABOUT = 'moments.npy', 'about.json'


@dataclasses.dataclass(frozen=True)
class Latents:
    """`source` with the moments of its clips' latents read from the directory `path`, instead of the clips, where a
    clip is drawn for training: {'moments': float32 (T', H', W', 2C), 'label'}: means, then log variances.

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
        return {'moments': np.array(self._moments[i]), 'label': np.int32(self._labels[i])}

    def check(self, codec: str) -> None:
        """Whether these are the source's clips, as a codec with weights of this sha256 encodes them.

        Raises:
          UserError: they are not.
        """
        about = self.about
        clips = getattr(self.source, 'identity', lambda: str(len(self.source)))()
        for what, found, wanted in (('codec', about['codec'], codec), ('clips', about['clips'], clips)):
            if found != wanted:
                raise UserError(f'config.latents={self.path}: made of {what} {found}, and this run has {wanted}')

    @functools.cached_property
    def about(self) -> dict:
        """What the latents are of: sha256 of the codec's weights, and the clips.

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
