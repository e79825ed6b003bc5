"""Restore the weights that are sampled, scored or exported, with their run: from a run directory, or from a file."""

import argparse
import contextlib
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vdm_jax.cli.options import RAW, option_of
from vdm_jax.errors import UserError

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run

# Keys of the config that an option is short for.
OPTION_KEYS = {
    'steps': 'sampler.steps',
    'guidance': 'guidance.scale',
    'batch_size': 'evaluate.batch_size',
    'protocol': 'evaluate.protocol',
}


class Origin(NamedTuple):
    """Where weights come from.

    Attributes:
      option: That says so, as messages name it: --workdir, --weights or --from.
      path: Of a run directory, or of a file of weights.
      is_file: Whether it is a file.
    """

    option: str
    path: str
    is_file: bool

    @property
    def kind(self) -> str:
        """What scores, and folders of samples, call it: workdir or weights."""
        return 'weights' if self.is_file else 'workdir'

    def __str__(self) -> str:
        return f'{self.option}={self.path}'


class LoadedWeights(NamedTuple):
    """Weights that are sampled, scored or exported.

    Attributes:
      run: The run that they are of.
      params: The pytree, on the run's mesh.
      about: Where they come from: step, ema and clips, and where there are some the fingerprints text, of the encoder
        of captions, and codec, of its weights.
    """

    run: 'Run'
    params: Any
    about: dict[str, Any]


def list_origins(args: argparse.Namespace) -> list[Origin]:
    """Return where --workdir and --weights say that weights are, each that is given.

    Raises:
      UserError: Neither is.
    """
    origins = []
    if args.workdir:
        origins.append(Origin('--workdir', args.workdir, is_file=False))
    if args.weights:
        origins.append(Origin('--weights', args.weights, is_file=True))
    if not origins:
        raise UserError('say where the weights are: --workdir=DIR or --weights=FILE')
    return origins


def restore(
    origin: Origin, args: argparse.Namespace, assignments: Sequence[str], check_codec: bool = False
) -> LoadedWeights:
    """Return the weights of a run directory or a file, with their run; all processes call it.

    Args:
      origin: Where the weights come from.
      args: Options: ema, step, size and those of OPTION_KEYS.
      assignments: --config.GROUP.KEY=VALUE, on top of the config that is there.
      check_codec: Whether the codec is used, and must be that of training unless args.allow_other_codec.

    Raises:
      UserError: There is no such run, step or average, or the codec is another one.
    """
    from vdm_jax.config.experiment_file import check_groups
    from vdm_jax.parallel.processes import raise_on_all
    from vdm_jax.pretrained import weights
    from vdm_jax.train.consistency import check_same_on_all
    from vdm_jax.train.same_network import check_network
    from vdm_jax.train.workdir import read_config

    if origin.is_file:
        _check_no_choice_of_weights(origin, args)

    # What can fail on one process alone fails on all, so that none waits for it.
    def read_about() -> dict[str, Any]:
        if not origin.is_file:
            return {'config': read_config(origin.path)}
        about = weights.read_provenance(origin.path, str(origin))
        check_groups(about['config'], str(origin))
        return about

    about = raise_on_all(read_about)
    config = about['config']
    chosen = [f'config.{key}={vars(args)[name]}' for name, key in OPTION_KEYS.items() if vars(args)[name] is not None]
    run = raise_on_all(lambda: make_sampling_run(config, [*assignments, *chosen], args.size))
    check_same_on_all(lambda: {'config': run.resolved} | options_to_compare(args))

    raise_on_all(lambda: check_network(config, run.resolved, origin.path))
    if origin.is_file:
        params, about = _load_file(run, origin, about)
    else:
        params, about = _restore_checkpoint(run, origin.path, config, args)
    if check_codec:
        about |= describe_codec(run, about, args.allow_other_codec)
    return LoadedWeights(run, params, about)


def _check_no_choice_of_weights(origin: Origin, args: argparse.Namespace) -> None:
    """Refuse --ema and --step of a file; beside a run directory they are of the run's weights."""
    if args.workdir and origin.option == '--weights':
        return
    for name in ('ema', 'step'):
        if (value := vars(args)[name]) is not None:
            raise UserError(f'--{name}={value}: a file of weights holds one average of one step; leave it out')


