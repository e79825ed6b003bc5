"""Latents that were made beforehand, in place of the clips that they are of."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from vdm_jax.data.latent_about import agree
from vdm_jax.data.latent_set import LatentSet, bucket_directory
from vdm_jax.data.order import clip_generator
from vdm_jax.data.source import Source
from vdm_jax.errors import UserError

# Fields of sources that change no clip: where files lie, how they are read, and what is told beside clips.
MOVABLE = 'path', 'threads', 'prefetch', 'cache_mb', 'max_broken', 'limits', 'text'


@dataclasses.dataclass(frozen=True)
class Latents:
    """`source` with the moments of its clips' latents read from the directory `path`, instead of the clips, where clips
    are drawn for training: {'moments': float16 or float32 (T', H', W', 2C), 'label', 'scalars'}: means, then log
    variances; and what the source tells of a clip as it was drawn (Source.told_of).

    `python -m data_pipelines cache-latents` made them, in one view or more of every clip, of which one is drawn. All
    else is the source's own.
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
        names = self._set(int(self._within([i])[0][0])).about['scalars']
        batch = self._batch([i], [rng], names)
        scalars = {name: batch.pop(name)[0] for name in names}
        return {name: values[0] for name, values in batch.items()} | {'scalars': scalars}

    def gather(self, ids, positions, seed: int, scalars: Sequence[str] = ()) -> dict:
        """A whole batch, of one bucket: for each of `ids` what `draw` gives at that of `positions` in the run, with
        these scalars.
        """
        return self._batch(ids, [clip_generator(seed, int(position)) for position in positions], scalars)

    def _batch(self, ids, generators, scalars):
        buckets, ids = self._within(ids)
        there, views = self._set(int(buckets[0])), np.zeros(len(ids), np.int64)
        if there.views > 1:
            views = np.array([int(rng.random() * there.views) for rng in generators])
        told = there.told(ids, views)
        batch = {'moments': there.moments(ids, views), 'label': np.ascontiguousarray(told['label'])}
        if tell := getattr(self.source, 'told_of', None):
            more = [tell(drawn, rng) for drawn, rng in zip(told['drawn'], generators, strict=True)]
            batch |= {name: np.stack([each[name] for each in more]) for name in more[0]}
        return batch | {name: np.ascontiguousarray(told[name]) for name in scalars}

    def notes(self) -> list[str]:
        """What the source has to say when a run starts, and whether damage to the latents would go unnoticed."""
        lines = list(getattr(self.source, 'notes', list)())
        for there in self._there():
            if not there.verified:
                lines.append(
                    f'{there.where}: unverified, as an earlier version made them without sha256; to have damage '
                    'noticed, make them anew with python -m data_pipelines cache-latents, in another directory'
                )
        return lines

    def check(self, made: dict, scalars: Sequence[str] = (), shapes: Sequence[tuple[int, ...]] = ()) -> None:
        """Whether these were made with all that `made` says (Run.encoding), and tell these scalars of their clips.

        shapes: (T', H', W', C) of latents, where they are known, those of each bucket.

        Raises:
          UserError: they were not, do not, or are of other shapes.
        """
        wanted = {(*grid, 2 * channels) for *grid, channels in shapes}
        for there in self._there():
            agree(there.where, there.about['made'], made)
            if wanted and tuple(there.about['shape']) not in wanted:
                raise UserError(f'{there.where}: holds moments {tuple(there.about["shape"])}, want {sorted(wanted)[0]}')
            for name in scalars:
                if name not in there.about['scalars']:
                    raise UserError(
                        f'{there.where}: they tell {", ".join(there.about["scalars"])} of their clips, and '
                        f'config.model.scalars wants {name}; leave it out or make them anew'
                    )
            if getattr(self.source, 'told_of', None) and there.about['drawn'] != self.source.drawn:
                raise UserError(f'{there.where}: they do not say what captions hang on; make them anew')

    def _there(self) -> list[LatentSet]:
        """Those of each bucket that has clips."""
        return [self._set(int(bucket)) for bucket in np.unique(self._within(np.arange(len(self)))[0])]

    def _within(self, ids):
        """(the bucket of each clip, its number there)."""
        ids = np.asarray(ids, np.int64)
        return self.source.within(ids) if hasattr(self.source, 'within') else (np.zeros_like(ids), ids)

    def _set(self, bucket: int) -> LatentSet:
        if bucket not in self._sets:
            path = bucket_directory(self.path, self.source, bucket)
            self._sets[bucket] = LatentSet(str(path), f'config.latents={path}')
        return self._sets[bucket]

    @functools.cached_property
    def _sets(self) -> dict[int, LatentSet]:
        return {}
