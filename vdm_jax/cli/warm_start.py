"""`train --from`: weights that a run begins with at step 0: those of another run or of an export, where they fit."""

import os

from vdm_jax.cli.restore import restored
from vdm_jax.errors import UserError
from vdm_jax.experiment.convert import check_same
from vdm_jax.files import is_local
from vdm_jax.parallel import processes
from vdm_jax.pretrained.fit import by_path, fit
from vdm_jax.train.finite import all_finite


def read_weights(run, args) -> tuple[dict, str]:
    """Parameters of `run` that are those of --from=RUN|FILE, and where they come from, in words.

    The averages are taken, or by --ema another one or the parameters themselves. Data, classes, frames, size and rates
    may be others than there: whatever has the shape that `run` wants is taken, on the mesh of `run`. Where several
    processes run, all call it.

    Args:
      args: with `origin` (--from), `step`, `ema`, `allow_missing`.

    Raises:
      UserError: nothing is there, it is of another network, or its numbers are not finite; a parameter has another
        shape, and not --allow-missing.
    """
    called = f'--from={args.origin}'
    mesh = [f'config.mesh.{axis}={"none" if size is None else size}' for axis, size in run.resolved['mesh'].items()]
    there, params, about = restored(origin_of(args.origin), args, mesh)
    resized = check_same(there.model_config, run.model_config, args.allow_missing, called)
    if not all_finite(params):
        raise UserError(f'{called}: step {about["step"]} holds numbers that are not finite; choose another --step')

    def fresh():
        return run.programs.init_state().params

    params, report = fit(
        by_path(params), run.programs.abstract_state.params, fresh, args.allow_missing, called, resized
    )
    processes.print_on_primary(f'{called}: {report}')
    return params, f'{args.origin}, step {about["step"]}, average {about["ema"]}'


def read_config(place: str) -> dict:
    """The resolved config of the run, or of the run that a file of weights is of.

    Raises:
      UserError: nothing is there.
    """
    from vdm_jax.config.experiment_file import check_groups
    from vdm_jax.pretrained import weights
    from vdm_jax.train import workdir

    if 'workdir' in origin_of(place):
        return workdir.read_config(place)
    return check_groups(weights.about(place, f'--from={place}')['config'], f'--from={place}')


def origin_of(place: str) -> dict:
    """What origin.restored takes: a run directory or a file of weights, by what is there."""
    from etils import epath

    return {'workdir' if epath.Path(place).is_dir() else 'weights': place}


def check_options(args) -> None:
    """Whether options that are of --from alone are given with it, and it is another place than --workdir.

    Raises:
      UserError: they are not.
    """
    if args.origin is None:
        for name in ('step', 'ema', 'allow_missing'):
            if getattr(args, name) not in (None, False):
                option = name.replace('_', '-')
                raise UserError(f'train: --{option} says what of --from=RUN to take; give --from, or leave it out')
    elif same_place(args.origin, args.workdir):
        raise UserError(f'--from={args.origin}: is --workdir too, which goes on by itself; choose another --workdir')


def same_place(one: str, another: str) -> bool:
    """Whether two paths are of one directory, however they are spelt."""
    if is_local(one) and is_local(another):
        return os.path.realpath(one) == os.path.realpath(another)
    return one.rstrip('/') == another.rstrip('/')
