"""What a run directory holds, without training or sampling anything."""

import jax

from vdm_jax.parallel.rules import path_name
from vdm_jax.train.checkpoint import Checkpoints, fingerprint, fingerprint_json


def inspect_run(run, workdir, step: int | None = None) -> dict:
    """Checkpoints and whether they are intact, the parameters' tree, and sha256 fingerprints of everything
    a step is made of, as JSON values.

    Raises:
      UserError: no checkpoint there, or not that one.
    """
    with jax.set_mesh(run.mesh), Checkpoints(f'{workdir}/checkpoints', run.experiment.checkpoint) as checkpoints:
        integrity = {step: checkpoints.integrity(step) for step in checkpoints.steps()}
        state, position = checkpoints.restore(run.abstract, step)
    shapes = {path_name(path): leaf.shape for path, leaf in jax.tree_util.tree_flatten_with_path(state.params)[0]}
    return {
        'workdir': str(workdir),
        'checkpoints': list(integrity),
        'integrity': {str(step): str(found) for step, found in integrity.items()},
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
    lines = [
        f'{found["workdir"]}: step {found["step"]}; checkpoints {", ".join(map(str, found["checkpoints"]))}',
        *(f'  checkpoint {step}: {integrity}' for step, integrity in found['integrity'].items()),
        f'{found["parameter_count"]:,} parameters; {found["forward_flops_per_video"]:.3g} FLOPs a forward pass a video',
        *(f'{name:9} sha256 {found[name]}' for name in ('params', 'ema', 'opt_state', 'position')),
        f'data position {found["data_position"]}',
        '',
        *(f'  {name:48} {"x".join(map(str, shape))}' for name, shape in found['shapes'].items()),
    ]
    return '\n'.join(lines)
