"""A network of features with its weights, for protocols: they name it, and whoever runs them opens it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vdm_jax.errors import UserError
from vdm_jax.evals.features.network import FeatureNetwork


@dataclass(frozen=True)
class OpenNetwork:
    """A network that is ready to use.

    Attributes:
      network: What it computes.
      params: Its parameters.
      weights: By which name or file they were found.
      sha256: Of their file.
    """

    network: FeatureNetwork
    params: Any = field(repr=False)
    weights: str
    sha256: str


# Opens a network: (its config, the name or file of its weights, None for the published ones) -> the same with weights.
OpenWeights = Callable[[FeatureNetwork, str | None], OpenNetwork]


def no_weights(network: FeatureNetwork, weights: str | None) -> OpenNetwork:
    """Refuse: where nobody says how weights are read there are none.

    Raises:
      UserError: Always.
    """
    raise UserError(
        f'config.evaluate.protocol.weights: those of {network.name} ({weights or network.weights}) are not at hand here'
    )
