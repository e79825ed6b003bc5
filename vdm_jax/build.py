"""THE INDEX: every name a config can say, and how a checked config becomes the objects of a run."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import optax
from flax import nnx

from vdm_jax.codecs.identity import Codec, Identity
from vdm_jax.config import Choice, load_experiment, override, to_dataclass, to_dict
from vdm_jax.data.bouncing_balls import BouncingBalls
from vdm_jax.data.source import Source
from vdm_jax.data.synthetic import Synthetic
from vdm_jax.data.video_folder import VideoFolder
from vdm_jax.diffusion.loss import Constant, MinSNR, Velocity, Weighting
from vdm_jax.diffusion.objective import Objective
from vdm_jax.diffusion.process import DDPM, Process, RectifiedFlow
from vdm_jax.diffusion.samplers import DDIM, Euler, Sampler
from vdm_jax.errors import UserError
from vdm_jax.evals.protocols import BallPhysics, EvaluateConfig, Protocol, Recall
from vdm_jax.generate import make_generate
from vdm_jax.models.dit import VideoDiT, VideoDiTConfig
from vdm_jax.parallel.mesh import MeshConfig, check_batch, make_mesh
from vdm_jax.train.checkpoint import CheckpointConfig
from vdm_jax.train.ema import EmaConfig
from vdm_jax.train.loop import TrainConfig
from vdm_jax.train.optim import OptimConfig, make_optimizer
from vdm_jax.train.state import abstract_state, create_state, graphdef_of
from vdm_jax.train.step import make_train_step, make_validation_step

MODELS = {'video_dit': VideoDiTConfig}
NETWORKS = {VideoDiTConfig: VideoDiT}
PROCESSES = {'ddpm': DDPM, 'rectified_flow': RectifiedFlow}
WEIGHTINGS = {'constant': Constant, 'min_snr': MinSNR, 'velocity': Velocity}
SAMPLERS = {'ddim': DDIM, 'euler': Euler}
SOURCES = {'bouncing_balls': BouncingBalls, 'video_folder': VideoFolder, 'synthetic': Synthetic}
CODECS = {'identity': Identity}
PROTOCOLS = {'ball_physics': BallPhysics(), 'recall': Recall()}
USUAL_PROTOCOL = {BouncingBalls: 'ball_physics', VideoFolder: 'recall'}

CHOICES = {
    VideoDiTConfig: Choice('name', MODELS),
    Process: Choice('name', PROCESSES),
    Weighting: Choice('name', WEIGHTINGS),
    Sampler: Choice('name', SAMPLERS),
    Source: Choice('source', SOURCES),
    Codec: Choice('name', CODECS),
}


@dataclass(frozen=True)
class Experiment:
    """Everything an experiment file can say, group by group."""

    seed: int = 0
    data: Source = BouncingBalls()  # noqa: RUF009, frozen
    model: VideoDiTConfig = VideoDiTConfig()
    codec: Codec = Identity()
    diffusion: Objective = Objective()
    sampler: Sampler = Euler()
    train: TrainConfig = TrainConfig()
    optim: OptimConfig = OptimConfig()
    ema: EmaConfig = EmaConfig()
    mesh: MeshConfig = MeshConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


def read_experiment(spec: str, assignments: list[str] = ()) -> Experiment:
    """The experiment of a file 'path.py:ARG' with command-line assignments on top, checked."""
    return experiment_from(override(load_experiment(spec), list(assignments)))


def experiment_from(groups: dict) -> Experiment:
    """The experiment that nested dicts describe, such as a run's config.json."""
    return to_dataclass(Experiment, groups, CHOICES)


def experiment_dict(experiment: Experiment) -> dict:
    """Nested dicts of JSON values that `experiment_from` takes back."""
    return to_dict(experiment, CHOICES)


