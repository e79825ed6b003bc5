"""Embeddings of texts, made once by a text encoder and kept in a directory: which text has which, read in training.

    DIR/about.json             the encoder, its `fingerprint`, `length` and `width`
    DIR/texts-00000.npy ...    ENTRY of each text of a part: sha256 of its UTF-8, how many places it fills, and digest
                               of its tokens; behind these the sha256 of the file up to there, 32 bytes
    DIR/tokens-00000.npy ...   float16 or float32 (all their places, width), one text behind the other

A part is there once its texts file is: it is written last. No text itself is kept. Tokens are read when they are asked
for, and checked when a process first reads them. Earlier versions wrote neither sha256 nor digests (FORMER_ENTRY, and
about.json without a `version`): such parts are read as they are, unverified.
"""

import dataclasses
import functools
import hashlib
import io
import re
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vdm_jax.data.foreign import Values
from vdm_jax.data.npy import DIGEST, DamageError, RowFile, digest_of, read_header
from vdm_jax.errors import UserError
from vdm_jax.files import SHA256, read_json, read_whole, sealed, unsealed

VERSION = 2
ABOUT, TEXTS, TOKENS = 'about.json', 'texts-{:05}.npy', 'tokens-{:05}.npy'
FORMER_ENTRY = np.dtype([('sha256', 'u1', 32), ('places', '<i4')])
ENTRY = np.dtype(FORMER_ENTRY.descr + [('tokens', DIGEST)])
SEAL = 32  # bytes of the sha256 behind entries
MOST_BYTES = 2**34  # of a file of entries
MOST_NUMBERS = 2**26  # of one embedding
ANEW = 'let python -m data_pipelines cache-text go over the set again'


def key_of(text: str) -> bytes:
    """What a text is found by: 32 bytes."""
    return hashlib.sha256(text.encode()).digest()


def is_none(text: str) -> bool:
    """Whether a text says nothing, and so has no embedding."""
    return not text.strip()


def no_text(shape: tuple[int, int]) -> dict:
    """What a clip without a text is told: 'text' float32 (S, D), and 'text_mask' bool (S,), nowhere True."""
    return {'text': np.zeros(shape, np.float32), 'text_mask': np.zeros(shape[0], bool)}


def is_about(directory) -> bool:
    """Whether about.json of a directory is that of embeddings of texts."""
    try:
        values = read_json(Path(directory) / ABOUT)
    except UserError:
        return False
    return isinstance(values, dict) and 'fingerprint' in values


def about_of(values: dict) -> dict:
    """The content of about.json of these values."""
    return sealed({'version': VERSION, **values})


def part_of(texts: list[str], places: np.ndarray, tokens: np.ndarray) -> bytes:
    """The content of texts-*.npy of these texts, which fill so many places (N,) of tokens (places, width) each."""
    entries = np.zeros(len(texts), ENTRY)
    entries['sha256'] = [np.frombuffer(key_of(text), np.uint8) for text in texts]
    entries['places'] = places
    stops = np.cumsum(places)
    entries['tokens'] = [
        digest_of(tokens[stop - count : stop].tobytes()) for stop, count in zip(stops, places, strict=True)
    ]
    file = io.BytesIO()
    np.save(file, entries)
    return file.getvalue() + hashlib.sha256(file.getvalue()).digest()


