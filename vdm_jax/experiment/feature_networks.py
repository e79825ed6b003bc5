"""Open networks that judge: the composer, who knows where weights of others lie, hands them to the protocols."""

import functools
import hashlib

from vdm_jax.errors import UserError
from vdm_jax.evals.features.network import FeatureNetwork
from vdm_jax.evals.features.opened import OpenNetwork


@functools.lru_cache(maxsize=4)
def open_weights(network: FeatureNetwork, weights: str) -> OpenNetwork:
    """Return a network with its weights; all processes call it.

    Args:
      network: What is computed.
      weights: A name of the table of weights (python -m vdm_jax weights), or a file.

    Raises:
      UserError: They are not here, or of another network.
    """
    from vdm_jax import pretrained
    from vdm_jax.parallel.processes import raise_on_all
    from vdm_jax.pretrained.store import find

    path = raise_on_all(lambda: str(find(weights, f'config.evaluate.protocol.weights={weights}')))
    loaded = raise_on_all(lambda: pretrained.load(network.weights, path))
    if type(loaded.config) is not type(network):
        raise UserError(f'{weights}: holds {type(loaded.config).__name__}, not {type(network).__name__}')
    return OpenNetwork(network, loaded.params, weights, hash_file(path))


def hash_file(path: str) -> str:
    """Return the sha256 of a file, read in pieces."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
