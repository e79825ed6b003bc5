"""`train --from`: the weights of another run, or of a file, that a run begins with at step 0, where they fit."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from vdm_jax.cli.options import option_of
from vdm_jax.cli.restore import Origin, restore
from vdm_jax.errors import UserError
from vdm_jax.experiment.convert import check_same_parameters
from vdm_jax.files import is_local
from vdm_jax.parallel import processes
from vdm_jax.pretrained.fit import by_path, fit
from vdm_jax.train.finite import all_finite

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run

# Options of `train` that choose among the weights of --from.
CHOICES = ('step', 'ema', 'allow_missing')


def read_weights(run: 'Run', args: argparse.Namespace) -> tuple[Any, str]:
    """Return parameters of `run` from those of --from=RUN|FILE, and where they come from, in words.

    The averages are taken, or by --ema another one or the parameters themselves. Data, classes, frames, size and rates
    may differ from those there: whatever has the shape that `run` wants is taken, on the mesh of `run`. Where several
    processes run, all call it.

    Args:
      run: The run that begins.
      args: Options: origin (--from), step, ema, allow_missing.

    Raises:
      UserError: Nothing is there, it is of another network, or its numbers are not finite; or a parameter has another
        shape, without --allow-missing.
    """
    origin = origin_of(args.origin)
    option = str(origin)
    # The other run is restored on the mesh of this one, as its parameters end up there.
    mesh = [f'config.mesh.{axis}={"none" if size is None else size}' for axis, size in run.resolved['mesh'].items()]
    other, params, about = restore(origin, args, mesh)

    resized = check_same_parameters(other.model_config, run.model_config, args.allow_missing, option)
    if not all_finite(params):
        raise UserError(f'{option}: step {about["step"]} holds numbers that are not finite; choose another --step')

    def init_params() -> Any:
        return run.programs.init_state().params

    abstract = run.programs.abstract_state.params
    params, report = fit(by_path(params), abstract, init_params, args.allow_missing, option, resized)
    processes.print_on_primary(f'{option}: {report}')
    return params, f'{args.origin}, step {about["step"]}, average {about["ema"]}'


def read_config(path: str) -> dict[str, Any]:
    """Return the resolved config of a run directory, or of the run that a file of weights is of.

    Raises:
      UserError: Nothing is there.
    """
    from vdm_jax.config.experiment_file import check_groups
    from vdm_jax.pretrained import weights
    from vdm_jax.train import workdir

    origin = origin_of(path)
    if not origin.is_file:
        return workdir.read_config(path)
    config: dict[str, Any] = weights.read_provenance(path, str(origin))['config']
    return check_groups(config, str(origin))


def origin_of(path: str) -> Origin:
    """Return where --from=PATH says that weights are: in a run directory where a directory is, else in a file."""
    from etils import epath

    return Origin('--from', path, is_file=not epath.Path(path).is_dir())


def check_options(args: argparse.Namespace) -> None:
    """Check that options of --from are given with it alone, and that it is another directory than --workdir.

    Raises:
      UserError: They are not.
    """
    if args.origin is not None:
        if is_same_path(args.origin, args.workdir):
            raise UserError(
                f'--from={args.origin}: is --workdir too, which goes on by itself; choose another --workdir'
            )
        return

    for name in CHOICES:
        if vars(args)[name] not in (None, False):
            option = option_of(name)
            raise UserError(f'train: {option} says what of --from=RUN to take; give --from, or leave it out')


def is_same_path(one: str, another: str) -> bool:
    """Return whether two paths are of one directory, however they are spelt."""
    if is_local(one) and is_local(another):
        return os.path.realpath(one) == os.path.realpath(another)
    return one.rstrip('/') == another.rstrip('/')