@dataclasses.dataclass(frozen=True, eq=False)
class TextCache:
    """The embeddings in a directory; opened when first asked for. where: the key of a config, for messages.

    Raises: UserError for files that are damaged.
    """

    path: str
    where: str = 'config.data.text'

    @functools.cached_property
    def about(self) -> dict:
        """{'encoder', 'fingerprint', 'length', 'width', 'dtype'}, and 'version', but for those of earlier ones.

        Raises: UserError where there is no cache.
        """
        path, called = Path(self.path) / ABOUT, f'{self.where}={self.path}: {ABOUT}'
        if not path.exists():
            raise UserError(
                f'{self.where}={self.path}: no embeddings there; make them with python -m data_pipelines cache-text'
            )
        values = read_json(path, called=called)
        about = Values(values, called)
        if 'version' in values:
            about.whole('version', VERSION, VERSION)
            about.sha256(SHA256)
        values = unsealed(values, called)
        about.text('fingerprint')
        if about.whole('length', 1) * about.whole('width', 1) > MOST_NUMBERS:
            raise about.wrong('length', f'{MOST_NUMBERS} numbers in an embedding at most')
        return values

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

    @property
    def verified(self) -> bool:
        """Whether damage to them is noticed."""
        return 'version' in self.about and self._entries[2] is not None

    def notes(self) -> list[str]:
        """A line where damage would go unnoticed."""
        if self.verified:
            return []
        return [
            f'{self.where}={self.path}: unverified, as an earlier version made them without sha256; to have damage '
            'noticed, make them anew with python -m data_pipelines cache-text, in another directory'
        ]

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
            raise UserError(f'{self.where}={self.path}: no embedding of {text!r}; {ANEW}')
        tokens = self._tokens_of(found)
        told['text'][: len(tokens)] = tokens
        told['text_mask'][: len(tokens)] = True
        return told

    def problems(self):
        """Yields (file, what is wrong with it) for each text and file that is damaged, reading everything.

        Raises: UserError where it cannot be told what is there.
        """
        broken = set()
        for number in range(self.count):
            part = int(self._places[0][number])
            try:
                self._file(part)
                self._tokens_of(number)
            except UserError as error:
                if part not in self._files[0]:  # it cannot be opened: once is enough
                    if part in broken:
                        continue
                    broken.add(part)
                yield TOKENS.format(part), str(error)

    def _find(self, text):
        """The number of a text's entry, None where it has none."""
        key = np.frombuffer(key_of(text), np.uint8)
        short = key[:8].view('<u8')[0]
        first, stop = (np.searchsorted(self._short, short, side) for side in ('left', 'right'))
        return next((i for i in range(first, stop) if (self._keys[i] == key).all()), None)

    @functools.cached_property
    def _entries(self):
        """(keys uint8 (N, 32), (part, first place, places) of each, digests of tokens or None where some have none), in
        the order of their first eight bytes.
        """
        parts = {number: self._part(number) for number in self._numbers}
        entries = [np.empty(0, FORMER_ENTRY), *(part[[*FORMER_ENTRY.names]] for part in parts.values())]
        entries = np.concatenate([each.astype(FORMER_ENTRY) for each in entries])
        number = np.repeat(np.array([*parts], np.int64), [len(part) for part in parts.values()])
        first = [np.cumsum(part['places'], dtype=np.int64) - part['places'] for part in parts.values()]
        first = np.concatenate([np.empty(0, np.int64), *first])
        keys = np.ascontiguousarray(entries['sha256'])
        order = np.argsort(keys[:, :8].copy().view('<u8')[:, 0], kind='stable')
        digests = None
        if all(part.dtype == ENTRY for part in parts.values()):
            digests = np.concatenate([np.empty(0, DIGEST), *(part['tokens'] for part in parts.values())])[order]
        return keys[order], (number[order], first[order], entries['places'][order]), digests

    @property
    def _numbers(self):
        """Of the parts that are there."""
        found = (re.fullmatch(r'texts-(\d{5,9})\.npy', file.name) for file in Path(self.path).glob('texts-*.npy'))
        return sorted(int(name[1]) for name in found if name)

    def _part(self, number):
        """The entries of one part."""
        name = TEXTS.format(number)
        try:
            content = read_whole(Path(self.path) / name, MOST_BYTES, name)
            file = io.BytesIO(content)
            dtype, shape = read_header(file)
            begin, size = file.tell(), len(shape) == 1 and shape[0] * dtype.itemsize
            seal = SEAL if dtype == ENTRY else 0
            if dtype not in (ENTRY, FORMER_ENTRY) or len(content) != begin + size + seal:
                raise DamageError('no entries of texts')
            if seal and hashlib.sha256(content[:-SEAL]).digest() != content[-SEAL:]:
                raise DamageError('its sha256 is another one than when it was made')
        except (DamageError, UserError) as error:
            raise self._damaged(number, name, error) from None
        entries = np.frombuffer(content, dtype, shape[0], begin)
        if len(entries) and not 0 <= entries['places'].min() <= entries['places'].max() <= self.about['length']:
            raise self._damaged(number, name, f'places of texts that are not 0 to {self.about["length"]}')
        return entries

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
    def _checked(self):
        """Of which texts the tokens were read and are right."""
        return np.zeros(len(self._keys), bool)

    def _tokens_of(self, number):
        """The tokens of the text of an entry (places, width), in the stored type."""
        part, first, places = (int(each[number]) for each in self._places)
        file, width, digests = self._file(part), self.about['width'], self._entries[2]
        tokens = np.empty((places, width), file.dtype)
        row = memoryview(tokens.reshape(-1).view(np.uint8))
        try:
            file.read(first * width * file.dtype.itemsize, row)
            if digests is not None and not self._checked[number]:
                if digest_of(row) != int(digests[number]):
                    raise DamageError('the sha256 of a text in it is another one than when it was made')
                self._checked[number] = True
        except DamageError as error:
            raise self._damaged(part, TOKENS.format(part), error) from None
        return tokens

    @functools.cached_property
    def _files(self):
        return {}, threading.Lock()

    def _file(self, part) -> RowFile:
        """An open file of tokens."""
        files, lock = self._files
        with lock:
            if part not in files:
                name, places = TOKENS.format(part), int(self._places[2][self._places[0] == part].sum(dtype=np.int64))
                try:
                    file = RowFile(Path(self.path) / name)
                    if file.dtype not in (np.float16, np.float32) or file.shape != (places, self.about['width']):
                        raise DamageError(f'{file.dtype} {file.shape}, and {places} places are told of')
                except DamageError as error:
                    raise self._damaged(part, name, error) from None
                files[part] = file
            return files[part]

    def _damaged(self, part, name, error) -> UserError:
        both = f'{TEXTS.format(part)} and {TOKENS.format(part)}'
        return UserError(f'{self.where}={self.path}: {name} is damaged ({error}); remove {both}, and {ANEW}')
