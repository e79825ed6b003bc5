"""Score anybody's videos, or features of them, beside real ones: evaluate --real=PATH --fake=PATH."""

import argparse
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from vdm_jax.cli.options import is_set
from vdm_jax.errors import UserError

if TYPE_CHECKING:
    from vdm_jax.data.video_set import VideoSetReader
    from vdm_jax.evals.feature_distance.protocol import FeatureDistance
    from vdm_jax.evals.judge import Draw
    from vdm_jax.evals.protocol import EvaluateConfig, Protocol, VideoCut
    from vdm_jax.evals.score import Score

USUAL = 'feature_distance'  # protocol, where none is named
GROUP = '--config.evaluate.'
# How samples of a run are drawn, and of which.
OF_SAMPLES = ('--weights', '--step', '--ema', '--steps', '--guidance', '--allow-other-codec', '--scalars')
MOST = 2**20  # clips: all there are
KEYS_OF_RUNS = ('train', 'sampler', 'guidance')  # of config.evaluate
# What distances of features that others computed hang on.
OF_FEATURES = ('distances', 'divisor', 'root', 'seed', 'rounds')


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
    for option in ('--workdir', *OF_SAMPLES):
        if is_set(args, option):
            raise UserError(f'evaluate: {option} is of samples of a run: give it, or --real and --fake')
    config, protocol = read_config(args, assignments)
    about = describe(args, config, assignments) | {'environment': describe_environment()}
    if holds_features(args.real) or holds_features(args.fake):
        return score_features(args, config, about)

    cut = protocol.cut_videos()
    if cut is None:
        raise UserError(
            f'--protocol={name_protocol(config)}: scores samples of a run alone; want --workdir or --weights'
        )
    real = open_set(args.real, '--real', args.size, cut)
    fake = open_set(args.fake, '--fake', args.size, cut)
    if real.shape != fake.shape:
        sizes = ' and '.join(f'{height}x{width}' for _, height, width, _ in (real.shape, fake.shape))
        raise UserError(f'--real and --fake: frames of {sizes}; want one size, or --size=HEIGHTxWIDTH to bring them to')
    limits = config
    config = dataclasses.replace(config, samples=min(len(fake), config.samples), real=min(len(real), config.real))
    wanted = protocol.count_videos(config, len(real))
    if wanted > len(fake):
        raise UserError(f'--fake={args.fake}: {len(fake)} clips; the protocol wants {wanted}')
    check_number('samples', limits.samples, wanted)
    check_number('real', limits.real, protocol.count_real(config, len(real)))
    about |= {'fake_clips': len(fake)}
    with jax.set_mesh(make_mesh(MeshConfig())):
        return runner.evaluate(
            protocol,
            draw_from(fake, config.batch_size),
            real,
            real,
            config,
            about,
            partial=args.out,
            open_weights=open_weights,
            identity=f'{real.identity()}, {fake.identity()}',
        )


def check_number(key: str, limit: int, wanted: int) -> None:
    """Check that a number of clips that was set is not below what the protocol takes all the same.

    Raises:
      UserError: It is.
    """
    if limit < wanted:
        raise UserError(f'config.evaluate.{key}={limit}: the protocol takes {wanted}; leave it out')


def read_config(args: argparse.Namespace, assignments: list[str]) -> tuple['EvaluateConfig', 'Protocol']:
    """Return config.evaluate as the command line has it, and its protocol; nothing else of a config can be set.

    Raises:
      UserError: Another key is set, or one of samples that a run makes, or one is out of range.
    """
    from vdm_jax.config.experiment_file import override
    from vdm_jax.config.schema import to_dataclass
    from vdm_jax.evals.protocol import EvaluateConfig, Protocol
    from vdm_jax.experiment.registry import CHOICES

    for assignment in assignments:
        if not assignment.startswith(GROUP):
            raise UserError(f'{assignment}: there is no run; want {GROUP}KEY=VALUE')
    # All clips there are, unless fewer are wanted.
    groups: dict[str, Any] = {'evaluate': {'protocol': args.protocol or USUAL, 'real': MOST, 'samples': MOST}}
    if args.batch_size is not None:
        groups['evaluate']['batch_size'] = args.batch_size
    config = to_dataclass(EvaluateConfig, override(groups, assignments)['evaluate'], CHOICES, 'config.evaluate')
    usual = EvaluateConfig()
    for key in KEYS_OF_RUNS:
        if vars(config)[key] != vars(usual)[key]:
            raise UserError(f'config.evaluate.{key}: is of samples of a run; leave it out')
    if not isinstance(config.protocol, Protocol):
        raise UserError(
            f'--protocol={name_protocol(config)}: is chosen by the data of a run; of videos without one want its name'
        )
    return config, config.protocol


