"""Latents that were made beforehand, in place of the clips that they are of."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from vdm_jax.data.latents.metadata import check_same_encoding
from vdm_jax.data.latents.store import LatentSet, bucket_directory
from vdm_jax.data.latents.text_store import TextCache
from vdm_jax.data.order.buckets import BucketOrder
from vdm_jax.data.order.order import Order, clip_generator
from vdm_jax.data.source import Clip, Reader, stack_clips
from vdm_jax.errors import UserError


class CachedLatents(Reader):
    """A reader whose training clips are the moments of its clips' latents, read from the directory `path`.

    A drawn clip is {'moments': float16 or float32 (T', H', W', 2C), 'label', 'scalars'}: means, then log variances; and
    the conditions that depend on what was drawn for it (Reader.conditions_of).

    `python -m data_pipelines cache-latents` made them, in one view or more of every clip, of which one is drawn. All
    else, clips of evaluation among it, is that of `clips`.
    """

    def __init__(self, path: str, clips: Reader):
        super().__init__(clips.source)
        self.path = path
        self.clips = clips
        self._sets: dict[int, LatentSet] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> Clip:
        return self.clips[i]

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        """Draw the latents of clip i, with all scalars that are stored with them."""
        buckets, _ = self.clips.locate_in_buckets([i])
        names = self._set(int(buckets[0])).about['scalars']
        # As a batch of one, so that a clip by itself is what it is in any batch.
        batch = self._batch([i], [rng], names)
        scalars = {name: batch.pop(name)[0] for name in names}
        return {name: values[0] for name, values in batch.items()} | {'scalars': scalars}

    @property
    def loading(self) -> Literal['batches', 'constant']:
        """Whole batches, unless those of the clips are all the same."""
        return 'constant' if self.clips.loading == 'constant' else 'batches'

    def gather(
        self, ids: np.ndarray, positions: np.ndarray, seed: int, scalars: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Return a whole batch, of one bucket.

        Returns:
          For each of `ids` what `draw` gives at that of `positions` in the run, with these scalars.
        """
        return self._batch(ids, [clip_generator(seed, int(position)) for position in positions], scalars)

    def _batch(
        self, ids: Sequence[int] | np.ndarray, generators: Sequence[np.random.Generator], scalars: Sequence[str]
    ) -> dict[str, np.ndarray]:
        buckets, numbers = self.clips.locate_in_buckets(ids)
        latents = self._set(int(buckets[0]))
        # View 0, the one of evaluation, is there in every cache.
        views = np.zeros(len(numbers), np.int64)
        if latents.views > 1:
            views = np.array([int(rng.random() * latents.views) for rng in generators])

        rows = latents.conditions(numbers, views)
        # A field of structured rows is strided: batches have arrays of their own, in one piece.
        batch = {'moments': latents.moments(numbers, views), 'label': np.ascontiguousarray(rows['label'])}
        if self.clips.num_draws:
            pairs = zip(rows['drawn'], generators, strict=True)
            batch |= stack_clips([self.clips.conditions_of(draws, rng) for draws, rng in pairs])
        return batch | {name: np.ascontiguousarray(rows[name]) for name in scalars}

    def notes(self) -> list[str]:
        """Return the lines of the clips, and whether damage to the latents would go unnoticed."""
        lines = list(self.clips.notes())
        for latents in self._all_sets():
            if not latents.is_verified:
                lines.append(
                    f'{latents.where}: unverified, as an earlier version made them without sha256; to have damage '
                    'noticed, make them anew with python -m data_pipelines cache-latents, in another directory'
                )
        return lines

    def check(
        self, cache_key: dict[str, Any], scalars: Sequence[str] = (), shapes: Sequence[tuple[int, ...]] = ()
    ) -> None:
        """Check that the latents are those of a run.

        Args:
          cache_key: What they must have been made with (Run.latent_cache_key).
          scalars: Names of those that must be stored with them.
          shapes: (T', H', W', C) of latents, where they are known, those of each bucket.

        Raises:
          UserError: they were made with something else, lack a scalar, or are of other shapes.
        """
        expected = {(*grid, 2 * channels) for *grid, channels in shapes}
        for latents in self._all_sets():
            about = latents.about
            check_same_encoding(latents.where, about['made'], cache_key)
            if expected and tuple(about['shape']) not in expected:
                raise UserError(f'{latents.where}: holds moments {tuple(about["shape"])}, want {sorted(expected)[0]}')
            for name in scalars:
                if name not in about['scalars']:
                    raise UserError(
                        f'{latents.where}: they have the scalars {", ".join(about["scalars"])}, and '
                        f'config.model.scalars wants {name}; leave it out or make them anew'
                    )
            if self.clips.num_draws and about['drawn'] != self.clips.num_draws:
                raise UserError(f'{latents.where}: they do not say what captions hang on; make them anew')

    def _all_sets(self) -> list[LatentSet]:
        """Return those of each bucket that has clips."""
        buckets, _ = self.clips.locate_in_buckets(np.arange(len(self)))
        return [self._set(int(bucket)) for bucket in np.unique(buckets)]

    def _set(self, bucket: int) -> LatentSet:
        if bucket not in self._sets:
            path = bucket_directory(self.path, self.source, bucket)
            self._sets[bucket] = LatentSet(str(path), f'config.latents={path}')
        return self._sets[bucket]

    # What is the clips' own.

    @property
    def num_classes(self) -> int:
        return self.clips.num_classes

    @property
    def scalars(self) -> tuple[str, ...]:
        return self.clips.scalars

    @property
    def text(self) -> TextCache | None:
        return self.clips.text

    @property
    def title(self) -> str:
        return self.clips.title

    @property
    def reference(self) -> Reader:
        return self.clips.reference

    def identity(self) -> str:
        return self.clips.identity()

    def order(self, batch: int, seed: int = 0, shuffle: bool = True) -> Order | BucketOrder:
        return self.clips.order(batch, seed, shuffle)

    def held_out(self) -> Reader:
        # Validation and scores look at pixels, so the held-out clips are no latents.
        return self.clips.held_out()

    def locate_in_buckets(self, ids: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.clips.locate_in_buckets(ids)

    def counters(self) -> dict[str, int]:
        return self.clips.counters()

    def problem_files(self) -> dict[str, list[str]]:
        return self.clips.problem_files()
