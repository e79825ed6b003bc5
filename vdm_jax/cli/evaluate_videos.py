"""Score anybody's videos, or features of them, beside real ones: evaluate --real=PATH --fake=PATH."""

import argparse
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from vdm_jax.errors import UserError

if TYPE_CHECKING:
    from vdm_jax.evals.judge import Draw
    from vdm_jax.evals.protocol import EvaluateConfig, Protocol
    from vdm_jax.evals.score import Score

USUAL = 'feature_distance'  # protocol, where none is named
GROUP = '--config.evaluate.'


def score_videos(args: argparse.Namespace, assignments: list[str]) -> 'Score':
    """Return the score of the videos of --fake beside those of --real.

    Raises:
      UserError: One of the two is missing, something is no video, or the protocol scores samples of runs alone.
    """
    import jax

    from vdm_jax.evals import runner
    from vdm_jax.evals.features.arrays import holds_features
    from vdm_jax.experiment.feature_networks import open_weights
    from vdm_jax.parallel.mesh import MeshConfig, make_mesh
    from vdm_jax.train.workdir import describe_environment

    for option, value in (('--real', args.real), ('--fake', args.fake)):
        if not value:
            raise UserError(f'evaluate: {option}=PATH is missing: --real and --fake are scored together')
    for option, value in (('--workdir', args.workdir), ('--weights', args.weights)):
        if value:
            raise UserError(f'evaluate: {option}={value}: give it, or --real and --fake')
    config, protocol = read_config(args, assignments)
    about = describe(args, config, assignments) | {'environment': describe_environment()}
    if holds_features(args.real) or holds_features(args.fake):
        return score_features(args, protocol, about)

    cut = protocol.cut_videos()
    if cut is None:
        raise UserError(f'--protocol={args.protocol}: scores samples of a run alone; want --workdir or --weights')
    real = open_set(args.real, '--real', args.size, cut)
    fake = open_set(args.fake, '--fake', args.size, cut)
    if real.shape != fake.shape:
        sizes = ' and '.join(f'{height}x{width}' for _, height, width, _ in (real.shape, fake.shape))
        raise UserError(f'--real and --fake: frames of {sizes}; want one size, or --size=HEIGHTxWIDTH to bring them to')
    config = dataclasses.replace(config, samples=len(fake), real=min(len(real), config.real))
    with jax.set_mesh(make_mesh(MeshConfig())):
        draw = draw_from(fake, args.fake, config.batch_size)
        return runner.evaluate(protocol, draw, real, real, config, about, partial=args.out, open_weights=open_weights)


def read_config(args: argparse.Namespace, assignments: list[str]) -> tuple['EvaluateConfig', 'Protocol']:
    """Return config.evaluate as the command line has it, and its protocol; nothing else of a config can be set.

    Raises:
      UserError: Another key is set, or one is out of range.
    """
    from vdm_jax.config.experiment_file import override
    from vdm_jax.config.schema import to_dataclass
    from vdm_jax.evals.protocol import EvaluateConfig, Protocol
    from vdm_jax.experiment.registry import CHOICES

    for assignment in assignments:
        if not assignment.startswith(GROUP):
            raise UserError(f'{assignment}: there is no run; want {GROUP}KEY=VALUE')
    # All real clips there are, unless fewer are wanted.
    groups: dict[str, Any] = {'evaluate': {'protocol': args.protocol or USUAL, 'real': 2**20}}
    if args.batch_size is not None:
        groups['evaluate']['batch_size'] = args.batch_size
    config = to_dataclass(EvaluateConfig, override(groups, assignments)['evaluate'], CHOICES, 'config.evaluate')
    if not isinstance(config.protocol, Protocol):
        raise UserError('config.evaluate.protocol=usual: of videos without a run none is; want its name')
    return config, config.protocol


def describe(args: argparse.Namespace, config: 'EvaluateConfig', assignments: list[str]) -> dict[str, Any]:
    """Return what belongs to the score besides its figures."""
    from vdm_jax.config.schema import to_dict
    from vdm_jax.evals.protocol import ProtocolConfig
    from vdm_jax.experiment.registry import CHOICES

    protocol = to_dict(config.protocol, CHOICES, ProtocolConfig)
    return {'protocol': protocol, 'real': args.real, 'fake': args.fake, 'size': args.size, 'overrides': assignments}


def open_set(path: str, option: str, size: str | None, cut: Any) -> Any:
    """Return a reader of the videos of a path."""
    from vdm_jax.data.video_set import VideoSet

    return VideoSet(path, frames=cut.frames, cut=cut.which, resize=size, option=option).open()


def draw_from(fake: Any, path: str, batch_size: int) -> 'Draw':
    """Return what reads videos in the place of a sampler."""
    from vdm_jax.data.clip_batches import read_videos

    def draw(labels: np.ndarray, conditions_of: Any, first: int) -> Iterator[np.ndarray]:
        del conditions_of
        count = len(labels)
        if len(fake) < count:
            raise UserError(f'--fake={path}: {len(fake)} clips; the protocol wants {count}')
        for begin in range(first, count, batch_size):
            yield read_videos(fake, range(begin, min(begin + batch_size, count)))

    return draw


def score_features(args: argparse.Namespace, protocol: 'Protocol', about: dict[str, Any]) -> 'Score':
    """Return the score of features that others have computed.

    Raises:
      UserError: The files hold none, or the protocol computes its own.
    """
    from vdm_jax.evals.feature_distance.protocol import FeatureDistance
    from vdm_jax.evals.feature_distance.stored import score_stored
    from vdm_jax.evals.features.arrays import read_features

    if not isinstance(protocol, FeatureDistance):
        raise UserError(f'--protocol={args.protocol}: of features, such as those of {args.fake}, want {USUAL}')
    real = read_features(args.real, called='--real')
    fake = read_features(args.fake, called='--fake')
    score = score_stored(protocol, real, fake)
    return dataclasses.replace(score, settings=score.settings | about)
