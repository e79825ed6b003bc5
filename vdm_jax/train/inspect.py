"""What a run directory holds, without training or sampling anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from vdm_jax.errors import MisfitError, UserError, describe_bad_tensors, escape_unprintable
from vdm_jax.files import digest_json
from vdm_jax.parallel.rules import path_name
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.fingerprint import fingerprint
from vdm_jax.train.same_network import check_network, explain_misfit
from vdm_jax.train.types import ArrayTree, Resolved
from vdm_jax.train.workdir import read_config

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run

Report = dict[str, Any]  # JSON values


def inspect_run(run: Run, workdir: epath.PathLike, step: int | Literal['best'] | None = None) -> Report:
    """Return what a run directory holds: checkpoints, their integrity, one of them, and the network.

    Of the checkpoint that is taken there are sha256 fingerprints of all that it is made of. Where none can be taken,
    'mistake' says why, and they are missing.

    Args:
      run: Of the directory's config.
      workdir: The run directory.
      step: Which checkpoint to take, the newest where none is named.

    Raises:
      UserError: There is no checkpoint at all.
    """
    config = read_config(workdir)
    check_network(config, run.resolved, str(workdir))
    with jax.set_mesh(run.mesh), Checkpoints(f'{workdir}/checkpoints', run.experiment.checkpoint) as checkpoints:
        verdicts = {}
        for number in checkpoints.steps():
            integrity = checkpoints.integrity(number)
            # The run that trains may remove old steps meanwhile.
            if integrity.verdict != 'removed':
                verdicts[number] = str(integrity)
        report: Report = {
            'workdir': str(workdir),
            'checkpoints': list(verdicts),
            'integrity': {str(number): verdict for number, verdict in verdicts.items()},
        }
        if best := checkpoints.best():
            report['best'] = {'step': best[0], 'by': run.experiment.checkpoint.best, 'value': best[1]}

        try:
            with explain_misfit(config, run.resolved):
                state, position = checkpoints.restore(run.programs.abstract_state, step)
        except MisfitError:
            raise
        except UserError as error:
            # Of a directory without any step there is nothing to report.
            if not verdicts:
                raise
            return report | {'mistake': str(error)}

    trees = {'params': state.params, 'ema': state.ema, 'opt_state': state.opt_state}
    return report | {
        'step': int(state.step),
        **{name: fingerprint(tree) for name, tree in trees.items()},
        'position': digest_json(position),
        'not_finite': {name: find_not_finite(tree) for name, tree in trees.items()},
        'data_position': position,
        **inspect_network(run),
    }


def find_not_finite(tree: ArrayTree) -> list[str]:
    """Return the paths of the arrays that hold a nan or an infinity, in the tree's order.

    No array is copied to the host.
    """
    paths, leaves = zip(*jax.tree_util.tree_flatten_with_path(tree)[0], strict=True)

    @jax.jit
    def are_finite(arrays: tuple[jax.Array, ...]) -> jax.Array:
        return jnp.stack([jnp.isfinite(array).all() for array in arrays])

    # One program and one transfer for all arrays.
    finite = np.asarray(are_finite(leaves))
    return [path_name(path) for path, is_finite in zip(paths, finite, strict=True) if not is_finite]


def inspect_experiment(run: Run) -> Report:
    """Return the resolved config of an experiment and its network."""
    return {'config': run.resolved, **inspect_network(run)}


def inspect_network(run: Run) -> Report:
    """Return a run's network, trained or not: its parameters and what a forward pass costs."""
    leaves = jax.tree_util.tree_flatten_with_path(run.programs.abstract_state.params)[0]
    return {
        'parameter_count': sum(leaf.size for _, leaf in leaves),
        'forward_flops_per_video': run.forward_flops,
        'shapes': {path_name(path): list(leaf.shape) for path, leaf in leaves},
    }


def format_report(report: Report) -> str:
    """Return a report as text, of inspect_run or inspect_experiment."""
    network = format_network(report) if 'shapes' in report else []
    # An experiment that was never trained has no checkpoints.
    if 'workdir' not in report:
        return '\n'.join([*format_config(report['config']), '', *network])

    choice = f'step {report["step"]}' if 'step' in report else 'no step can be taken'
    lines = [f'{report["workdir"]}: {choice}; checkpoints {", ".join(map(str, report["checkpoints"]))}']
    lines += [f'  checkpoint {step}: {integrity}' for step, integrity in report['integrity'].items()]
    if 'best' in report:
        best = report['best']
        lines.append(f'  best by {best["by"]}: {best["step"]}, at {best["value"]:.6g}')

    if 'mistake' not in report:
        lines += [f'{name:9} sha256 {report[name]}' for name in ('params', 'ema', 'opt_state', 'position')]
        for name, paths in report['not_finite'].items():
            if paths:
                lines.append(f'{name:9} NOT FINITE: {describe_bad_tensors(paths)}')
        lines += [f'data position {report["data_position"]}', *network]
    return '\n'.join(map(escape_unprintable, lines))


def format_config(config: Resolved, key: str = 'config') -> list[str]:
    """Return a line for each key of a resolved config, as the command line would set it."""
    lines = []
    for name, value in config.items():
        if isinstance(value, dict):
            lines += format_config(value, f'{key}.{name}')
        # Groups in a list are named by their number.
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for number, item in enumerate(value):
                lines += format_config(item, f'{key}.{name}.{number}')
        else:
            lines.append(escape_unprintable(f'{key}.{name}={_format_value(value)}'))
    return lines


def _format_value(value: Any) -> str:
    if isinstance(value, list):
        return ','.join(map(_format_value, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def format_network(report: Report) -> list[str]:
    """Return lines of parameters, cost and shapes; a multiply-accumulate (MAC) is two operations."""
    flops = report['forward_flops_per_video']
    lines = [
        f'{report["parameter_count"]:,} parameters; {flops:.4g} FLOPs ({flops / 2e9:.4g} GMACs) a forward pass a video',
        '',
    ]
    lines += [f'  {name:48} {"x".join(map(str, shape))}' for name, shape in report['shapes'].items()]
    return lines
