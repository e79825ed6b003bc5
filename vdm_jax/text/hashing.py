"""An encoder without weights: for tests and toy runs, and a floor for real ones."""

import dataclasses
import functools
import hashlib
import re
from typing import Annotated

import numpy as np

from vdm_jax.config.ranges import Between, Ranged, Side

TOKEN = re.compile(r'\w+|[^\w\s]')
SHARE = 0.5  # of a place's number in its embedding, against what stands there


@dataclasses.dataclass(frozen=True)
class Hashing(Ranged, where='config.text'):
    """Words and signs in a row, in small letters; each is the sum of random signs (feature hashing, Weinberger et al.
    2009) of itself and of its pieces of three letters (as in fastText, Bojanowski et al. 2017), so that forms of a word
    are near, plus those of its place; of length 1. Words behind the first `length` are left out.
    """

    width: Side = 64
    length: Annotated[int, Between(1, 4096)] = 32

    @property
    def fingerprint(self):
        return hashlib.sha256(f'hashing 1 {self.width} {self.length}'.encode()).hexdigest()

    def encode(self, texts):
        embeddings = np.zeros((len(texts), self.length, self.width), np.float32)
        mask = np.zeros((len(texts), self.length), bool)
        for text, embedding, own in zip(texts, embeddings, mask, strict=True):
            tokens = TOKEN.findall(text.lower())[: self.length]
            for place, token in enumerate(tokens):
                vector = _unit(_word(token, self.width)) + SHARE * _unit(_signs(f'place {place}', self.width))
                embedding[place] = _unit(vector)
            own[: len(tokens)] = True
        return embeddings, mask


@functools.lru_cache(maxsize=2**16)
def _word(token: str, width: int) -> np.ndarray:
    framed = f'<{token}>'
    pieces = [framed[i : i + 3] for i in range(len(framed) - 2)] if len(token) > 2 else []
    return np.sum([_signs(f'word {token}', width), *(_signs(f'piece {piece}', width) for piece in pieces)], 0)


@functools.lru_cache(maxsize=2**16)
def _signs(feature: str, width: int) -> np.ndarray:
    """`width` signs, as good as random."""
    digest = hashlib.shake_256(feature.encode()).digest(-(-width // 8))
    return np.unpackbits(np.frombuffer(digest, np.uint8))[:width] * 2.0 - 1.0


def _unit(vector):
    return vector / max(np.linalg.norm(vector), 1e-9)
