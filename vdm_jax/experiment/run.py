"""A run: an experiment's objects, from its config; what costs something is made when first asked for."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from vdm_jax.codecs.codec import FIELDS_AFTER_MOMENTS
from vdm_jax.config.schema import flat
from vdm_jax.data.latents.source import MOVABLE, CachedLatents
from vdm_jax.data.source import Reader, Shape, Source
from vdm_jax.errors import UserError
from vdm_jax.evals.protocol import Protocol
from vdm_jax.evals.select import choose_protocol
from vdm_jax.experiment import frozen_weights, validate
from vdm_jax.experiment.registry import PROTOCOLS, Experiment, experiment_dict
from vdm_jax.nn.config import NetworkConfig, NetworkInputs
from vdm_jax.parallel.gather import gather
from vdm_jax.parallel.mesh import local_rows, make_mesh, pad_rows, to_global
from vdm_jax.sampling.generate import make_generate, make_reconstruct
from vdm_jax.train.autoencoder_loss import AutoencoderLoss
from vdm_jax.train.diffusion_loss import DiffusionLoss
from vdm_jax.train.fingerprint import fingerprint
from vdm_jax.train.optimizers import make_learning_rates
from vdm_jax.train.state import abstract_state, create_state, graphdef_of
from vdm_jax.train.step import TrainingLoss, make_train_step, make_validation_step


@dataclass(frozen=True)
class Run:
    """An experiment's objects; what costs something is made when first asked for.

    opened: a reader of experiment.data that is open already, to read from in place of a new one.
    """

    experiment: Experiment
    devices: Any = field(default=None, compare=False)
    opened: Reader | None = field(default=None, compare=False)

    @property
    def source(self) -> Source:
        """What the config says of the clips."""
        return self.experiment.data

    @functools.cached_property
    def reader(self) -> Reader:
        """The clips, opened."""
        if self.opened is not None and self.opened.source == self.source:
            return self.opened
        return self.source.open()

    @functools.cached_property
    def training_reader(self) -> Reader:
        """Where the batches of training come from: the reader, or the cached latents of its clips.

        Raises:
          UserError: the latents are of another codec or of other clips, or do not tell what the network is told.
        """
        latents = self.experiment.latents
        if latents is None:
            return self.reader
        if 'codec' not in self.abstract_frozen or self.has_images:
            raise UserError(
                f'config.latents={latents}: wants a codec with weights, and clips without images beside them'
            )
        cached = CachedLatents(latents, self.reader)
        cached.check(self.encoding, self.model.scalars, self.latent_shapes)
        return cached

    @property
    def encoding(self) -> dict:
        """Clips, config and weights that the latents of the source's clips are made with, as JSON values by name."""
        after = [f'config.codec.{name}' for name in FIELDS_AFTER_MOMENTS]
        codec = {k: v for k, v in flat(self.experiment.codec, 'config.codec').items() if k not in after}
        clips = {key: value for key, value in self.drawing.items() if not key.endswith('.only')}  # a bucket, or all
        return {'clips': self.dataset_id} | clips | codec | {'weights': self.codec_fingerprint}

    @property
    def drawing(self) -> dict:
        """What of config.data decides which clips come and how they are cut, by its dotted keys."""
        found = flat(self.experiment.data, 'config.data')
        return {key: value for key, value in found.items() if not {*key.split('.')} & {*MOVABLE}}

    @functools.cached_property
    def codec_fingerprint(self) -> str | None:
        """sha256 of the codec's weights, None where it has none; hashed once, as that takes its time."""
        return fingerprint(self.frozen['codec']) if 'codec' in self.abstract_frozen else None

    @functools.cached_property
    def held_out(self) -> Reader:
        """The held-out clips; the reader itself where training takes all of them."""
        return self.reader.held_out()

    @functools.cached_property
    def text_shape(self) -> tuple[int, int] | None:
        """(S, D) of the texts that the network is told, where it looks at text and they are known."""
        if not self.model.text_width:
            return None
        cache, length = self.reader.text, self.experiment.text.length
        return cache.shape if cache else (length, self.model.text_width) if length else None

    @property
    def text_fingerprint(self) -> str | None:
        """sha256 of the encoder that made the texts of the clips, None where they have none."""
        cache = self.reader.text
        return cache.fingerprint if cache else None

    @property
    def dataset_id(self) -> str:
        """Which clips the source holds: a run that goes on, or is scored, must find the same."""
        return self.reader.identity()

    @property
    def references(self) -> tuple[Reader, Reader]:
        """The clips that samples are held against: of training, and held out."""
        return self.reader.reference, self.held_out.reference

    def for_bucket(self, bucket: int) -> 'Run':
        """The run with one of its source's buckets alone."""
        e = self.experiment
        data = self.source.for_bucket(bucket)
        train = dataclasses.replace(e.train, batch_size=self.batch_sizes[bucket])
        return Run(dataclasses.replace(e, data=data, train=train), self.devices, self.reader.for_bucket(bucket))

    @property
    def context_reader(self) -> Reader:
        """Held-out clips that samples take context frames and captions from: all of the shape of samples.

        Raises:
          UserError: there are none, as may be of a source in buckets.
        """
        reader = self.held_out if self.has_images else self.references[1]
        reader.order(1)
        return reader

    @property
    def protocol(self) -> Protocol:
        """The protocol that samples are scored under: that of config.evaluate, or the source's usual one.

        Raises:
          UserError: none is usual for the source, or the one that is named cannot score samples of the run.
        """
        return choose_protocol(self.experiment.evaluate.protocol, PROTOCOLS, self.references[0], self.model)

    @functools.cached_property
    def mesh(self) -> jax.sharding.Mesh:
        return make_mesh(self.experiment.mesh, self.devices)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(T, H, W, C) of the clips of each of the source's buckets; the first is that of samples."""
        return self.source.shapes

    @functools.cached_property
    def batch_sizes(self) -> tuple[int, ...]:
        """Clips of a batch, of each of the source's buckets."""
        return self.source.batch_sizes(self.experiment.train.batch_size)

    @functools.cached_property
    def batch_rows(self) -> tuple[int, ...]:
        """Rows of a bucket's batch as the devices hold it: what its size lacks is filled up, and counts for nothing."""
        return tuple(pad_rows(size, self.mesh, self.experiment.train.accumulate) for size in self.batch_sizes)

    @functools.cached_property
    def rows(self) -> tuple[np.ndarray, ...]:
        """The rows of a bucket's global batch that this process reads; a batch is filled up with its first ones."""
        return tuple(
            local_rows(rows, self.mesh) % size for rows, size in zip(self.batch_rows, self.batch_sizes, strict=True)
        )

    def to_global(self, batch: dict, bucket: int = 0) -> dict:
        """A batch of `rows` as global arrays, filled up, split over the devices."""
        return to_global(batch, self.mesh, self.batch_rows[bucket])

    def check(self) -> None:
        """Finds a user's mistakes in data, model, sampler and mesh before anything is written or computed."""
        validate.check(self)

    @property
    def resolved(self) -> dict:
        """The experiment as JSON values, the network's channels and classes filled in: it needs no data to be built."""
        return experiment_dict(dataclasses.replace(self.experiment, model=self.model))

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(T, H, W, C) of what the network sees of the clips that samples are like."""
        return self.latent_shapes[0]

    @functools.cached_property
    def latent_shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """The same of every bucket of the source's."""
        return tuple(map(self.experiment.codec.latent_shape, self.shapes))

    @functools.cached_property
    def model(self) -> NetworkConfig:
        """The model's config with channels, classes and grid filled in.

        Raises:
          UserError: the clips do not divide into patches.
        """
        model = self.experiment.model
        # A finished run's config has its classes: its data need not be there any more.
        classes = self.reader.num_classes if model.classes is None else model.classes
        fitted, *_ = [model.fitted(shape, classes) for shape in self.latent_shapes]
        return fitted

    @property
    def network_inputs(self) -> NetworkInputs:
        """What the network is called with in training, as far as the config says."""
        diffusion = self.experiment.diffusion
        images = self.source.images_per_clip
        return NetworkInputs(self.latent_shapes, images, diffusion.per_frame, diffusion.context)

    @functools.cached_property
    def largest(self) -> int:
        """The bucket whose batches have most pixels: the one that must fit."""
        pixels = [np.prod(shape) * rows for shape, rows in zip(self.shapes, self.batch_rows, strict=True)]
        return int(np.argmax(pixels))

    @property
    def forward_flops(self) -> float:
        """Of one forward pass on one clip, with the images behind it."""
        return self._flops(self.source.images_per_clip)

    @property
    def sampling_flops(self) -> float:
        """Of one forward pass on one video that is sampled, behind which are no images."""
        return self._flops(0)

    def _flops(self, images: int, bucket: int = 0) -> float:
        diffusion = self.experiment.diffusion
        per_frame = bool(diffusion.per_frame or diffusion.context)
        text = {'text_tokens': self.text_shape[0]} if self.text_shape else {}
        return self.model.flops(self.latent_shapes[bucket][:3], images, per_frame, **text)

    @property
    def step_flops(self) -> float:
        """Of one training step (on the bucket with most pixels): forward, twice as much backward, and once more forward
        for self-conditioning.
        """
        passes = 4 if self.experiment.diffusion.self_conditioning else 3
        images = self.source.images_per_clip
        return passes * self._flops(images, self.largest) * self.batch_sizes[self.largest]

    @property
    def has_images(self) -> bool:
        """Whether there are images behind the clips."""
        return self.source.images_per_clip > 0

    @functools.cached_property
    def merged(self) -> Callable:
        """params -> the network with them, pure."""
        graphdef, dtype = graphdef_of(self.model.build), self.model.dtype
        return lambda params: nnx.merge(graphdef, gather(params, dtype, but='layers'))

    @property
    def network(self) -> Callable:
        """(params, x_t, t, conditions, images) -> output, pure."""
        merged = self.merged
        return lambda params, *inputs: merged(params)(*inputs)

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        return self.experiment.optim.make(self.experiment.train.steps)

    @functools.cached_property
    def abstract(self):
        """The state's shapes and shardings."""
        return abstract_state(self.model.build, self.optimizer, self.experiment.ema, self.mesh)

    def create(self):
        """A fresh state at step 0."""
        return create_state(self.model.build, self.optimizer, self.experiment.ema, self.mesh, self.experiment.seed)

    @functools.cached_property
    def abstract_frozen(self) -> dict:
        """Shapes and shardings of the weights that are used and not learned, by what they are for; {} for none."""
        shapes = {'codec': self.experiment.codec.abstract_weights()} | self.training_loss.abstract_frozen
        where = self.everywhere

        def place(leaf):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

        return {name: jax.tree.map(place, tree) for name, tree in shapes.items() if tree}

    @functools.cached_property
    def frozen(self) -> dict:
        """Those weights, on the devices.

        Raises:
          UserError: the config does not say where they lie, or they are not there.
        """
        return frozen_weights.load(self)

    @functools.cached_property
    def training_loss(self) -> TrainingLoss:
        """What is learned from a batch."""
        e = self.experiment
        if self.model.autoencodes:
            return AutoencoderLoss(self.merged, e.reconstruction)
        return DiffusionLoss(self.network, e.diffusion, e.codec, self.model.classes)

    @property
    def train_step(self) -> Callable:
        """The jitted training step of the first bucket."""
        return self.train_steps[0]

    @functools.cached_property
    def train_steps(self) -> tuple[Callable, ...]:
        """The jitted training step of each bucket: state donated, shardings pinned."""
        e, shardings = self.experiment, jax.tree.map(lambda leaf: leaf.sharding, self.abstract)
        rates = make_learning_rates(e.optim, e.train.steps)

        def jitted(size):
            skips = e.train.nonfinite == 'skip'
            how = size, e.train.accumulate, skips, rates
            step = make_train_step(self.training_loss, self.optimizer, e.ema, e.seed, *how)
            return jax.jit(step, donate_argnums=0, out_shardings=(shardings, self.everywhere))

        return tuple(map(jitted, self.batch_sizes))

    @functools.cached_property
    def validation_step(self) -> Callable:
        return jax.jit(make_validation_step(self.training_loss, self.experiment.seed), out_shardings=self.everywhere)

    @property
    def everywhere(self) -> NamedSharding:
        """Whole on every device, so that every process can read it."""
        return NamedSharding(self.mesh, PartitionSpec())

    @functools.cached_property
    def generator(self) -> Callable:
        """(params, conditions, keys, frozen={}) -> uint8 videos, nothing loaded."""
        e, model = self.experiment, self.model
        if model.autoencodes:
            return make_reconstruct(self.merged)
        validate.check_sampler(self)
        return make_generate(
            self.network, e.diffusion, e.codec, e.sampler, e.guidance, self.latent_shape, model.classes
        )

    @property
    def generate(self) -> Callable:
        """(params, conditions, keys) -> uint8 videos."""
        if 'codec' not in self.abstract_frozen:
            return self.generator
        return functools.partial(self.generator, frozen={'codec': self.frozen['codec']})
