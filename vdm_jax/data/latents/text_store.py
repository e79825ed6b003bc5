"""Embeddings of texts, made once by a text encoder and stored in a directory, to be looked up in training.

    DIR/about.json             the encoder, its `fingerprint`, `length` and `width`
    DIR/texts-00000.npy ...    ENTRY of each text of a part: sha256 of its UTF-8, how many tokens it has, and digest of
                               their embeddings; behind these the sha256 of the file up to there, 32 bytes
    DIR/tokens-00000.npy ...   float16 or float32 (all their tokens, width), one text behind the other

A part is there once its texts file is: it is written last. No text itself is stored. Embeddings are read when they are
needed, and checked when a process first reads them. Earlier versions wrote neither sha256 nor digests (FORMER_ENTRY,
and about.json without a `version`): such parts are read as they are, unverified.
"""

import dataclasses
import functools
import hashlib
import io
import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vdm_jax.data.json_values import JsonValues
from vdm_jax.data.npy import DIGEST, DamageError, RowFile, digest_of, read_header
from vdm_jax.errors import UserError
from vdm_jax.files import SHA256, read_bytes, read_json, seal, unseal

VERSION = 2
ABOUT = 'about.json'
TEXTS = 'texts-{:05}.npy'
TOKENS = 'tokens-{:05}.npy'
# 'places' is how many tokens a text has, by the name that this has on disk.
FORMER_ENTRY = np.dtype([('sha256', 'u1', 32), ('places', '<i4')])
ENTRY = np.dtype(FORMER_ENTRY.descr + [('tokens', DIGEST)])
SEAL = 32  # bytes of the sha256 behind entries
MAX_BYTES = 2**34  # of a file of entries
MAX_NUMBERS = 2**26  # of one embedding
REPAIR = 'let python -m data_pipelines cache-text go over the set again'


def key_of(text: str) -> bytes:
    """Return what a text is found by: 32 bytes."""
    # All keys are of one size, and no caption of a set lies in its cache.
    return hashlib.sha256(text.encode()).digest()


def is_empty(text: str) -> bool:
    """Whether a text says nothing, and so has no embedding."""
    return not text.strip()


