"""A run: the objects of one experiment. Expensive ones are built when they are first needed, and kept."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
from etils import epath

from vdm_jax.config.schema import flatten
from vdm_jax.data.latents.source import CachedLatents
from vdm_jax.data.source import Reader
from vdm_jax.errors import UserError
from vdm_jax.evals.protocol import Protocol
from vdm_jax.evals.runner import AfterBatch
from vdm_jax.evals.score import Score
from vdm_jax.evals.select import Selection, choose_protocol, select_protocols
from vdm_jax.experiment import frozen_weights, scoring, validate
from vdm_jax.experiment.data_plan import BatchLayout, DataPlan
from vdm_jax.experiment.experiment import Experiment, experiment_dict
from vdm_jax.experiment.network_plan import NetworkPlan, fill_in, latent_shapes
from vdm_jax.experiment.programs import Programs
from vdm_jax.experiment.registry import PROTOCOLS
from vdm_jax.nn.config import NetworkConfig
from vdm_jax.parallel.mesh import make_mesh
from vdm_jax.train.fingerprint import fingerprint
from vdm_jax.train.types import Params


@dataclass(frozen=True)
class Run:
    """The objects of one experiment: its clips, its network, its compiled programs, and what joins them.

    Attributes:
      experiment: The config.
      devices: The devices of its mesh; None for all there are.
    """

    experiment: Experiment
    devices: Sequence[jax.Device] | None = field(default=None, compare=False)

    @functools.cached_property
    def mesh(self) -> jax.sharding.Mesh:
        """The devices, arranged as config.mesh says."""
        return make_mesh(self.experiment.mesh, self.devices)

    @functools.cached_property
    def data(self) -> DataPlan:
        """Which clips there are."""
        return DataPlan(self.experiment.data, self.experiment.train.batch_size)

    @functools.cached_property
    def batch_layout(self) -> BatchLayout:
        """How batches of clips lie on the devices."""
        return BatchLayout(self.data.shapes, self.data.batch_sizes, self.experiment.train.accumulate, self.mesh)

    @functools.cached_property
    def network(self) -> NetworkPlan:
        """The network.

        Raises:
          UserError: It does not take clips of these shapes.
        """
        return NetworkPlan(
            self.model_config,
            self.experiment.codec,
            self.experiment.diffusion,
            self.data.shapes,
            self.data.source.images_per_clip,
        )

    @functools.cached_property
    def programs(self) -> Programs:
        """Training steps, validation and sampling, compiled."""
        return Programs(self.experiment, self.network, self.data.batch_sizes, self.mesh)

    @functools.cached_property
    def model_config(self) -> NetworkConfig:
        """The network's config, with channels, classes and grid filled in.

        Raises:
          UserError: The clips do not divide into patches.
        """
        config = self.experiment.model
        # A finished run's config has its classes: its data need not be there any more.
        classes = self.data.reader.num_classes if config.classes is None else config.classes
        return fill_in(config, latent_shapes(self.experiment.codec, self.data.shapes), classes)

    @functools.cached_property
    def text_shape(self) -> tuple[int, int] | None:
        """(S, D) of the texts, None where the network takes none, or they are not known."""
        width = self.model_config.text_width
        if not width:
            return None
        # Captions decide where the clips have some; of prompts alone it is the encoder that knows.
        texts = self.data.reader.text
        if texts:
            return texts.shape
        length = self.experiment.text.length
        return (length, width) if length else None

    def check(self) -> None:
        """Find a user's mistakes in data, model, sampler and mesh before anything is written or computed."""
        validate.check(self)
        # Last, as it may take its time: features of real clips are computed.
        if self.experiment.train.evaluate_every:
            validate.check_evaluation(self, scoring.check)

    @property
    def resolved(self) -> dict[str, Any]:
        """The experiment as JSON values, the network's channels and classes filled in: it needs no data to be built."""
        return experiment_dict(dataclasses.replace(self.experiment, model=self.model_config))

    @property
    def protocol(self) -> Protocol:
        """The protocol that samples are scored under: that of config.evaluate, or the source's usual one.

        Raises:
          UserError: None is usual for the source, or the one that is named cannot score samples of the run.
        """
        # By the clips that samples are held against: those of other buckets have no score.
        named = self.experiment.evaluate.protocol
        return choose_protocol(named, PROTOCOLS, self.data.reader.reference, self.model_config)

    @property
    def protocols(self) -> Selection:
        """The protocols that samples are scored under: those of a suite that fit, or the one that there is.

        Raises:
          UserError: As `protocol`, or none of a suite fits.
        """
        named = self.experiment.evaluate.protocol
        reference = self.data.reader.reference
        return select_protocols(named, PROTOCOLS, reference, self.model_config, self.network.context_frames)

    @functools.cached_property
    def evaluation_run(self) -> 'Run':
        """The run that draws what is scored: this one, or one with the sampler and guidance of config.evaluate."""
        return scoring.make_evaluation_run(self)

    def score_average(
        self, params: Params, workdir: epath.PathLike, step: int, partial: epath.PathLike, after_batch: AfterBatch
    ) -> Score:
        """Return the score of the first average at a step of training, the one that evaluate --workdir would give.

        Args:
          params: The average.
          workdir: The run directory.
          step: Of training.
          partial: As scoring.score has it.
          after_batch: The same.
        """
        about = scoring.describe_average(self, workdir, step)
        return scoring.score(self, self.protocol, params, about, partial, after_batch=after_batch)

    @functools.cached_property
    def frozen(self) -> dict[str, Any]:
        """Weights that are used and not learned, on the devices, by what they are for.

        Raises:
          UserError: The config does not say where they lie, or they are not there.
        """
        return frozen_weights.load(self)

    @functools.cached_property
    def codec_fingerprint(self) -> str | None:
        """sha256 of the codec's weights, None where it has none; hashed once, as that takes its time."""
        return fingerprint(self.frozen['codec']) if 'codec' in self.programs.abstract_frozen else None

    @functools.cached_property
    def training_reader(self) -> Reader:
        """Where the batches of training come from: the clips, or the cached latents of them.

        Raises:
          UserError: The latents are of another codec or of other clips, or lack conditions of the network.
        """
        path = self.experiment.latents
        if path is None:
            return self.data.reader
        if 'codec' not in self.programs.abstract_frozen or self.data.has_images:
            raise UserError(f'config.latents={path}: wants a codec with weights, and clips without images beside them')
        # Checked at once, since latents of another codec would train without an error.
        cached = CachedLatents(path, self.data.reader)
        cached.check(self.latent_cache_key, self.model_config.scalars, self.network.latent_shapes)
        return cached

    @property
    def latent_cache_key(self) -> dict[str, Any]:
        """Clips, config and weights that the latents of the clips are made with, as JSON values by name."""
        # What only acts on moments may change without the cache being made anew.
        codec = self.experiment.codec
        after = [f'config.codec.{name}' for name in codec.fields_after_moments]
        before = {key: value for key, value in flatten(codec, 'config.codec').items() if key not in after}
        # A cache is of all buckets, also for a run of one of them.
        clips = {key: value for key, value in self.data.clip_config.items() if not key.endswith('.only')}
        return {'clips': self.data.dataset_id} | clips | before | {'weights': self.codec_fingerprint}

    @property
    def forward_flops(self) -> float:
        """Floating-point operations of one forward pass on one clip, with the images behind it."""
        return self._flops(self.network.images)

    @property
    def sampling_flops(self) -> float:
        """Floating-point operations of one forward pass on one video that is sampled, behind which are no images."""
        return self._flops(0)

    @property
    def step_flops(self) -> float:
        """Floating-point operations of one training step, of the bucket with most pixels.

        Forward, twice as much backward, and once more forward for self-conditioning.
        """
        passes = 4 if self.experiment.diffusion.self_conditioning else 3
        bucket = self.batch_layout.largest
        return passes * self._flops(self.network.images, bucket) * self.data.batch_sizes[bucket]

    def _flops(self, images: int, bucket: int = 0) -> float:
        text_tokens = self.text_shape[0] if self.text_shape else None
        return self.network.flops(images, bucket, text_tokens)

    @property
    def generate(self) -> Callable[..., Any]:
        """(params, conditions, keys) -> (videos uint8 (B, T, H, W, C), whether each is finite (B,))."""
        if 'codec' not in self.programs.abstract_frozen:
            return self.programs.generator
        # Bound here, so that callers need not know whether the codec has weights.
        return functools.partial(self.programs.generator, frozen={'codec': self.frozen['codec']})

    def with_experiment(self, experiment: Experiment) -> 'Run':
        """Return a run of another experiment on the same devices."""
        return Run(experiment, self.devices)

    def with_parts(self, **parts: Any) -> 'Run':
        """Return the run with parts that another run has made already, by name: `data`, `programs` or `frozen`.

        Two runs of one network on one mesh may share their programs, so that nothing compiles again.
        """
        run = Run(self.experiment, self.devices)
        # Where a cached_property looks before it makes anything.
        vars(run).update(parts)
        return run

    def for_bucket(self, bucket: int) -> 'Run':
        """Return the run with one of its source's buckets alone."""
        data = self.data.source.for_bucket(bucket)
        train = dataclasses.replace(self.experiment.train, batch_size=self.data.batch_sizes[bucket])
        experiment = dataclasses.replace(self.experiment, data=data, train=train)
        # With files and counters in common, so that the set is read once.
        opened = self.data.reader.for_bucket(bucket)
        return Run(experiment, self.devices).with_parts(data=DataPlan(data, train.batch_size, opened))
