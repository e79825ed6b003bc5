"""Embeddings of texts, made once by a text encoder and kept in a directory: which text has which, read in training.

    DIR/about.json             the encoder, its `fingerprint`, `length` and `width`
    DIR/texts-00000.npy ...    ENTRY of each text of a part: sha256 of its UTF-8 and how many places it fills
    DIR/tokens-00000.npy ...   float16 or float32 (all their places, width), one text behind the other

A part is there once its texts file is: it is written last. Both are memory-mapped; no text itself is kept.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vdm_jax.errors import UserError

ABOUT, TEXTS, TOKENS = 'about.json', 'texts-{:05}.npy', 'tokens-{:05}.npy'
ENTRY = np.dtype([('sha256', 'u1', 32), ('places', '<i4')])


def key_of(text: str) -> bytes:
    """What a text is found by: 32 bytes."""
    return hashlib.sha256(text.encode()).digest()


def is_none(text: str) -> bool:
    """Whether a text says nothing, and so has no embedding."""
    return not text.strip()


def no_text(shape: tuple[int, int]) -> dict:
    """What a clip without a text is told: 'text' float32 (S, D), and 'text_mask' bool (S,), nowhere True."""
    return {'text': np.zeros(shape, np.float32), 'text_mask': np.zeros(shape[0], bool)}


@dataclasses.dataclass(frozen=True, eq=False)
class TextCache:
    """The embeddings in a directory; opened when first asked for. where: the key of a config, for messages."""

    path: str
    where: str = 'config.data.text'

    @functools.cached_property
    def about(self) -> dict:
        """{'encoder', 'fingerprint', 'length', 'width'}.

        Raises: UserError where there is no cache.
        """
        try:
            return json.loads((Path(self.path) / ABOUT).read_text())
        except (OSError, json.JSONDecodeError):
            raise UserError(
                f'{self.where}={self.path}: no embeddings there; make them with python -m data_pipelines cache-text'
            ) from None

    @property
    def shape(self) -> tuple[int, int]:
        """(S, D) of an embedding as it is given."""
        return self.about['length'], self.about['width']

    @property
    def fingerprint(self) -> str:
        """sha256 of the encoder that made them."""
        return self.about['fingerprint']

    @property
    def count(self) -> int:
        """Of texts. (There is no len: an empty cache is not false.)"""
        return len(self._keys)

    def __contains__(self, text: str) -> bool:
        return is_none(text) or self._find(text) is not None

    def missing(self, texts: Iterable[str]) -> list[str]:
        """Those of the texts that are not there."""
        return [text for text in dict.fromkeys(texts) if text not in self]

    def __getitem__(self, text: str) -> dict:
        """{'text': float32 (S, D), 'text_mask': bool (S,)}, zeros behind the text's own places.

        Raises: UserError for a text that is not there.
        """
        told = no_text(self.shape)
        if is_none(text):
            return told
        found = self._find(text)
        if found is None:
            raise UserError(
                f'{self.where}={self.path}: no embedding of {text!r}; let python -m data_pipelines cache-text go over '
                'the set again'
            )
        part, first, places = (int(each[found]) for each in self._places)
        told['text'][:places] = self._tokens(part)[first : first + places]
        told['text_mask'][:places] = True
        return told

    def _find(self, text):
        """The number of a text's entry, None where it has none."""
        key = np.frombuffer(key_of(text), np.uint8)
        short = key[:8].view('<u8')[0]
        first, stop = (np.searchsorted(self._short, short, side) for side in ('left', 'right'))
        return next((i for i in range(first, stop) if (self._keys[i] == key).all()), None)

    @functools.cached_property
    def _entries(self):
        """(keys uint8 (N, 32), (part, first place, places) of each), in the order of their first eight bytes."""
        parts = {int(file.stem.partition('-')[2]): np.load(file) for file in Path(self.path).glob('texts-*.npy')}
        entries = np.concatenate([np.empty(0, ENTRY), *parts.values()])
        number = np.repeat(np.array([*parts], np.int64), [len(part) for part in parts.values()])
        first = [np.cumsum(part['places'], dtype=np.int64) - part['places'] for part in parts.values()]
        first = np.concatenate([np.empty(0, np.int64), *first])
        keys = np.ascontiguousarray(entries['sha256'])
        order = np.argsort(keys[:, :8].copy().view('<u8')[:, 0], kind='stable')
        return keys[order], (number[order], first[order], entries['places'][order])

    @property
    def _keys(self):
        return self._entries[0]

    @property
    def _places(self):
        return self._entries[1]

    @functools.cached_property
    def _short(self):
        return self._keys[:, :8].copy().view('<u8')[:, 0]

    @functools.cached_property
    def _maps(self):
        return {}

    def _tokens(self, part):
        if part not in self._maps:
            self._maps[part] = np.load(Path(self.path) / TOKENS.format(part), mmap_mode='r')
        return self._maps[part]
