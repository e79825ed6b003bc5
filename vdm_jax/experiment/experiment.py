"""The experiment, root of all config groups: everything that an experiment file can set, checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vdm_jax.codecs.codec import Codec
from vdm_jax.codecs.identity import Identity
from vdm_jax.codecs.reconstruction import Reconstruction
from vdm_jax.config.experiment_file import load_experiment, override
from vdm_jax.config.ranges import Ranged, Seed
from vdm_jax.config.schema import flatten, to_dataclass, to_dict
from vdm_jax.data.source import Source
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.diffusion.guidance import Guidance
from vdm_jax.diffusion.objective import Objective
from vdm_jax.diffusion.samplers import Euler, Sampler
from vdm_jax.evals.protocol import EvaluateConfig
from vdm_jax.experiment.registry import CHOICES
from vdm_jax.files import check_scheme
from vdm_jax.models.dit import VideoDiTConfig
from vdm_jax.nn.config import NetworkConfig
from vdm_jax.parallel.mesh import MeshConfig
from vdm_jax.text.encoder import NoText, TextEncoder
from vdm_jax.train.checkpoint_config import CheckpointConfig
from vdm_jax.train.ema import EmaConfig
from vdm_jax.train.metrics import LogConfig
from vdm_jax.train.optimizers import AdamW, Optimizer
from vdm_jax.train.profiling import ProfileConfig
from vdm_jax.train.train_config import TrainConfig

# Only frozen dataclasses stand here, as defaults too: an experiment is compared, hashed and written as a whole.


@dataclass(frozen=True)
class Experiment(Ranged, where='config'):
    """Everything an experiment file can say, group by group.

    Attributes:
      seed: Of everything that a run draws at random.
      latents: Directory of the clips' latents, made beforehand; none: they are encoded as they come.
      data: The clips.
      model: The network.
      codec: What turns clips into latents, and back.
      text: What prompts are encoded with when sampling, and captions by cache-text; training reads those of
        config.data.text.
      diffusion: What a network learns to predict, and how noise is added.
      reconstruction: What an autoencoder learns.
      sampler: How samples are drawn.
      guidance: How far samples are guided towards their conditions.
      train: How long, how much at once, and how often something is written.
      optim: The optimizer.
      ema: Averages of the weights.
      mesh: How devices are arranged.
      checkpoint: Which checkpoints stay.
      evaluate: How samples are scored.
      profile: Which steps are traced.
      log: Where numbers go.
    """

    seed: Seed = 0
    latents: str | None = None
    data: Source = BouncingBalls()
    model: NetworkConfig = VideoDiTConfig()
    codec: Codec = Identity()
    text: TextEncoder = NoText()
    diffusion: Objective = Objective()
    reconstruction: Reconstruction = Reconstruction()
    sampler: Sampler = Euler()
    guidance: Guidance = Guidance()
    train: TrainConfig = TrainConfig()
    optim: Optimizer = AdamW()
    ema: EmaConfig = EmaConfig()
    mesh: MeshConfig = MeshConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    profile: ProfileConfig = ProfileConfig()
    log: LogConfig = LogConfig()


def read_experiment(spec: str, assignments: Sequence[str] = ()) -> Experiment:
    """Read the experiment of a file 'path.py:ARG', with command-line assignments on top, checked."""
    return experiment_from(override(load_experiment(spec), list(assignments)))


def experiment_from(groups: dict[str, Any]) -> Experiment:
    """Return the experiment that nested dicts describe, such as a run's config.json.

    Raises:
      UserError: An unknown key, a value that it does not take, a path in a store that nobody knows.
    """
    experiment = to_dataclass(Experiment, inherit_sampling(groups), CHOICES)
    # Any text may be a path: one into a store that nobody knows is found before anything is opened.
    for key, value in flatten(experiment, 'config').items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                check_scheme(text, f'{key}={text}')
    return experiment


def inherit_sampling(groups: dict[str, Any]) -> dict[str, Any]:
    """Return groups in which config.evaluate's sampler and guidance have the keys that only config's own set.

    So that --config.evaluate.sampler.steps=20 is config.sampler with other steps. One that names a sampler is all its
    own.
    """
    evaluate = groups.get('evaluate')
    if not isinstance(evaluate, dict):
        return groups

    inherited = {}
    for name, annotation in (('sampler', Sampler), ('guidance', Guidance)):
        own = evaluate.get(name)
        # An empty name is that of the short form.
        if isinstance(own, dict) and own and not {'name', ''} & own.keys():
            below = groups.get(name, {})
            if annotation in CHOICES and isinstance(below, dict) and not {'name', ''} & below.keys():
                below = {'name': CHOICES[annotation].name_of(getattr(Experiment, name))} | below
            inherited[name] = _put_over(below, own)
    return groups | {'evaluate': evaluate | inherited}


def _put_over(below: Any, above: dict[str, Any]) -> dict[str, Any]:
    """Return a group with the keys of another one over it; a short form of a choice is its name."""
    merged = dict(below) if isinstance(below, dict) else {'': below}
    for name, value in above.items():
        has_own_name = isinstance(value, dict) and ('name' in value or '' in value)
        is_group = isinstance(value, dict) and name in merged and not has_own_name
        merged[name] = _put_over(merged[name], value) if is_group else value
    return merged


def experiment_dict(experiment: Experiment) -> dict[str, Any]:
    """Return nested dicts of JSON values that `experiment_from` takes back."""
    groups: dict[str, Any] = to_dict(experiment, CHOICES)
    return groups
