"""Open networks that judge: the composer, who knows where weights of others lie, hands them to the protocols."""

import functools
import os
from typing import Any

from vdm_jax import files
from vdm_jax.errors import UserError
from vdm_jax.evals.features.network import FeatureNetwork
from vdm_jax.evals.features.opened import LPIPS, Network, OpenNetwork
from vdm_jax.files import hash_file

KEY = 'config.evaluate.protocol.weights'
KEY_OF_LPIPS = 'config.evaluate.protocol.lpips'


@functools.lru_cache(maxsize=4)
def _open(network: FeatureNetwork | LPIPS, weights: str | None) -> Any:
    """Return an OpenNetwork; without a type of its own, which the cache would lose."""
    from vdm_jax import pretrained
    from vdm_jax.parallel.processes import raise_on_all
    from vdm_jax.pretrained.store import add_cure, find

    name = weights or network.weights
    label = f'{KEY_OF_LPIPS if isinstance(network, LPIPS) else KEY}={name}'

    def load(path: str) -> Any:
        if files.is_local(path) and not os.path.lexists(path):
            raise UserError(f'{label}: no such file, and no name; `python -m vdm_jax weights` lists names')
        try:
            return pretrained.load(network.weights, path)
        except UserError as error:
            # Of a command that this is not.
            message = str(error).removeprefix(f'--checkpoint={path}: ').removeprefix('--checkpoint=')
            raise UserError(f'{label}: {add_cure(message, name)}') from None

    path = raise_on_all(lambda: find(name, label))
    loaded = raise_on_all(lambda: load(path))
    if isinstance(network, LPIPS):
        # Weights say of which backbone they are.
        return OpenNetwork(LPIPS(loaded.config), loaded.params, name, hash_file(path, label))
    if type(loaded.config) is not type(network):
        raise UserError(f'{label}: holds {type(loaded.config).__name__}, not {type(network).__name__}')
    return OpenNetwork(network.with_sizes_of(loaded.config), loaded.params, name, hash_file(path, label))


def open_weights(network: Network, weights: str | None) -> OpenNetwork[Network]:
    """Return a network with its weights; all processes call it.

    Args:
      network: What is computed.
      weights: A name of the table of weights (python -m vdm_jax weights), or a file; None for the published ones.

    Raises:
      UserError: They are not here, or of another network.
    """
    opened: OpenNetwork[Network] = _open(network, weights)
    return opened
