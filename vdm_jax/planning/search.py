"""Looking for a mesh and a rematerialisation policy with which an experiment fits a machine."""

import math
from collections.abc import Callable

from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import Experiment, read_experiment
from vdm_jax.parallel.hardware import Topology
from vdm_jax.planning.format import fit
from vdm_jax.planning.plan import plan, with_slices

COMPILES = 6  # of a search, the last one for sampling
NOTHING = (
    'this network has no weights that config.mesh.fsdp splits and no config.model.remat to choose: where it does not '
    'fit as it stands, take a smaller config.train.batch_size, config.train.accumulate, or more chips'
)


def tries(experiment: Experiment, topology: Topology) -> list[list[str]]:
    """What a search compiles, in this order, as overrides.

    First the experiment as it stands; then with weights, moments and averages split over as many chips as the width and
    the batch axes allow, which costs no computation; then with that mesh and one rematerialisation policy after the
    other, in the order of their list, from least recomputed to most, as far as COMPILES goes, of which one is kept for
    sampling. A network that has neither is compiled as it stands alone.
    """
    model, mesh = experiment.model, experiment.mesh
    sizes = dict(zip(('slices', 'data', 'fsdp'), mesh.sizes(topology.chips * topology.slices), strict=False))
    widest = math.gcd(sizes['data'] * sizes['fsdp'], model.fsdp_width)
    rest = sizes['data'] * sizes['fsdp'] // widest
    splits = model.fsdp_width > 1 and widest != sizes['fsdp']
    wide = [f'--config.mesh.fsdp={widest}', f'--config.mesh.data={rest}'] if splits else []
    policies = model.remat_policies
    later = policies[policies.index(model.remat) + 1 :] if policies else ()
    found = [[], wide, *([*wide, f'--config.model.remat={policy}'] for policy in later)]
    return [each for i, each in enumerate(found) if each not in found[:i]][: COMPILES - 1]


def search(spec: str, assignments: list[str], topology: Topology, say: Callable[[str], None]) -> dict[str, dict]:
    """The reports of the first of `tries` that fits, or of the last one; `say` takes lines of progress."""
    experiment = read_experiment(spec, with_slices(assignments, topology))
    todo = tries(experiment, topology)
    found = {}
    shown = [' '.join(each) or 'as it stands' for each in todo]
    say('\n'.join(['search, in this order until one fits:', *(f'  {i + 1}. {each}' for i, each in enumerate(shown))]))
    if experiment.model.fsdp_width == 1 and not experiment.model.remat_policies:
        say(NOTHING)
    for each, name in zip(todo, shown, strict=True):
        try:
            found = plan(spec, [*assignments, *each], topology, ('train',))
        except UserError as error:  # of this mesh, or a compiler that died of it
            say(f'{name}: {error}')
            if each == todo[-1] and not found:
                raise
            continue
        say(f'{name}: {fit(found["train"])}')
        if found['train']['fits']:
            return found | plan(spec, [*assignments, *each], topology, ('sample',))
    return found
