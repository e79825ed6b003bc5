"""Search for a mesh and a rematerialisation policy with which an experiment fits a machine."""

import math
from collections.abc import Callable
from typing import Any

from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import Experiment, read_experiment
from vdm_jax.parallel.hardware import Topology
from vdm_jax.planning.format import describe_fit
from vdm_jax.planning.plan import FEATURES, plan, with_slices

COMPILES = 6  # of a search, the last one for sampling
LAST = ('sample', FEATURES)  # what is planned once training fits; features by a network that is no matter of the search
NOTHING = (
    'this network has no weights that config.mesh.fsdp splits and no config.model.remat to choose: where it does not '
    'fit as it stands, take a smaller config.train.batch_size, config.train.accumulate, or more chips'
)


def candidates(experiment: Experiment, topology: Topology) -> list[list[str]]:
    """Return what a search compiles, in this order, as overrides.

    First the experiment as it stands; then with weights, Adam moments and averages split over as many chips as the
    width and the batch axes allow, which costs no computation; then with that mesh and one rematerialisation policy
    after the other, in the order of their list, from least recomputed to most, as far as COMPILES goes, of which one is
    left for sampling. A network that has neither is compiled only as it stands.
    """
    model = experiment.model
    mesh = experiment.mesh
    sizes = dict(zip(('slices', 'data', 'fsdp'), mesh.sizes(topology.chips * topology.slices), strict=False))
    batch_devices = sizes['data'] * sizes['fsdp']

    # data and fsdp both split the batch, so moving devices from one to the other changes nothing else.
    fsdp = math.gcd(batch_devices, model.fsdp_width)
    can_split = model.fsdp_width > 1 and fsdp != sizes['fsdp']
    split = [f'--config.mesh.fsdp={fsdp}', f'--config.mesh.data={batch_devices // fsdp}'] if can_split else []

    policies = model.remat_policies
    later_policies = policies[policies.index(model.remat) + 1 :] if policies else ()
    options = [[], split, *([*split, f'--config.model.remat={policy}'] for policy in later_policies)]
    # Without a split the first two are the same.
    distinct = [option for i, option in enumerate(options) if option not in options[:i]]
    return distinct[: COMPILES - 1]


def search(
    spec: str, assignments: list[str], topology: Topology, report_progress: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Return the reports of the first of the `candidates` that fits, or of the last one.

    Args:
      spec: FILE or FILE:ARG of the experiment.
      assignments: Overrides, --config.KEY=VALUE.
      topology: The machine.
      report_progress: Takes lines of progress.

    Raises:
      UserError: the last candidate cannot be compiled, and none before it could.
    """
    experiment = read_experiment(spec, with_slices(assignments, topology))
    options = candidates(experiment, topology)
    names = [' '.join(option) or 'as it stands' for option in options]
    listing = [f'  {number}. {name}' for number, name in enumerate(names, start=1)]
    report_progress('\n'.join(['search, in this order until one fits:', *listing]))
    if experiment.model.fsdp_width == 1 and not experiment.model.remat_policies:
        report_progress(NOTHING)

    reports: dict[str, dict[str, Any]] = {}
    for option, name in zip(options, names, strict=True):
        try:
            reports = plan(spec, [*assignments, *option], topology, ('train',))
        except UserError as error:  # of this mesh, or a compiler that died of it
            report_progress(f'{name}: {error}')
            if option == options[-1] and not reports:
                raise
            continue
        report_progress(f'{name}: {describe_fit(reports["train"])}')
        if reports['train']['fits']:
            return reports | plan(spec, [*assignments, *option], topology, LAST)
    return reports