def empty_embedding(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return what a clip without a text has: 'text' float32 (S, D), and 'text_mask' bool (S,), nowhere True."""
    return {'text': np.zeros(shape, np.float32), 'text_mask': np.zeros(shape[0], bool)}


def is_text_store(directory: str | os.PathLike[str]) -> bool:
    """Whether about.json of a directory is that of embeddings of texts."""
    try:
        values = read_json(Path(directory) / ABOUT)
    except UserError:
        return False
    return isinstance(values, dict) and 'fingerprint' in values


def seal_about(values: dict[str, Any]) -> dict[str, Any]:
    """Return the content of about.json with these values."""
    return seal({'version': VERSION, **values})


def encode_entries(texts: list[str], lengths: np.ndarray, tokens: np.ndarray) -> bytes:
    """Return the content of texts-*.npy.

    Args:
      texts: N of them.
      lengths: (N,) how many tokens each has.
      tokens: (all tokens, width) their embeddings, one text behind the other.
    """
    entries = np.zeros(len(texts), ENTRY)
    entries['sha256'] = [np.frombuffer(key_of(text), np.uint8) for text in texts]
    entries['places'] = lengths

    stops = np.cumsum(lengths)
    starts = stops - lengths
    entries['tokens'] = [digest_of(tokens[start:stop].tobytes()) for start, stop in zip(starts, stops, strict=True)]
    file = io.BytesIO()
    np.save(file, entries)
    return file.getvalue() + hashlib.sha256(file.getvalue()).digest()


@dataclasses.dataclass(frozen=True, eq=False)
class _Index:
    """The entries of all parts, in the order of the first eight bytes of their keys.

    Attributes:
      keys: uint8 (N, 32).
      parts: (N,) the part that each text is in.
      starts: (N,) its first token in that part.
      lengths: (N,) how many tokens it has.
      digests: (N,) of the tokens, None where some have none.
    """

    keys: np.ndarray
    parts: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    digests: np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False)
class TextCache:
    """The embeddings in a directory; files are opened when they are first needed.

    Attributes:
      path: Of the directory.
      where: The key of a config, for messages.

    Raises:
      UserError: files are damaged.
    """

    path: str
    where: str = 'config.data.text'

    @functools.cached_property
    def about(self) -> dict[str, Any]:
        """{'encoder', 'fingerprint', 'length', 'width', 'dtype'}, and 'version', but for those of earlier ones.

        Raises:
          UserError: there is no cache.
        """
        path = Path(self.path) / ABOUT
        called = f'{self.where}={self.path}: {ABOUT}'
        if not path.exists():
            raise UserError(
                f'{self.where}={self.path}: no embeddings there; make them with python -m data_pipelines cache-text'
            )
        values = read_json(path, called=called)
        about = JsonValues(values, called)
        if 'version' in values:
            about.integer('version', VERSION, VERSION)
            about.sha256(SHA256)
        values = unseal(values, called)
        about.text('fingerprint')
        if about.integer('length', 1) * about.integer('width', 1) > MAX_NUMBERS:
            raise about.error('length', f'{MAX_NUMBERS} numbers in an embedding at most')
        return values

    @property
    def shape(self) -> tuple[int, int]:
        """(S, D) of an embedding as clips have it."""
        return self.about['length'], self.about['width']

    @property
    def fingerprint(self) -> str:
        """sha256 of the encoder that made them."""
        return str(self.about['fingerprint'])

    @property
    def count(self) -> int:
        """Number of texts; there is no len, as an empty cache is not false."""
        return len(self._index.keys)

    @property
    def is_verified(self) -> bool:
        """Whether damage to them is noticed."""
        return 'version' in self.about and self._index.digests is not None

    def notes(self) -> list[str]:
        """Return a line where damage would go unnoticed."""
        if self.is_verified:
            return []
        return [
            f'{self.where}={self.path}: unverified, as an earlier version made them without sha256; to have damage '
            'noticed, make them anew with python -m data_pipelines cache-text, in another directory'
        ]

    def __contains__(self, text: str) -> bool:
        return is_empty(text) or self._find(text) is not None

    def missing(self, texts: Iterable[str]) -> list[str]:
        """Return those of the texts that are not there."""
        return [text for text in dict.fromkeys(texts) if text not in self]

    def __getitem__(self, text: str) -> dict[str, np.ndarray]:
        """Return {'text': float32 (S, D), 'text_mask': bool (S,)}, zeros behind the text's own tokens.

        Raises:
          UserError: the text is not there.
        """
        embedding = empty_embedding(self.shape)
        if is_empty(text):
            return embedding
        number = self._find(text)
        if number is None:
            raise UserError(f'{self.where}={self.path}: no embedding of {text!r}; {REPAIR}')
        tokens = self._read_tokens(number)
        embedding['text'][: len(tokens)] = tokens
        embedding['text_mask'][: len(tokens)] = True
        return embedding

    def find_problems(self) -> Iterator[tuple[str, str]]:
        """Yield (file, what is wrong with it) for each text and file that is damaged, reading everything.

        Raises:
          UserError: it cannot be known what is there.
        """
        open_files, _ = self._files
        broken_parts = set()
        for number in range(self.count):
            part = int(self._index.parts[number])
            try:
                self._open_tokens(part)
                self._read_tokens(number)
            except UserError as error:
                # A file that cannot be opened is one problem, not one of each text.
                if part not in open_files:
                    if part in broken_parts:
                        continue
                    broken_parts.add(part)
                yield TOKENS.format(part), str(error)

    def _find(self, text: str) -> int | None:
        """Return the number of a text's entry, None where it has none."""
        key = np.frombuffer(key_of(text), np.uint8)
        prefix = key[:8].view('<u8')[0]
        first, stop = (int(np.searchsorted(self._prefixes, prefix, side)) for side in ('left', 'right'))
        # Two texts may have the same first eight bytes: the whole key decides.
        return next((i for i in range(first, stop) if (self._index.keys[i] == key).all()), None)

    @functools.cached_property
    def _index(self) -> _Index:
        parts = {number: self._read_entries(number) for number in self._part_numbers()}

        # The empty arrays are for a directory without parts.
        # Parts of both versions are read by the fields that both have.
        fields = list(FORMER_ENTRY.names or ())
        former = [part[fields].astype(FORMER_ENTRY) for part in parts.values()]
        entries = np.concatenate([np.empty(0, FORMER_ENTRY), *former])
        part_of = np.repeat(np.array([*parts], np.int64), [len(part) for part in parts.values()])
        starts = [np.cumsum(part['places'], dtype=np.int64) - part['places'] for part in parts.values()]
        start_of = np.concatenate([np.empty(0, np.int64), *starts])

        keys = np.ascontiguousarray(entries['sha256'])
        # Sorted once, so that a text is found by bisection among millions.
        order = np.argsort(_prefixes_of(keys), kind='stable')
        # One part of an earlier version, without digests, leaves the whole store unverified.
        digests = None
        if all(part.dtype == ENTRY for part in parts.values()):
            digests = np.concatenate([np.empty(0, DIGEST), *(part['tokens'] for part in parts.values())])[order]
        return _Index(keys[order], part_of[order], start_of[order], entries['places'][order], digests)

    def _part_numbers(self) -> list[int]:
        """Return the numbers of the parts that are there, ascending."""
        names = (re.fullmatch(r'texts-(\d{5,9})\.npy', file.name) for file in Path(self.path).glob('texts-*.npy'))
        return sorted(int(name[1]) for name in names if name)

    def _read_entries(self, number: int) -> np.ndarray:
        """Return the entries of one part: (N,) of ENTRY or FORMER_ENTRY.

        Raises:
          UserError: the file is damaged.
        """
        name = TEXTS.format(number)
        try:
            content = read_bytes(Path(self.path) / name, MAX_BYTES, name)
            file = io.BytesIO(content)
            dtype, shape = read_header(file)
            begin = file.tell()
            size = len(shape) == 1 and shape[0] * dtype.itemsize
            # Earlier versions put no sha256 behind their entries.
            seal = SEAL if dtype == ENTRY else 0
            if dtype not in (ENTRY, FORMER_ENTRY) or len(content) != begin + size + seal:
                raise DamageError('no entries of texts')
            if seal and hashlib.sha256(content[:-SEAL]).digest() != content[-SEAL:]:
                raise DamageError('its sha256 is another one than when it was made')
        except (DamageError, UserError) as error:
            raise self._damage_error(number, name, error) from None

        entries = np.frombuffer(content, dtype, shape[0], begin)
        longest = self.about['length']
        # Lengths are added up to where each text begins, and an embedding has room for so many tokens.
        if len(entries) and not 0 <= entries['places'].min() <= entries['places'].max() <= longest:
            raise self._damage_error(number, name, f'places of texts that are not 0 to {longest}')
        return entries

    @functools.cached_property
    def _prefixes(self) -> np.ndarray:
        return _prefixes_of(self._index.keys)

    @functools.cached_property
    def _is_checked(self) -> np.ndarray:
        """Of which texts the tokens were read and are right: bool (N,)."""
        return np.zeros(self.count, bool)

    def _read_tokens(self, number: int) -> np.ndarray:
        """Return the embeddings of the tokens of an entry's text, (tokens, width), in the stored type."""
        index = self._index
        part = int(index.parts[number])
        file = self._open_tokens(part)
        width = self.about['width']
        tokens = np.empty((int(index.lengths[number]), width), file.dtype)
        row = memoryview(tokens.reshape(-1).view(np.uint8).data)
        try:
            file.read(int(index.starts[number]) * width * file.dtype.itemsize, row)
            if index.digests is not None and not self._is_checked[number]:
                if digest_of(row) != int(index.digests[number]):
                    raise DamageError('the sha256 of a text in it is another one than when it was made')
                self._is_checked[number] = True
        except DamageError as error:
            raise self._damage_error(part, TOKENS.format(part), error) from None
        return tokens

    @functools.cached_property
    def _files(self) -> tuple[dict[int, RowFile], threading.Lock]:
        return {}, threading.Lock()

    def _open_tokens(self, part: int) -> RowFile:
        """Return the file of tokens of a part, opened once."""
        files, lock = self._files
        with lock:
            if part not in files:
                name = TOKENS.format(part)
                count = int(self._index.lengths[self._index.parts == part].sum(dtype=np.int64))
                try:
                    file = RowFile(Path(self.path) / name)
                    if file.dtype not in (np.float16, np.float32) or file.shape != (count, self.about['width']):
                        raise DamageError(f'{file.dtype} {file.shape}, and {count} places are listed')
                except DamageError as error:
                    raise self._damage_error(part, name, error) from None
                files[part] = file
            return files[part]

    def _damage_error(self, part: int, name: str, reason: Exception | str) -> UserError:
        both = f'{TEXTS.format(part)} and {TOKENS.format(part)}'
        return UserError(f'{self.where}={self.path}: {name} is damaged ({reason}); remove {both}, and {REPAIR}')


def _prefixes_of(keys: np.ndarray) -> np.ndarray:
    """Return the first eight bytes of each key as a number: by these entries are sorted and searched."""
    prefixes: np.ndarray = keys[:, :8].copy().view('<u8')[:, 0]
    return prefixes