def name_protocol(config: 'EvaluateConfig') -> str:
    """Return the name of the protocol, wherever it was set."""
    from vdm_jax.config.schema import to_dict
    from vdm_jax.evals.protocol import ProtocolConfig
    from vdm_jax.experiment.registry import CHOICES

    return str(to_dict(config.protocol, CHOICES, ProtocolConfig)['name'])


def describe(args: argparse.Namespace, config: 'EvaluateConfig', assignments: list[str]) -> dict[str, Any]:
    """Return what belongs to the score besides its figures."""
    from vdm_jax.config.schema import to_dict
    from vdm_jax.evals.protocol import ProtocolConfig
    from vdm_jax.experiment.registry import CHOICES

    protocol = to_dict(config.protocol, CHOICES, ProtocolConfig)
    return {'protocol': protocol, 'real': args.real, 'fake': args.fake, 'size': args.size, 'overrides': assignments}


def open_set(path: str, option: str, size: int | str | None, cut: 'VideoCut') -> 'VideoSetReader':
    """Return a reader of the videos of a path."""
    from vdm_jax.config.frame_size import read_pixels
    from vdm_jax.data.video_set import VideoSet

    size = None if size is None else read_pixels(size, '--size')
    return VideoSet(path, frames=cut.frames, cut=cut.which, resize=size, option=option).open()


def draw_from(fake: 'VideoSetReader', batch_size: int) -> 'Draw':
    """Return what reads videos in the place of a sampler."""
    from vdm_jax.data.clip_batches import read_videos

    def draw(labels: np.ndarray, conditions_of: Any, first: int) -> Iterator[np.ndarray]:
        del conditions_of
        count = len(labels)
        for begin in range(first, count, batch_size):
            yield read_videos(fake, range(begin, min(begin + batch_size, count)))

    return draw


def score_features(args: argparse.Namespace, config: 'EvaluateConfig', about: dict[str, Any]) -> 'Score':
    """Return the score of features that others have computed.

    Raises:
      UserError: The files hold none, or the protocol computes its own.
    """
    from vdm_jax.data.stored_videos import holds_videos
    from vdm_jax.evals.feature_distance.protocol import FeatureDistance
    from vdm_jax.evals.feature_distance.stored import score_stored
    from vdm_jax.evals.features.arrays import holds_features, read_features

    pair = {'--real': args.real, '--fake': args.fake}
    protocol = config.protocol
    of_features = [f'{option}={path}' for option, path in pair.items() if holds_features(path)]
    for option, path in pair.items():
        if holds_features(path):
            continue
        if not holds_videos(path):
            # It is damaged, or not there: who reads it says so.
            read_features(path, called=option)
        raise UserError(
            f'{of_features[0]} holds features, {option}={path} does not: want both as features, or as videos'
        )
    if not isinstance(protocol, FeatureDistance):
        raise UserError(f'--protocol={name_protocol(config)}: of features, such as those of {args.fake}, want {USUAL}')
    check_settings(args, config, protocol)
    real = read_features(args.real, called='--real')
    fake = read_features(args.fake, called='--fake')
    score = score_stored(protocol, real, fake)
    return dataclasses.replace(score, settings=score.settings | about)


def check_settings(args: argparse.Namespace, config: 'EvaluateConfig', protocol: 'FeatureDistance') -> None:
    """Check that nothing was set that features which others computed do not hang on.

    Raises:
      UserError: Something was.
    """
    from vdm_jax.evals.feature_distance.protocol import FeatureDistance

    if args.size:
        raise UserError(f'--size={args.size}: features have no frames; leave it out')
    for key in ('real', 'samples'):
        if vars(config)[key] != MOST:
            raise UserError(f'config.evaluate.{key}={vars(config)[key]}: all rows of features count; leave it out')
    usual = FeatureDistance()
    for field in dataclasses.fields(FeatureDistance):
        value = vars(protocol)[field.name]
        if field.name not in OF_FEATURES and value != vars(usual)[field.name]:
            raise UserError(
                f'config.evaluate.protocol.{field.name}={value}: features are computed already; want '
                f'{", ".join(OF_FEATURES[:-1])} or {OF_FEATURES[-1]}'
            )
