"""Files of other people's weights: safetensors, and PyTorch's own format where the extra `convert` is installed."""

import json
import re
from pathlib import Path

import numpy as np

from vdm_jax.errors import UserError

WEIGHTS = ('diffusion_pytorch_model.safetensors', 'model.safetensors')  # of a directory that diffusers wrote
TORCH = ('.pt', '.pth', '.bin', '.ckpt')
ENTRIES = ('ema', 'model', 'state_dict')  # under which trainers put a network, the first that is there
WRAPPERS = r'(module\.|_orig_mod\.)*'  # before every name, from data-parallel trainers and torch.compile


def read(path, entry: str | None = None) -> tuple[dict[str, np.ndarray], dict]:
    """(tensors by name, the network's config where a config.json lies beside them, else {}).

    path: a .safetensors file, a directory that diffusers wrote (in shards too), or a PyTorch checkpoint, which is
    loaded with weights_only=True: nothing in it is run. entry: which of a trainer's networks to take: 'ema' (the first
    choice), 'model'.

    Raises:
      UserError: no such file, another kind of file, or PyTorch is needed and not there.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f'--checkpoint={path}: no such file')
    if entry and path.suffix not in TORCH:
        raise UserError(f'--entry={entry}: {path} holds tensors alone; leave it out')
    if path.is_dir():
        return _directory(path)
    if path.suffix == '.safetensors':
        arrays = _safetensors(path)
    elif path.suffix in TORCH:
        arrays = _torch(path, entry)
    else:
        raise UserError(
            f'--checkpoint={path}: {path.suffix or "a file without an ending"} is not read; want .safetensors, or '
            f'{", ".join(TORCH)} with the extra convert (other formats may run what is inside them)'
        )
    return _unwrapped(arrays), _config(path.parent / 'config.json')


def write(path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> int:
    """Writes tensors as safetensors; returns the number of bytes."""
    from safetensors.numpy import save

    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)
    return len(data)


def _directory(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    for name in WEIGHTS:
        if (path / name).exists():
            return _safetensors(path / name), _config(path / 'config.json')
        if (index := path / f'{name}.index.json').exists():
            parts = [_safetensors(path / shard) for shard in _shards(index)]
            return {name: array for part in parts for name, array in part.items()}, _config(path / 'config.json')
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
    try:
        found = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f'{path} is not JSON ({error})') from None
    if not isinstance(found, dict):
        raise UserError(f'{path} holds no values by their names')
    return found


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    import safetensors
    from safetensors.flax import load_file  # it knows bfloat16, which numpy does not

    try:
        return {name: _plain(np.asarray(array)) for name, array in load_file(path).items()}
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f'--checkpoint={path}: not a safetensors file ({error})') from None


def _unwrapped(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    wrappers = {re.match(WRAPPERS, name)[0] for name in arrays}
    wrapper = wrappers.pop() if len(wrappers) == 1 else ''
    return {name.removeprefix(wrapper): array for name, array in arrays.items()}


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
    if entry and entry not in nested:
        raise UserError(f'--entry={entry}: {path} has {", ".join(nested) or "tensors alone"}')
    entry = entry or next((name for name in ENTRIES if name in nested), None)
    tensors = found[entry] if entry else found
    tensors = {str(name): value for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise UserError(f'--checkpoint={path}: no tensors in it; --entry takes one of {", ".join(nested) or "none"}')
    return {name: value.detach().float().numpy() for name, value in tensors.items()}
