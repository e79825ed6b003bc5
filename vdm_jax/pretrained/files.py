"""Files of third-party weights: safetensors, numpy's .npz, and PyTorch's own where the extra `convert` is installed."""

import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vdm_jax import files
from vdm_jax.errors import UserError
from vdm_jax.pretrained import names, tensors

WEIGHTS = ('diffusion_pytorch_model.safetensors', 'model.safetensors')  # of a directory that diffusers wrote
TORCH = ('.pt', '.pth', '.bin', '.ckpt')
# Keys under which trainers store a network, by precedence: the average is what their own sampling code loads.
ENTRY_ORDER = ('ema', 'model', 'state_dict')


def read(path: str | os.PathLike[str], entry: str | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return (tensors by name, the network's config where a config.json lies beside them, else {}).

    Names come without what trainers wrap around a network (names.unwrap).

    Args:
      path: A .safetensors file, an .npz file of plain arrays, a directory that diffusers wrote (in shards too), or a
        PyTorch checkpoint, which is loaded with weights_only=True: nothing in it is run.
      entry: Which of a trainer's networks to take: 'ema' (the default), 'model', or the prefix of its names.

    Raises:
      UserError: no such file, another kind of file, a damaged one, or PyTorch is needed and not installed.
    """
    arrays, config_json = read_as_stored(path, entry)
    return names.unwrap(arrays), config_json


def read_as_stored(
    path: str | os.PathLike[str], entry: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return what `read` does, by the names that stand in the file."""
    label = f'--checkpoint={path}'
    if not files.is_local(path):
        raise UserError(f'{label}: is not on this machine; bring the file here')
    path = Path(path)
    if os.path.isdir(path):
        arrays = _read_directory(path)
        directory = path
    else:
        files.check_regular(path, called=label)
        arrays = _read_file(path, entry)
        directory = path.parent
    # PyTorch's checkpoints are nested: _read_torch has looked the entry up.
    if entry and path.suffix not in TORCH:
        arrays = names.select_entry(arrays, entry, str(path))
    return arrays, _read_config(directory / 'config.json')


def _read_file(path: Path, entry: str | None) -> dict[str, np.ndarray]:
    if path.suffix == '.safetensors':
        return _read_safetensors(path)
    if path.suffix == '.npz':
        return _read_npz(path)
    if path.suffix in TORCH:
        return _read_torch(path, entry)
    raise UserError(
        f'--checkpoint={path}: {path.suffix or "a file without an ending"} is not read; want .safetensors, .npz, or '
        f'{", ".join(TORCH)} with the extra convert (other formats may run what is inside them)'
    )


def _read_directory(path: Path) -> dict[str, np.ndarray]:
    for file_name in WEIGHTS:
        if (path / file_name).exists():
            return _read_safetensors(path / file_name)
        index = path / f'{file_name}.index.json'
        if index.exists():
            arrays: dict[str, np.ndarray] = {}
            for shard in _shard_names(index):
                arrays |= _read_safetensors(path / shard)
            return arrays
    raise UserError(f'--checkpoint={path}: a directory without {" or ".join(WEIGHTS)}')


def _shard_names(index: Path) -> list[str]:
    """Return the files beside an index that it spreads tensors over."""
    weight_map = _read_json(index).get('weight_map')
    shards = sorted(set(map(str, weight_map.values()))) if isinstance(weight_map, dict) else []
    if not shards:
        raise UserError(f'--checkpoint={index}: has no weight_map of tensors to files')
    for shard in shards:
        # A name with a folder in it could lead out of the checkpoint's directory.
        if Path(shard).name != shard or not (index.parent / shard).is_file():
            raise UserError(f'--checkpoint={index}: names {shard}, which is no file beside it')
    return shards


def _read_config(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.exists() else {}


def _read_json(path: Path) -> dict[str, Any]:
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise UserError(f'{path} holds no values by their names')
    return content


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    _, arrays = tensors.read(path, f'--checkpoint={path}')
    return {name: _to_numpy_dtype(array) for name, array in arrays.items()}


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: _to_numpy_dtype(content[name]) for name in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        # Numpy's own advice may be to run what is inside, so its message is not shown.
        raise UserError(f'--checkpoint={path}: is damaged, or no .npz file of plain arrays') from None


def _to_numpy_dtype(array: np.ndarray) -> np.ndarray:
    """Return the array, in float32 where its dtype is none of numpy's own, as bfloat16."""
    return array if array.dtype.kind in 'fiub' else array.astype(np.float32)


def _read_torch(path: Path, entry: str | None) -> dict[str, np.ndarray]:
    content = _load_torch(path)
    if not isinstance(content, dict):
        raise UserError(f'--checkpoint={path}: holds a {type(content).__name__}, not tensors by name')
    nested = [str(name) for name, value in content.items() if isinstance(value, dict)]
    if entry and nested and entry not in nested:
        raise UserError(f'--entry={entry}: {path} has {", ".join(nested)}')

    # A trainer's checkpoint holds networks by name, a bare one its tensors.
    key = entry if nested else None
    key = key or next((name for name in ENTRY_ORDER if name in nested), None)
    arrays = _to_arrays(content[key] if key else content)
    if not arrays:
        raise UserError(f'--checkpoint={path}: no tensors in it; --entry takes one of {", ".join(nested) or "none"}')
    return arrays if nested or not entry else names.select_entry(arrays, entry, str(path))


def _is_torch_script(path: Path) -> bool:
    """Return whether a file is what torch.jit.save writes: tensors beside the code of a network."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith('/constants.pkl') for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _load_torch(path: Path) -> Any:
    """Return what torch.load makes of a file without running anything in it.

    Raises:
      UserError: PyTorch is not installed, or the file holds more than weights or is damaged.
    """
    if _is_torch_script(path):
        raise UserError(
            f'--checkpoint={path}: is TorchScript, a program, and is not read; save its tensors alone, its state_dict()'
        )
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
            return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # anything, for a damaged file
        # PyTorch's own advice is to run what is inside, so its message is not shown.
        unsafe_name = re.search(r'GLOBAL (\S+)', str(error))
        reason = f'more than weights ({unsafe_name[1]})' if unsafe_name else 'more than weights, or is damaged,'
        raise UserError(f'--checkpoint={path}: holds {reason} and is not read') from None


def _to_arrays(values: Mapping[Any, Any]) -> dict[str, np.ndarray]:
    """Return the tensors among the values, as float32 arrays."""
    import torch

    return {
        str(name): value.detach().float().numpy() for name, value in values.items() if isinstance(value, torch.Tensor)
    }
