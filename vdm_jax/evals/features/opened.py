"""A network that judges, with its weights: protocols name it, and whoever runs them opens it."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from vdm_jax.codecs.lpips import ALEXNET, Backbone
from vdm_jax.errors import UserError
from vdm_jax.evals.features.network import FeatureNetwork


@dataclass(frozen=True)
class LPIPS:
    """LPIPS, of whichever backbone its weights are.

    name: What messages and scores call it.
    weights: The name in pretrained.SOURCES of those who publish its weights.

    Attributes:
      backbone: Whose features are compared.
    """

    name: ClassVar[str] = 'lpips'
    weights: ClassVar[str] = 'lpips'

    backbone: Backbone = ALEXNET


Network = TypeVar('Network', FeatureNetwork, LPIPS)


@dataclass(frozen=True)
class OpenNetwork(Generic[Network]):
    """A network that is ready to use.

    Attributes:
      network: What it computes.
      params: Its parameters.
      weights: By which name or file they were found.
      sha256: Of their file.
    """

    network: Network
    params: Any = field(repr=False)
    weights: str
    sha256: str


class OpenWeights(Protocol):
    """Opens a network: (its config, name or file of its weights, None for the published ones) -> it with weights."""

    def __call__(self, network: Network, weights: str | None) -> OpenNetwork[Network]: ...


def no_weights(network: Network, weights: str | None) -> OpenNetwork[Network]:
    """Refuse: where nobody says how weights are read there are none.

    Raises:
      UserError: Always.
    """
    name = weights or network.weights
    raise UserError(f'config.evaluate.protocol: no weights of {network.name} ({name}) are at hand here')
