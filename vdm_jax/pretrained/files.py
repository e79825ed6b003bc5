"""Files of other people's weights: safetensors, and PyTorch's own format where the extra `convert` is installed."""

import os
import re
from pathlib import Path

import numpy as np

from vdm_jax import files
from vdm_jax.errors import UserError
from vdm_jax.pretrained import names, tensors

WEIGHTS = ('diffusion_pytorch_model.safetensors', 'model.safetensors')  # of a directory that diffusers wrote
TORCH = ('.pt', '.pth', '.bin', '.ckpt')
ENTRIES = ('ema', 'model', 'state_dict')  # under which trainers put a network, the first that is there


def read(path, entry: str | None = None) -> tuple[dict[str, np.ndarray], dict]:
    """(tensors by name, the network's config where a config.json lies beside them, else {}).

    Names are without what trainers wrap around a network (names.unwrapped).

    path: a .safetensors file, a directory that diffusers wrote (in shards too), or a PyTorch checkpoint, which is
    loaded with weights_only=True: nothing in it is run. entry: which of a trainer's networks to take: 'ema' (the first
    choice), 'model', or what its names begin with.

    Raises:
      UserError: no such file, another kind of file, a damaged one, or PyTorch is needed and not there.
    """
    arrays, about = read_as_named(path, entry)
    return names.unwrapped(arrays), about


def read_as_named(path, entry: str | None = None) -> tuple[dict[str, np.ndarray], dict]:
    """The same by the names that stand in the file."""
    called = f'--checkpoint={path}'
    if not files.is_local(path):
        raise UserError(f'{called}: is not on this machine; bring the file here')
    path = Path(path)
    if os.path.isdir(path):
        arrays, beside = _directory(path), path
    else:
        files.check_regular(path, called=called)
        arrays, beside = _file(path, entry), path.parent
    if entry and path.suffix not in TORCH:
        arrays = names.entry_of(arrays, entry, str(path))
    return arrays, _config(beside / 'config.json')


def write(path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> int:
    """Writes tensors as safetensors, the same bytes for the same tensors; returns the number of bytes."""
    return tensors.write(path, arrays, metadata)


def _file(path: Path, entry: str | None) -> dict[str, np.ndarray]:
    if path.suffix == '.safetensors':
        return _safetensors(path)
    if path.suffix in TORCH:
        return _torch(path, entry)
    raise UserError(
        f'--checkpoint={path}: {path.suffix or "a file without an ending"} is not read; want .safetensors, or '
        f'{", ".join(TORCH)} with the extra convert (other formats may run what is inside them)'
    )


def _directory(path: Path) -> dict[str, np.ndarray]:
    for name in WEIGHTS:
        if (path / name).exists():
            return _safetensors(path / name)
        if (index := path / f'{name}.index.json').exists():
            parts = [_safetensors(path / shard) for shard in _shards(index)]
            return {name: array for part in parts for name, array in part.items()}
    raise UserError(f'--checkpoint={path}: a directory without {" or ".join(WEIGHTS)}')


def _shards(index: Path) -> list[str]:
    """The files beside an index that it spreads tensors over."""
    places = _json(index).get('weight_map')
    shards = sorted(set(map(str, places.values()))) if isinstance(places, dict) else []
    if not shards:
        raise UserError(f'--checkpoint={index}: has no weight_map of tensors to files')
    for shard in shards:
        if Path(shard).name != shard or not (index.parent / shard).is_file():
            raise UserError(f'--checkpoint={index}: names {shard}, which is no file beside it')
    return shards


def _config(path: Path) -> dict:
    return _json(path) if path.exists() else {}


def _json(path: Path) -> dict:
    found = files.read_json(path)
    if not isinstance(found, dict):
        raise UserError(f'{path} holds no values by their names')
    return found


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    _, arrays = tensors.read(path, f'--checkpoint={path}')
    return {name: _plain(array) for name, array in arrays.items()}


def _plain(array: np.ndarray) -> np.ndarray:
    """float32 of what numpy has no name for."""
    return array if array.dtype.kind in 'fiub' else array.astype(np.float32)


def _torch(path: Path, entry: str | None) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"--checkpoint={path}: PyTorch reads it; pip install 'vdm_jax[convert]', or save it as .safetensors"
        ) from None
    import argparse

    try:
        # Trainers keep their options beside the weights (DiT, SiT): a Namespace is made of its values and runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # anything, for a damaged file
        name = re.search(r'GLOBAL (\S+)', str(error))  # PyTorch's own advice is to run what is inside
        why = f'more than weights ({name[1]})' if name else 'more than weights, or is damaged,'
        raise UserError(f'--checkpoint={path}: holds {why} and is not read') from None
    if not isinstance(found, dict):
        raise UserError(f'--checkpoint={path}: holds a {type(found).__name__}, not tensors by name')
    nested = [str(name) for name, value in found.items() if isinstance(value, dict)]
    if entry and nested and entry not in nested:
        raise UserError(f'--entry={entry}: {path} has {", ".join(nested)}')
    outer = entry if nested else None
    outer = outer or next((name for name in ENTRIES if name in nested), None)
    values = found[outer] if outer else found
    arrays = {
        str(name): value.detach().float().numpy() for name, value in values.items() if isinstance(value, torch.Tensor)
    }
    if not arrays:
        raise UserError(f'--checkpoint={path}: no tensors in it; --entry takes one of {", ".join(nested) or "none"}')
    return arrays if nested or not entry else names.entry_of(arrays, entry, str(path))
