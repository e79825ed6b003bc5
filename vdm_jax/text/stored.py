"""Embeddings that the user has made, by whatever encoder, looked up by their texts."""

import dataclasses
import difflib
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from vdm_jax import files
from vdm_jax.errors import UserError, first_line

MAX_TEXTS_BYTES = 2**32


@dataclasses.dataclass(frozen=True)
class Stored:
    """Look up embeddings in files that the user has made.

    Everything that is wrong with them is a UserError that names config.text.KEY.

    Attributes:
      path: Of the embeddings: a .npy file (N, S, D) or (N, D), or a .safetensors file with such `embeddings` and,
        where not all positions hold something of the text, a `mask` (N, S), true for those that do; these come first.
      texts: Of the N texts: a .json list, or a .txt file with one a line.
    """

    path: str = ''
    texts: str = ''

    def __post_init__(self) -> None:
        for name, path in {'path': self.path, 'texts': self.texts}.items():
            if not path:
                raise UserError(f'config.text.{name} is empty; set it to a file')

    @property
    def length(self) -> int:
        embeddings, _ = self._arrays
        return int(embeddings.shape[1])

    @property
    def width(self) -> int:
        embeddings, _ = self._arrays
        return int(embeddings.shape[2])

    @functools.cached_property
    def fingerprint(self) -> str:
        """The sha256 of both files."""
        digest = hashlib.sha256()
        for name, path in {'path': self.path, 'texts': self.texts}.items():
            files.check_regular(path, called=f'config.text.{name}={path}')
            try:
                with open(path, 'rb') as file:
                    digest.update(hashlib.file_digest(file, 'sha256').digest())
            except OSError as error:
                raise UserError(f'config.text: {path} cannot be read ({error.strerror})') from None
        return digest.hexdigest()

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        stored_embeddings, stored_mask = self._arrays
        missing = [text for text in texts if text.strip() and text not in self._rows]
        if missing:
            close = difflib.get_close_matches(missing[0], self._rows, 1, 0.5)
            hint = f'did you mean {close[0]!r}?' if close else f'it has {len(self._rows)} texts'
            raise UserError(f'config.text.texts={self.texts}: {missing[0]!r} is not among them; {hint}')

        embeddings = np.zeros((len(texts), self.length, self.width), np.float32)
        mask = np.zeros((len(texts), self.length), bool)
        for i, text in enumerate(texts):
            if not text.strip():
                continue
            row = self._rows[text]
            mask[i] = True if stored_mask is None else stored_mask[row]
            # What lies behind the mask may be anything, and stays 0 here.
            embeddings[i][mask[i]] = stored_embeddings[row][mask[i]]
        return embeddings, mask

    @functools.cached_property
    def _rows(self) -> dict[str, int]:
        """The row of each text; the first where it is there several times."""
        called = f'config.text.texts={self.texts}'
        try:
            content = files.read_bytes(self.texts, MAX_TEXTS_BYTES, called).decode('utf-8-sig')
        except UnicodeDecodeError as error:
            raise UserError(f'{called} cannot be read: {error}') from None

        texts = files.parse_json(content, called) if self.texts.endswith('.json') else _split_lines(content)
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UserError(f'config.text.texts={self.texts}: want a list of texts')
        embeddings, _ = self._arrays
        if len(texts) != len(embeddings):
            raise UserError(
                f'config.text.texts={self.texts} has {len(texts)} texts, config.text.path={self.path} '
                f'{len(embeddings)} embeddings'
            )

        rows: dict[str, int] = {}
        for row, text in enumerate(texts):
            rows.setdefault(text, row)
        return rows

    @functools.cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The embeddings (N, S, D), and the mask bool (N, S) where the file has one."""
        arrays = self._read_arrays()
        embeddings = arrays['embeddings']
        mask = arrays.get('mask')
        called = f'config.text.path={self.path}'

        # One vector a text, such as CLIP's pooled one, is a text of one position.
        if embeddings.ndim == 2:
            embeddings = embeddings[:, None]
        if embeddings.ndim != 3 or not _is_float(embeddings.dtype) or 0 in embeddings.shape:
            raise UserError(f'{called}: embeddings are {embeddings.dtype} {embeddings.shape}, want float (N, S, D)')
        if mask is None:
            return embeddings, None

        mask = mask.astype(bool)
        if mask.shape != embeddings.shape[:2]:
            raise UserError(f'{called}: the mask is {mask.shape}, want {embeddings.shape[:2]}')
        # TextEncoder promises that the positions that hold something come first.
        if (mask[:, 1:] & ~mask[:, :-1]).any():
            raise UserError(f'{called}: the mask is true behind a place where it is false; move those to the front')
        return embeddings, mask

    def _read_arrays(self) -> dict[str, np.ndarray]:
        # safetensors.flax reads bfloat16, which safetensors.numpy does not.
        from safetensors.flax import load_file

        called = f'config.text.path={self.path}'
        if not self.path.endswith(('.npy', '.safetensors')):
            raise UserError(f'{called}: want a .npy or a .safetensors file')
        files.check_regular(self.path, called=called)
        try:
            if self.path.endswith('.npy'):
                # Mapped, not read: those of a large set need not fit into memory, and single rows are looked up.
                return {'embeddings': np.load(self.path, mmap_mode='r', allow_pickle=False)}
            arrays = {name: np.asarray(array) for name, array in load_file(self.path).items()}
        except Exception as error:  # whatever a damaged file makes numpy and safetensors raise
            raise UserError(f'{called} cannot be read: {first_line(error)}') from None
        if 'embeddings' not in arrays:
            raise UserError(f'{called}: no tensor called embeddings, but {", ".join(sorted(arrays))}')
        return arrays


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == 'f' or dtype.name == 'bfloat16'


def _split_lines(text: str) -> list[str]:
    r"""Split a file at \n and \r\n alone: captions may hold other white space, U+2028 too."""
    lines = [line.removesuffix('\r') for line in text.split('\n')]
    return lines if lines[-1] else lines[:-1]
