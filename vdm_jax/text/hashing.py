"""A text encoder without weights: for tests and toy runs, and a lower bound for real ones."""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Sequence
from typing import Annotated

import numpy as np

from vdm_jax.config.ranges import Between, Ranged, Side

TOKEN = re.compile(r'\w+|[^\w\s]')
POSITION_WEIGHT = 0.5  # of a position's vector, beside the word's


@dataclasses.dataclass(frozen=True)
class Hashing(Ranged, where='config.text'):
    """Embed each word and punctuation mark by feature hashing (Weinberger et al. 2009), in lower case.

    The vector of a word is the sum of random signs of itself and of its pieces of three letters (as in fastText,
    Bojanowski et al. 2017), so that forms of a word are near each other; random signs of its position are added. It has
    length 1.

    Attributes:
      width: Dimensions of the embedding of a word.
      length: Words of an embedding; those after them are left out.
    """

    width: Side = 64
    length: Annotated[int, Between(1, 4096)] = 32

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f'hashing 1 {self.width} {self.length}'.encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        embeddings = np.zeros((len(texts), self.length, self.width), np.float32)
        mask = np.zeros((len(texts), self.length), bool)
        for row, text in enumerate(texts):
            tokens = TOKEN.findall(text.lower())[: self.length]
            for position, token in enumerate(tokens):
                word_vector = _normalise(_embed_word(token, self.width))
                # Cross-attention has no positions for texts, so word order has to be in the vectors. The fingerprint
                # covers the feature's name: another one is another encoder.
                position_vector = _normalise(_random_signs(f'place {position}', self.width))
                embeddings[row, position] = _normalise(word_vector + POSITION_WEIGHT * position_vector)
            mask[row, : len(tokens)] = True
        return embeddings, mask


@functools.lru_cache(maxsize=2**16)
def _embed_word(token: str, width: int) -> np.ndarray:
    """Sum the signs of a word and of its pieces, float64 (width,)."""
    vectors = [_random_signs(f'word {token}', width)]
    if len(token) > 2:
        framed = f'<{token}>'  # so that pieces at the ends of a word differ from those inside
        for i in range(len(framed) - 2):
            vectors.append(_random_signs(f'piece {framed[i : i + 3]}', width))
    total: np.ndarray = np.sum(vectors, 0)
    return total


@functools.lru_cache(maxsize=2**16)
def _random_signs(feature: str, width: int) -> np.ndarray:
    """Hash a feature to pseudo-random signs, float64 (width,)."""
    # Python's own hash is salted anew in every process.
    digest = hashlib.shake_256(feature.encode()).digest(-(-width // 8))
    return np.unpackbits(np.frombuffer(digest, np.uint8))[:width] * 2.0 - 1.0


def _normalise(vector: np.ndarray) -> np.ndarray:
    length = max(float(np.linalg.norm(vector)), 1e-9)
    return vector / length
