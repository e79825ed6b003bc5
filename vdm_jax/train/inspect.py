"""What a run directory holds, without training or sampling anything."""

import jax

from vdm_jax.errors import UserError
from vdm_jax.parallel.rules import path_name
from vdm_jax.train.checkpoint import Checkpoints, fingerprint, fingerprint_json


def inspect_run(run, workdir, step: int | None = None) -> dict:
    """Checkpoints and whether they are intact, the parameters' tree, and sha256 fingerprints of everything
    a step is made of, as JSON values. Where no step can be taken, 'mistake' says why, and the step's own are missing.

    Raises:
      UserError: no checkpoint there at all.
    """
    with jax.set_mesh(run.mesh), Checkpoints(f'{workdir}/checkpoints', run.experiment.checkpoint) as checkpoints:
        integrity = {step: checkpoints.integrity(step) for step in checkpoints.steps()}
        integrity = {step: found for step, found in integrity.items() if found.verdict != 'gone'}
        there = {
            'workdir': str(workdir),
            'checkpoints': list(integrity),
            'integrity': {str(step): str(found) for step, found in integrity.items()},
        }
        try:
            state, position = checkpoints.restore(run.abstract, step)
        except UserError as error:
            if not integrity:
                raise
            return there | {'mistake': str(error)}
    shapes = {path_name(path): leaf.shape for path, leaf in jax.tree_util.tree_flatten_with_path(state.params)[0]}
    return there | {
        'step': int(state.step),
        'params': fingerprint(state.params),
        'ema': fingerprint(state.ema),
        'opt_state': fingerprint(state.opt_state),
        'position': fingerprint_json(position),
        'data_position': position,
        'parameter_count': sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        'forward_flops_per_video': run.forward_flops,
        'shapes': {name: list(shape) for name, shape in shapes.items()},
    }


def table(found: dict) -> str:
    """The same as text."""
    taken = f'step {found["step"]}' if 'step' in found else 'no step can be taken'
    head = f'{found["workdir"]}: {taken}; checkpoints {", ".join(map(str, found["checkpoints"]))}'
    verdicts = [f'  checkpoint {step}: {integrity}' for step, integrity in found['integrity'].items()]
    if 'mistake' in found:
        return '\n'.join([head, *verdicts])
    lines = [
        head,
        *verdicts,
        f'{found["parameter_count"]:,} parameters; {found["forward_flops_per_video"]:.3g} FLOPs a forward pass a video',
        *(f'{name:9} sha256 {found[name]}' for name in ('params', 'ema', 'opt_state', 'position')),
        f'data position {found["data_position"]}',
        '',
        *(f'  {name:48} {"x".join(map(str, shape))}' for name, shape in found['shapes'].items()),
    ]
    return '\n'.join(lines)
