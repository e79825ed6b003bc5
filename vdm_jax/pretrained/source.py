"""Interface of a source: what a module must define so that its checkpoints can be loaded."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from vdm_jax.diffusion.objective import Objective
from vdm_jax.pretrained.table import Row


class Source(Protocol):
    """A module with the tensor names of one project.

    Attributes:
      NOT_STORED: Parameters of ours that no checkpoint of this source stores, with the reason; they are set to 0.
      MODEL: Class of the object that `load` returns. It is made of (source, config, params, report), and its
        init(config) makes fresh parameters, always the same.
    """

    NOT_STORED: Mapping[str, str]
    MODEL: Any

    def rename(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the tensors by today's names, where names have changed over time."""

    def infer_config(
        self, arrays: Mapping[str, np.ndarray], config_json: Mapping[str, Any], heads: int | None = None
    ) -> Any:
        """Return the config of the network that the tensors belong to; `config_json` is what its config.json holds.

        Raises:
          UserError: the tensors belong to another network, or the config does not follow from them.
        """

    def rows(self, config: Any) -> list[Row]:
        """Return the table of names."""

    def computed_tensors(self, config: Any) -> dict[str, np.ndarray]:
        """Return the tensors that we compute and a checkpoint may store, such as positions."""


class DenoisingSource(Source, Protocol):
    """A source of denoising networks.

    Attributes:
      GUIDED_CHANNELS: How many channels its code guides, the first ones; None for all.
    """

    GUIDED_CHANNELS: int | None

    def objective(self, config: Any) -> Objective:
        """Return what the network was trained on."""
