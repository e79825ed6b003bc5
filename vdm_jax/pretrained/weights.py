"""A network and its experiment in one safetensors file: small enough to ship, readable without running anything."""

import json

import jax
import jax.numpy as jnp
from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.parallel.rules import path_name

FORMAT = 'vdm_jax weights 2'  # 1: columns of qkv by q, k, v, then head


def save(path, params: dict, about: dict) -> int:
    """Writes parameters, rounded to float16, and `about`: {'config': resolved config, 'step': …}; returns its bytes."""
    from safetensors.flax import save as serialize

    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    arrays = {path_name(name): leaf.astype(jnp.float16) for name, leaf in leaves}
    data = serialize(arrays, {'format': FORMAT, 'about': json.dumps(about)})
    epath.Path(path).parent.mkdir(parents=True, exist_ok=True)
    epath.Path(path).write_bytes(data)
    return len(data)


def about(path) -> dict:
    """What `save` was told: the resolved config, the step and so on.

    Raises:
      UserError: no such file, or not one that `save` wrote.
    """
    return _read(path)[1]


def load(path, abstract) -> dict:
    """The parameters as float32 in the tree and on the shardings of `abstract`.

    Raises:
      UserError: a parameter is missing, left over or of another shape; names it.
    """
    arrays, _ = _read(path)
    wanted = {path_name(name): leaf for name, leaf in jax.tree_util.tree_flatten_with_path(abstract)[0]}
    for name in sorted(wanted.keys() ^ arrays.keys()):
        raise UserError(f'{path}: parameter {name} is {"missing" if name in wanted else "not one of the network"}')
    for name, leaf in wanted.items():
        if arrays[name].shape != leaf.shape:
            raise UserError(f'{path}: parameter {name} has shape {arrays[name].shape}, the network wants {leaf.shape}')

    def place(name, leaf):
        return jax.device_put(arrays[path_name(name)].astype(leaf.dtype), leaf.sharding)

    return jax.tree_util.tree_map_with_path(place, abstract)


def _read(path):
    import safetensors
    from safetensors.numpy import load as deserialize

    path = epath.Path(path)
    if not path.exists() or path.is_dir():
        raise UserError(f'--weights={path}: no such file')
    data = path.read_bytes()
    try:
        arrays = deserialize(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], 'little')])
        metadata = header.get('__metadata__', {})
    except (safetensors.SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f'--weights={path}: not a safetensors file ({error})') from None
    found = metadata.get('format', '')
    if found != FORMAT and found.startswith(FORMAT[:-1]):
        raise UserError(f'--weights={path}: {found!r} was written by another version, this one reads {FORMAT!r}')
    if found != FORMAT:
        raise UserError(f'--weights={path}: not written by python -m vdm_jax export')
    return arrays, json.loads(metadata['about'])
