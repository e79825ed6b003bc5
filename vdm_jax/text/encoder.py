"""What every text encoder answers."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from vdm_jax.errors import UserError


class TextEncoder(Protocol):
    """Texts -> embeddings: a frozen dataclass, the config group config.text.

    length: S, the places of every embedding; width: D of each of them. fingerprint: sha256 of all that embeddings hang
    on, so that those of one encoder are not taken for another's. A text without letters has no place of its own.
    """

    @property
    def length(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(float32 (N, S, D), bool (N, S): which places are the text's, from the first on).

        Raises: UserError for texts that it has no embedding for.
        """


@dataclasses.dataclass(frozen=True)
class NoText:
    """No encoder: texts can be told from a cache alone, and no prompt be sampled."""

    length = width = 0
    fingerprint = ''

    def encode(self, texts):
        raise UserError(
            'config.text=none: no encoder for texts; name the one that the captions of training were encoded with, '
            'such as --config.text=hashing'
        )
