"""Embeddings that the user has made, with whatever encoder, looked up by their texts."""

import dataclasses
import difflib
import functools
import hashlib

import numpy as np

from vdm_jax import files
from vdm_jax.errors import UserError, first_line

LARGEST_TEXTS = 2**32  # bytes


@dataclasses.dataclass(frozen=True)
class Stored:
    """`path`: a .npy file (N, S, D) or (N, D), or a .safetensors file with such `embeddings`, and a `mask` (N, S) that
    is true where a text has something to say (all of it where there is none; true places come first). `texts`: the N
    texts, a .json list or a .txt file with one a line.

    Raises: UserError, naming config.text.KEY.
    """

    path: str = ''
    texts: str = ''

    def __post_init__(self):
        for name in ('path', 'texts'):
            if not getattr(self, name):
                raise UserError(f'config.text.{name} is empty; set it to a file')

    @property
    def length(self):
        return self._arrays[0].shape[1]

    @property
    def width(self):
        return self._arrays[0].shape[2]

    @functools.cached_property
    def fingerprint(self):
        """sha256 of both files."""
        digest = hashlib.sha256()
        for name, path in {'path': self.path, 'texts': self.texts}.items():
            files.check_regular(path, called=f'config.text.{name}={path}')
            try:
                with open(path, 'rb') as file:
                    digest.update(hashlib.file_digest(file, 'sha256').digest())
            except OSError as error:
                raise UserError(f'config.text: {path} cannot be read ({error.strerror})') from None
        return digest.hexdigest()

    def encode(self, texts):
        embeddings, mask = self._arrays
        lacking = [text for text in texts if text.strip() and text not in self._rows]
        if lacking:
            near = difflib.get_close_matches(lacking[0], self._rows, 1, 0.5)
            hint = f'did you mean {near[0]!r}?' if near else f'it has {len(self._rows)} texts'
            raise UserError(f'config.text.texts={self.texts}: {lacking[0]!r} is not among them; {hint}')
        found = np.zeros((len(texts), self.length, self.width), np.float32)
        told = np.zeros(found.shape[:2], bool)
        for i, text in enumerate(texts):
            if text.strip():
                row = self._rows[text]
                told[i] = True if mask is None else mask[row]
                found[i][told[i]] = embeddings[row][told[i]]
        return found, told

    @functools.cached_property
    def _rows(self) -> dict[str, int]:
        """{text: its number}, the first of equal ones."""
        called = f'config.text.texts={self.texts}'
        try:
            written = files.read_whole(self.texts, LARGEST_TEXTS, called).decode('utf-8-sig')
        except UnicodeDecodeError as error:
            raise UserError(f'{called} cannot be read: {error}') from None
        texts = files.parse_json(written, called) if self.texts.endswith('.json') else _lines(written)
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UserError(f'config.text.texts={self.texts}: want a list of texts')
        if len(texts) != len(self._arrays[0]):
            raise UserError(
                f'config.text.texts={self.texts} has {len(texts)} texts, config.text.path={self.path} '
                f'{len(self._arrays[0])} embeddings'
            )
        return {text: i for i, text in reversed(list(enumerate(texts)))}

    @functools.cached_property
    def _arrays(self):
        """(embeddings (N, S, D), mask bool (N, S) or None)."""
        arrays = self._read()
        embeddings, mask = arrays['embeddings'], arrays.get('mask')
        if embeddings.ndim == 2:
            embeddings = embeddings[:, None]
        where = f'config.text.path={self.path}'
        if embeddings.ndim != 3 or not _is_float(embeddings.dtype) or 0 in embeddings.shape:
            raise UserError(f'{where}: embeddings are {embeddings.dtype} {embeddings.shape}, want float (N, S, D)')
        if mask is not None:
            mask = mask.astype(bool)
            if mask.shape != embeddings.shape[:2]:
                raise UserError(f'{where}: the mask is {mask.shape}, want {embeddings.shape[:2]}')
            if (mask[:, 1:] & ~mask[:, :-1]).any():
                raise UserError(f'{where}: the mask is true behind a place where it is false; move those to the front')
        return embeddings, mask

    def _read(self) -> dict[str, np.ndarray]:
        from safetensors.flax import load_file  # it knows bfloat16, which numpy does not

        where = f'config.text.path={self.path}'
        if not self.path.endswith(('.npy', '.safetensors')):
            raise UserError(f'{where}: want a .npy or a .safetensors file')
        files.check_regular(self.path, called=where)
        try:
            if self.path.endswith('.npy'):
                return {'embeddings': np.load(self.path, mmap_mode='r', allow_pickle=False)}
            arrays = {name: np.asarray(array) for name, array in load_file(self.path).items()}
        except Exception as error:  # whatever a damaged file makes numpy and safetensors raise
            raise UserError(f'{where} cannot be read: {first_line(error)}') from None
        if 'embeddings' not in arrays:
            raise UserError(f'{where}: no tensor called embeddings, but {", ".join(sorted(arrays))}')
        return arrays


def _is_float(dtype) -> bool:
    return dtype.kind == 'f' or dtype.name == 'bfloat16'


def _lines(text: str) -> list[str]:
    """The lines of a file, each of which ends at \\n or \\r\\n: captions may hold other white space, U+2028 too."""
    lines = [line.removesuffix('\r') for line in text.split('\n')]
    return lines if lines[-1] else lines[:-1]
