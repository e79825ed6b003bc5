"""What a run directory holds, without training or sampling anything."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.errors import MisfitError, UserError, printable, wrong_tensors
from vdm_jax.files import digest_json
from vdm_jax.parallel.rules import path_name
from vdm_jax.train.checkpoint import Checkpoints, fingerprint
from vdm_jax.train.workdir import check_network, name_keys, read_config


def inspect_run(run, workdir, step: int | Literal['best'] | None = None) -> dict:
    """Checkpoints and whether they are intact, the parameters' tree, and sha256 fingerprints of everything
    a step is made of, as JSON values. Where no step can be taken, 'mistake' says why, and the step's own are missing.

    Raises:
      UserError: no checkpoint there at all.
    """
    config = read_config(workdir)
    check_network(config, run.resolved, str(workdir))
    with jax.set_mesh(run.mesh), Checkpoints(f'{workdir}/checkpoints', run.experiment.checkpoint) as checkpoints:
        integrity = {step: checkpoints.integrity(step) for step in checkpoints.steps()}
        integrity = {step: found for step, found in integrity.items() if found.verdict != 'removed'}
        there = {
            'workdir': str(workdir),
            'checkpoints': list(integrity),
            'integrity': {str(step): str(found) for step, found in integrity.items()},
        }
        if best := checkpoints.best():
            there['best'] = {'step': best[0], 'by': run.experiment.checkpoint.best, 'value': best[1]}
        try:
            with name_keys(config, run.resolved):
                state, position = checkpoints.restore(run.abstract, step)
        except MisfitError:
            raise
        except UserError as error:
            if not integrity:
                raise
            return there | {'mistake': str(error)}
    trees = {'params': state.params, 'ema': state.ema, 'opt_state': state.opt_state}
    return there | {
        'step': int(state.step),
        **{name: fingerprint(tree) for name, tree in trees.items()},
        'position': digest_json(position),
        'not_finite': {name: not_finite(tree) for name, tree in trees.items()},
        'data_position': position,
        **inspect_network(run),
    }


def not_finite(tree) -> list[str]:
    """Paths of the arrays of a tree that hold a nan or an infinity, in the tree's order; none is copied to the host."""
    paths, leaves = zip(*jax.tree_util.tree_flatten_with_path(tree)[0], strict=True)
    finite = jax.jit(lambda arrays: jnp.stack([jnp.isfinite(array).all() for array in arrays]))(leaves)
    return [path_name(path) for path, good in zip(paths, np.asarray(finite), strict=True) if not good]


def inspect_experiment(run) -> dict:
    """Return the resolved config of an experiment and its network, as JSON values."""
    return {'config': run.resolved, **inspect_network(run)}


def inspect_network(run) -> dict:
    """What a run's network is, trained or not: its parameters and what a forward pass costs, as JSON values."""
    leaves = jax.tree_util.tree_flatten_with_path(run.abstract.params)[0]
    return {
        'parameter_count': sum(leaf.size for _, leaf in leaves),
        'forward_flops_per_video': run.forward_flops,
        'shapes': {path_name(path): list(leaf.shape) for path, leaf in leaves},
    }


def table(found: dict) -> str:
    """The same as text."""
    network = network_lines(found) if 'shapes' in found else []
    if 'workdir' not in found:
        return '\n'.join([*config_lines(found['config']), '', *network])
    taken = f'step {found["step"]}' if 'step' in found else 'no step can be taken'
    head = f'{found["workdir"]}: {taken}; checkpoints {", ".join(map(str, found["checkpoints"]))}'
    verdicts = [f'  checkpoint {step}: {integrity}' for step, integrity in found['integrity'].items()]
    if 'best' in found:
        verdicts.append(f'  best by {found["best"]["by"]}: {found["best"]["step"]}, at {found["best"]["value"]:.6g}')
    if 'mistake' in found:
        return '\n'.join(map(printable, [head, *verdicts]))
    lines = [
        head,
        *verdicts,
        *(f'{name:9} sha256 {found[name]}' for name in ('params', 'ema', 'opt_state', 'position')),
        *(f'{name:9} NOT FINITE: {wrong_tensors(names)}' for name, names in found['not_finite'].items() if names),
        f'data position {found["data_position"]}',
        *network,
    ]
    return '\n'.join(map(printable, lines))


def config_lines(config: dict, key: str = 'config') -> list[str]:
    """Return a line for each key of a resolved config, as the command line would set it."""
    lines = []
    for name, value in config.items():
        if isinstance(value, dict):
            lines += config_lines(value, f'{key}.{name}')
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for number, item in enumerate(value):
                lines += config_lines(item, f'{key}.{name}.{number}')
        else:
            lines.append(printable(f'{key}.{name}={_as_written(value)}'))
    return lines


def _as_written(value) -> str:
    if isinstance(value, list):
        return ','.join(map(_as_written, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def network_lines(found: dict) -> list[str]:
    """Parameters, cost and shapes; a multiply-accumulate (MAC) is two operations."""
    flops = found['forward_flops_per_video']
    return [
        f'{found["parameter_count"]:,} parameters; {flops:.4g} FLOPs ({flops / 2e9:.4g} GMACs) a forward pass a video',
        '',
        *(f'  {name:48} {"x".join(map(str, shape))}' for name, shape in found['shapes'].items()),
    ]