def _load_file(run: 'Run', origin: Origin, about: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return (params, where they come from) of a file of weights."""
    from vdm_jax.parallel.processes import raise_on_all
    from vdm_jax.pretrained import weights

    provenance = {name: about[name] for name in ('step', 'ema', 'dtype', *weights.FINGERPRINTS) if name in about}
    params = raise_on_all(lambda: weights.load(origin.path, run.programs.abstract_state.params, str(origin)))
    return params, provenance


def _restore_checkpoint(
    run: 'Run', workdir: str, trained: dict[str, Any], args: argparse.Namespace
) -> tuple[Any, dict[str, Any]]:
    """Return (params, where they come from) of a checkpoint: one average, or with --ema=raw the parameters themselves.

    `trained` is the resolved config of the run directory, which explains arrays that do not fit.
    """
    from vdm_jax.parallel.processes import raise_on_all
    from vdm_jax.pretrained.weights import FINGERPRINTS, validate_provenance
    from vdm_jax.train.checkpoint import Checkpoints
    from vdm_jax.train.same_network import explain_misfit

    with use_mesh(run), Checkpoints(f'{workdir}/checkpoints', run.experiment.checkpoint) as checkpoints:
        average = None if args.ema == RAW else name_of_average(run, args.ema)
        with explain_misfit(trained, run.resolved):
            params, step = checkpoints.restore_one(run.programs.abstract_state, args.step, average)
        position = checkpoints.position(step)

    file = f'{workdir}/checkpoints/{step}: its position'
    position = raise_on_all(lambda: validate_provenance(position, file))
    provenance = {'step': step, 'ema': RAW if average is None else float(average)}
    return params, provenance | {name: position[name] for name in FINGERPRINTS if name in position}


def name_of_average(run: 'Run', decay: float | None) -> str:
    """Return the name of the average of a decay, the first of the config where it is None.

    Raises:
      UserError: The run keeps none of that decay.
    """
    decays = run.experiment.ema.decays
    for each in decays:
        # Numbers are compared, not texts: --ema=.9990 is 0.999.
        if decay is None or each == decay:
            return str(each)
    listed = ', '.join(map(str, decays))
    raise UserError(
        f'--ema={decay}: the run keeps averages with decay {listed}; --ema={RAW} takes the parameters themselves'
    )


def describe_codec(run: 'Run', about: dict[str, Any], allow_other: bool) -> dict[str, str]:
    """Return the fingerprint of the codec that the run uses, and that of training where it is another one.

    It is {} for a run whose codec has no weights.

    Raises:
      UserError: It is another one, and that is not allowed.
    """
    used = run.codec_fingerprint
    trained_with = about.get('codec')
    if used is None:
        return {}
    if trained_with in (None, used):
        return {'codec': used}
    if not allow_other:
        raise UserError(
            f'config.codec.path={run.experiment.codec.path}: the network was trained on latents of the codec '
            f'{trained_with}, and this is {used} (of a run at config.codec.path, its newest checkpoint): bring that '
            'one back, or say --allow-other-codec'
        )
    return {'codec': used, 'codec_of_training': trained_with}


def make_run(config: dict[str, Any], assignments: Sequence[str]) -> 'Run':
    """Return the run of a resolved config on the devices of this machine, whatever it was trained on."""
    from vdm_jax.config.experiment_file import override
    from vdm_jax.experiment.experiment import experiment_from
    from vdm_jax.experiment.run import Run

    return Run(experiment_from(override(config | {'mesh': {}}, list(assignments))))


def make_sampling_run(config: dict[str, Any], assignments: Sequence[str], size: str | None = None) -> 'Run':
    """Return `make_run` with videos of a size (None: that of training), once its network suits the mesh.

    Raises:
      UserError: The size or the mesh does not suit the network.
    """
    run = make_run(config, assignments)
    if size is not None:
        run = resize_run(run, size)
    run.network.config.check_mesh(run.mesh, run.network.inputs)
    return run


def resize_run(run: 'Run', size: str) -> 'Run':
    """Return the run with clips, and so videos, of another size.

    Raises:
      UserError: Its source, codec or network does not take it; names --size.
    """
    from vdm_jax.config.frame_size import read_pixels

    pixels = read_pixels(size, '--size')
    try:
        experiment = dataclasses.replace(run.experiment, data=run.data.source.with_pixels(pixels))
        run = run.with_experiment(experiment)
        run.model_config.check_shapes(run.network.latent_shapes)
    except UserError as error:
        raise UserError(f'--size={size}: {error}') from None
    return run


def use_mesh(run: 'Run') -> contextlib.AbstractContextManager[Any]:
    """Return a context in which jax computes on the run's mesh."""
    import jax

    return jax.set_mesh(run.mesh)


def options_to_compare(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that must be the same on all processes: all but how each finds its config and the others."""
    own = ('config', 'distributed')
    return {option_of(name): value for name, value in vars(args).items() if name not in own}
