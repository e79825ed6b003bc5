"""The clips of a run, and how batches of them lie on its devices."""

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from vdm_jax.config.schema import flatten
from vdm_jax.data.source import Reader, Shape, Source
from vdm_jax.parallel.mesh import local_rows, pad_rows, to_global


@dataclass(frozen=True)
class DataPlan:
    """The clips of a run; files are opened when something of them is first needed.

    Attributes:
      source: What config.data says of the clips.
      batch_size: Clips of a batch, where a bucket does not say its own.
      opened: A reader of the source that is open already, to read from in place of a new one.
    """

    source: Source
    batch_size: int
    opened: Reader | None = field(default=None, compare=False)

    @functools.cached_property
    def reader(self) -> Reader:
        """The clips, opened."""
        # A reader has looked through its files: that is not done twice for the runs of one source.
        if self.opened is not None and self.opened.source == self.source:
            return self.opened
        return self.source.open()

    @functools.cached_property
    def held_out(self) -> Reader:
        """The held-out clips; the reader itself where training takes all of them."""
        return self.reader.held_out()

    @property
    def references(self) -> tuple[Reader, Reader]:
        """The clips that samples are held against: of training, and held out."""
        return self.reader.reference, self.held_out.reference

    @property
    def context_reader(self) -> Reader:
        """Held-out clips that samples take context frames and captions from: all of the shape of samples.

        Raises:
          UserError: There are none, as may be of a source in buckets.
        """
        # Only a source in buckets has clips of other shapes, which its reference leaves out.
        reader = self.held_out if self.has_images else self.held_out.reference
        reader.order(1)  # it raises where there are no such clips
        return reader

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(T, H, W, C) of the clips of each bucket; the first is that of samples."""
        return self.source.shapes

    @property
    def has_images(self) -> bool:
        """Whether there are images behind the clips."""
        return self.source.images_per_clip > 0

    @functools.cached_property
    def batch_sizes(self) -> tuple[int, ...]:
        """Clips of a batch of each bucket."""
        return self.source.batch_sizes(self.batch_size)

    @property
    def dataset_id(self) -> str:
        """Which clips these are: a run that goes on, or is scored, must find the same."""
        return self.reader.identity()

    @property
    def text_fingerprint(self) -> str | None:
        """sha256 of the encoder that made the texts of the clips, None where they have none."""
        texts = self.reader.text
        return texts.fingerprint if texts else None

    @property
    def clip_config(self) -> dict[str, Any]:
        """What of config.data decides which clips come and how they are cut, by its dotted keys."""
        keys = flatten(self.source, 'config.data')
        # A set of clips may be moved, or read with other threads, and stays the same set.
        movable = self.source.movable_keys
        return {key: value for key, value in keys.items() if movable.isdisjoint(key.split('.'))}


@dataclass(frozen=True)
class BatchLayout:
    """How batches of clips lie on the devices of a mesh.

    Attributes:
      shapes: (T, H, W, C) of the clips of each bucket.
      sizes: Clips of a batch of each bucket.
      microbatches: How many microbatches a batch is worked through in, one after the other.
      mesh: Over whose devices rows are split.
    """

    shapes: tuple[Shape, ...]
    sizes: tuple[int, ...]
    microbatches: int
    mesh: jax.sharding.Mesh

    @functools.cached_property
    def rows(self) -> tuple[int, ...]:
        """Rows of a bucket's batch as the devices hold it: what its size lacks is filled up, and counts for nothing."""
        return tuple(pad_rows(size, self.mesh, self.microbatches) for size in self.sizes)

    @functools.cached_property
    def local_rows(self) -> tuple[np.ndarray, ...]:
        """The rows of a bucket's global batch that this process reads; a batch is filled up with its first ones."""
        # What fills up a batch has to be of the same shape: clips that are read anyway cost nothing more.
        return tuple(local_rows(rows, self.mesh) % size for rows, size in zip(self.rows, self.sizes, strict=True))

    @functools.cached_property
    def largest(self) -> int:
        """The bucket whose batches have most pixels: the one that must fit."""
        # With the rows that fill up a batch, which take memory as well.
        pixels = [np.prod(shape) * rows for shape, rows in zip(self.shapes, self.rows, strict=True)]
        return int(np.argmax(pixels))

    def to_global(self, batch: dict[str, np.ndarray], bucket: int = 0) -> dict[str, jax.Array]:
        """Return a batch of `local_rows` as global arrays, filled up, split over the devices."""
        return to_global(batch, self.mesh, self.rows[bucket])
