"""The compiled programs of a run: training steps, validation, sampling, and the state that they work on."""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax
from jax.sharding import NamedSharding, PartitionSpec

from vdm_jax.experiment import validate
from vdm_jax.experiment.experiment import Experiment
from vdm_jax.experiment.network_plan import NetworkPlan
from vdm_jax.sampling.video_sampler import make_generate, make_reconstruct
from vdm_jax.train.autoencoder_loss import AutoencoderLoss
from vdm_jax.train.diffusion_loss import DiffusionLoss
from vdm_jax.train.optimizers import make_learning_rates
from vdm_jax.train.state import TrainState, abstract_state, create_state
from vdm_jax.train.step import TrainingLoss, make_train_step, make_validation_step


@dataclass(frozen=True, eq=False)
class Programs:
    """What is compiled for a run; each program is made once, when it is first needed.

    Two runs of one network on one mesh may share them (Run.programs), so that nothing compiles again.

    Attributes:
      experiment: The config.
      network: What is trained and sampled.
      batch_sizes: Clips of a batch of each bucket.
      mesh: The devices.
    """

    experiment: Experiment
    network: NetworkPlan
    batch_sizes: tuple[int, ...]
    mesh: jax.sharding.Mesh

    def with_programs(self, **programs: Any) -> 'Programs':
        """Return these programs with others in the place of some, by name; what is made already is shared."""
        # A cached_property keeps what it made in the object's dict, from where it is read before anything is made.
        changed = copy.copy(self)
        vars(changed).update(programs)
        return changed

    @property
    def replicated_sharding(self) -> NamedSharding:
        """All of an array on every device, so that every process can read it."""
        return NamedSharding(self.mesh, PartitionSpec())

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """Of all steps of the run."""
        return self.experiment.optim.make(self.experiment.train.steps)

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """Shapes and shardings of the state."""
        config = self.network.config
        return abstract_state(config.build, self.optimizer, self.experiment.ema, self.mesh, config.sharding_rules)

    def init_state(self) -> TrainState:
        """Return a fresh state at step 0."""
        config = self.network.config
        return create_state(
            config.build, self.optimizer, self.experiment.ema, self.abstract_state, self.experiment.seed
        )

    @functools.cached_property
    def loss(self) -> TrainingLoss:
        """What is learned from a batch."""
        if self.network.config.autoencodes:
            return AutoencoderLoss(self.network.merge, self.experiment.reconstruction)
        return DiffusionLoss(self.network.apply, self.experiment.diffusion, self.experiment.codec, self.network.classes)

    @functools.cached_property
    def abstract_frozen(self) -> dict[str, Any]:
        """Shapes and shardings of the weights that are used and not learned, by what they are for; {} for none."""
        shapes = {'codec': self.experiment.codec.abstract_weights()} | self.loss.abstract_frozen

        # Small beside the state, and read by every row: each device holds all of them.
        def replicate(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.replicated_sharding)

        return {name: jax.tree.map(replicate, tree) for name, tree in shapes.items() if tree}

    @property
    def train_step(self) -> Callable[..., Any]:
        """The jitted training step of the first bucket."""
        return self.train_steps[0]

    @functools.cached_property
    def train_steps(self) -> tuple[Callable[..., Any], ...]:
        """The jitted training step of each bucket: state donated, shardings pinned."""
        config = self.experiment.train
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state)
        learning_rates = make_learning_rates(self.experiment.optim, config.steps)

        def jit_step(batch_size: int) -> Callable[..., Any]:
            step = make_train_step(
                self.loss,
                self.optimizer,
                self.experiment.ema,
                self.experiment.seed,
                batch_size,
                config.accumulate,
                config.nonfinite == 'skip',
                learning_rates,
            )
            # Donated, as two states at a time would not fit. Pinned, as the compiler might choose other shardings, for
            # which the next step would compile anew.
            return jax.jit(step, donate_argnums=0, out_shardings=(shardings, self.replicated_sharding))

        return tuple(map(jit_step, self.batch_sizes))

    @functools.cached_property
    def validation_step(self) -> Callable[..., Any]:
        """The jitted validation step, of every bucket."""
        # Of no bucket in particular: jit compiles it for each shape that it is called with.
        step = make_validation_step(self.loss, self.experiment.seed)
        return jax.jit(step, out_shardings=self.replicated_sharding)

    @functools.cached_property
    def generator(self) -> Callable[..., Any]:
        """(params, conditions, keys, frozen={}) -> Videos (sampling/video_sampler.py), with no weights loaded.

        Raises:
          UserError: The sampler does not suit the process or the network.
        """
        if self.network.config.autoencodes:
            return make_reconstruct(self.network.merge)

        validate.check_sampler(self.experiment, self.network)
        return make_generate(
            self.network.apply,
            self.experiment.diffusion,
            self.experiment.codec,
            self.experiment.sampler,
            self.experiment.guidance,
            self.network.latent_shape,
            self.network.classes,
        )