@dataclass(frozen=True)
class Run:
    """An experiment's objects; what costs something is made when first asked for."""

    experiment: Experiment
    devices: Any = field(default=None, compare=False)

    @functools.cached_property
    def source(self) -> Source:
        return self.experiment.data

    @functools.cached_property
    def held_out(self) -> Source:
        """The source's test split; the source itself where training takes all of it."""
        trained = getattr(self.source, 'split', 'all')
        return dataclasses.replace(self.source, split='test') if trained == 'train' else self.source

    def protocol(self, name: str | None = None) -> Protocol:
        """The evaluation protocol called `name`, or the source's usual one.

        Raises:
          UserError: no such protocol, none that is usual for the source, or one that is for other sources.
        """
        name = name or USUAL_PROTOCOL.get(type(self.source))
        if name not in PROTOCOLS:
            raise UserError(f'--protocol={name}: want one of {", ".join(PROTOCOLS)}')
        if not isinstance(self.source, PROTOCOLS[name].sources):
            raise UserError(f'--protocol={name}: it cannot score samples of a {type(self.source).__name__}')
        return PROTOCOLS[name]

    @functools.cached_property
    def mesh(self) -> jax.sharding.Mesh:
        return make_mesh(self.experiment.mesh, self.devices)

    def check(self) -> None:
        """Finds a user's mistakes in data, model, sampler and mesh before anything is written or computed."""
        check_batch(self.experiment.train.batch_size, self.mesh)
        if 0 < self.model.classes < self.source.num_classes:
            raise UserError(
                f'config.model.classes={self.model.classes}: the source has labels 0 to {self.source.num_classes - 1}'
            )
        self.check_sampler()
        len(self.source), self.abstract  # noqa: B018, both raise UserErrors
        if self.experiment.train.validate_every:
            len(self.held_out)

    def check_sampler(self) -> None:
        """Whether the sampler suits process and network.

        Raises:
          UserError: more steps than the process has, or guidance without a network that knows what "no label" means.
        """
        sampler, diffusion = self.experiment.sampler, self.experiment.diffusion
        try:
            diffusion.process.times(sampler.steps)
        except ValueError as error:
            raise UserError(str(error)) from None
        if sampler.guidance != 1 and not (self.model.classes and diffusion.label_dropout):
            raise UserError(
                f'config.sampler.guidance={sampler.guidance}: the network never learned "no label", as there are '
                f'{self.model.classes} classes and config.diffusion.label_dropout={diffusion.label_dropout}; set 1'
            )

    @property
    def resolved(self) -> dict:
        """The experiment as JSON values, the network's channels and classes filled in: it needs no data to be built."""
        return experiment_dict(dataclasses.replace(self.experiment, model=self.model))

    @functools.cached_property
    def latent_shape(self) -> tuple[int, int, int, int]:
        return self.experiment.codec.latent_shape(self.source.shape)

    @functools.cached_property
    def model(self) -> VideoDiTConfig:
        """The model's config with channels and classes filled in.

        Raises:
          UserError: the clips do not divide into patches.
        """
        model = self.experiment.model
        frames, height, width, channels = self.latent_shape
        sides = {'frames': (frames, 'time_patch'), 'height': (height, 'patch'), 'width': (width, 'patch')}
        for name, (side, patch) in sides.items():
            if side % getattr(model, patch):
                key = 'frames' if name == 'frames' else 'pixels'
                raise UserError(
                    f'config.model.{patch}={getattr(model, patch)} does not divide the {name} of {side} that the '
                    f'network sees; choose another {patch}, or another config.data.{key}'
                )
        if model.channels not in (None, channels):
            raise UserError(f'config.model.channels={model.channels}: the codec gives {channels}; leave it out')
        classes = self.source.num_classes if model.classes is None else model.classes
        return dataclasses.replace(model, channels=channels, classes=classes)

    def make_model(self, rngs: nnx.Rngs) -> nnx.Module:
        return NETWORKS[type(self.model)](self.model, rngs=rngs)

    @functools.cached_property
    def network(self) -> Callable:
        """(params, x_t, t, label) -> prediction, pure."""
        graphdef = graphdef_of(self.make_model)
        return lambda params, x_t, t, label: nnx.merge(graphdef, params)(x_t, t, label)

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        return make_optimizer(self.experiment.optim, self.experiment.train.steps)

    @functools.cached_property
    def abstract(self):
        """The state's shapes and shardings."""
        return abstract_state(self.make_model, self.optimizer, self.experiment.ema, self.mesh)

    def create(self):
        """A fresh state at step 0."""
        return create_state(self.make_model, self.optimizer, self.experiment.ema, self.mesh, self.experiment.seed)

    @functools.cached_property
    def train_step(self) -> Callable:
        """The jitted training step: state donated, shardings pinned."""
        e, shardings = self.experiment, jax.tree.map(lambda leaf: leaf.sharding, self.abstract)
        step = make_train_step(self.network, e.diffusion, e.codec, self.optimizer, e.ema, self.model.classes, e.seed)
        return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))

    @functools.cached_property
    def validation_step(self) -> Callable:
        e = self.experiment
        return jax.jit(make_validation_step(self.network, e.diffusion, e.codec, self.model.classes, e.seed))

    @functools.cached_property
    def generate(self) -> Callable:
        """(params, label_B, keys) -> uint8 videos."""
        self.check_sampler()
        e = self.experiment
        return make_generate(self.network, e.diffusion, e.codec, e.sampler, self.latent_shape, self.model.classes)
