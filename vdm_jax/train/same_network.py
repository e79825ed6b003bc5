"""Whether weights are of the network that they are to be used in, and which key of the config says no."""

import contextlib
from collections.abc import Iterator
from typing import Any

from vdm_jax.config.schema import find_differences
from vdm_jax.errors import MisfitError, UserError
from vdm_jax.train.types import Resolved

Differences = dict[str, tuple[Any, Any]]  # dotted key -> both values

# Keys of config.model that no weight depends on: how a network is computed, and which clips it has seen.
WEIGHTLESS_KEYS = ('attention', 'remat', 'scan', 'dtype', 'grid', 'images')

# Keys of config.model that sampling may set anew for other sizes of clips, though they change what comes out.
SAMPLING_KEYS = ('rope_interpolate', 'position_span')

# Keys of config.model that data and codec decide where they are not set.
FILLED_IN_KEYS = ('channels', 'classes', 'grid')


def model_differences(ours: dict[str, Any], theirs: dict[str, Any], where: str = 'config.model') -> Differences:
    """Return where two configs of a network differ so that the weights of one are not the other's.

    Args:
      ours: A resolved config of a network.
      theirs: Another one.
      where: What dotted keys begin with.

    Returns:
      Both values by dotted key.
    """
    weightless = set(WEIGHTLESS_KEYS)
    # Learned positions are weights, one for each position of the grid.
    if 'learned' in ours.get('position', ''):
        weightless.remove('grid')

    def drop_weightless(model: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in model.items() if key not in weightless}

    return find_differences(drop_weightless(ours), drop_weightless(theirs), where)


def check_network(trained: Resolved, resolved: Resolved, called: str) -> None:
    """Check that weights are used in the network that they were trained in.

    Args:
      trained: The config of the run that they are of.
      resolved: The one that they are to be used in.
      called: What messages call the weights.

    Raises:
      UserError: A key of config.model differs; names it, and what it was in training.
    """
    # Keys that the trained one lacks came later.
    ours = {key: value for key, value in resolved['model'].items() if key in trained['model']}
    changes = model_differences(ours, trained['model'])
    for name in SAMPLING_KEYS:
        changes.pop(f'config.model.{name}', None)
    for name in FILLED_IN_KEYS:
        if trained['model'].get(name) is None:
            changes.pop(f'config.model.{name}', None)
    if changes:
        key, (new, old) = next(iter(changes.items()))
        raise UserError(f'{key}={new}: {called} has {old}; leave it out')


@contextlib.contextmanager
def explain_misfit(trained: Resolved, resolved: Resolved) -> Iterator[None]:
    """Name the config key, where arrays of a checkpoint that is read within do not fit the config.

    Args:
      trained: As check_network has it.
      resolved: As check_network has it.

    Raises:
      MisfitError: The checkpoint is of other averages or another optimizer than `resolved` has.
    """
    try:
        yield
    except MisfitError as error:
        for group in ('ema', 'optim', 'model'):
            changes = find_differences(trained.get(group, {}), resolved[group], f'config.{group}')
            for key, (old, new) in changes.items():
                raise MisfitError(f'{key}={new}: the checkpoint has {old} ({error})') from None
        raise
