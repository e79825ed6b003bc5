"""Interface of text encoders: captions and prompts to embeddings."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from vdm_jax.errors import UserError


class TextEncoder(Protocol):
    """Texts -> embeddings: a frozen dataclass, the config group config.text.

    Attributes:
      length: S, the positions of every embedding.
      width: D, the dimensions at each position.
      fingerprint: sha256 of all that embeddings depend on, so that those of one encoder are not taken for another's.
    """

    @property
    def length(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return embeddings float32 (N, S, D), and a mask bool (N, S): which positions hold something of the text.

        They are the first ones; a text without letters has none.

        Raises:
          UserError: It has no embedding for one of the texts.
        """


@dataclasses.dataclass(frozen=True)
class NoText:
    """No encoder: a network is conditioned on texts from a cache alone, and no prompt can be sampled."""

    length = 0
    width = 0
    fingerprint = ''

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        raise UserError(
            'config.text=none: no encoder for texts; name the one that the captions of training were encoded with, '
            'such as --config.text=hashing'
        )
