"""A network and its experiment in one safetensors file: small enough to ship, readable without running anything."""

import json
import os
import re
from collections.abc import Callable
from typing import Any

import jax
import ml_dtypes
import numpy as np

from vdm_jax import files
from vdm_jax.config.old_configs import update_config
from vdm_jax.errors import UserError, describe_bad_tensors, escape_unprintable
from vdm_jax.parallel.rules import KeyPath, path_name
from vdm_jax.pretrained import tensors
from vdm_jax.pretrained.fit import by_path

# Version 1 had the columns of qkv by q, k, v, then head.
FORMAT = 'vdm_jax weights 2'
DTYPES = {'float16': np.dtype(np.float16), 'bfloat16': np.dtype(ml_dtypes.bfloat16), 'float32': np.dtype(np.float32)}
LARGEST_STEP = 2**31 - 1
LONGEST_TEXT = 10_000  # characters of a fingerprint
FINGERPRINTS = {'clips': r'[ -~]+', 'text': r'[0-9a-f]{64}', 'codec': r'[0-9a-f]{64}'}
RAW = 'raw'  # as in cli/options.py, which importing this room, and jax with it, would make slow

Path = str | os.PathLike[str]


def save(path: Path, params: Any, provenance: dict[str, Any], dtype: str = 'float16') -> int:
    """Write parameters, rounded to a dtype, and what they are; return the bytes of the file.

    The same parameters and provenance give the same bytes.

    Args:
      path: Of the file.
      params: Tree of parameters.
      provenance: {'config': resolved config, 'step': …}, see validate_provenance.
      dtype: Of DTYPES; `read_provenance` returns it with the rest.

    Raises:
      UserError: a finite value of a parameter is beyond the dtype; names it.
    """
    arrays = {name: round_to(name, np.asarray(leaf), dtype) for name, leaf in by_path(params).items()}
    text = json.dumps(provenance | {'dtype': dtype}, sort_keys=True)
    # Sealed: a flipped bit of an export would otherwise be other weights without a word.
    return tensors.write(path, arrays, {'format': FORMAT, 'about': text}, seal=True)


def round_to(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """Return a parameter in another dtype.

    Raises:
      UserError: a finite value would become infinite.
    """
    # Overflows are refused below, by name, in place of numpy's warning.
    with np.errstate(over='ignore'):
        rounded = array.astype(DTYPES[dtype])
    # nan and infinity are kept as they are: whether to write those is decided elsewhere.
    overflows = np.isfinite(array) & ~np.isfinite(rounded)
    if overflows.any():
        largest = float(np.abs(array[overflows]).max())
        limit = float(ml_dtypes.finfo(DTYPES[dtype]).max)  # type: ignore[no-untyped-call]
        raise UserError(
            f'--dtype={dtype}: {name} has {int(overflows.sum())} values up to {largest:.6g}, and {dtype} goes up to '
            f'{limit:.6g}; take {"--dtype=bfloat16 or " if dtype == "float16" else ""}--dtype=float32'
        )
    return rounded


def read_provenance(path: Path, called: str | None = None) -> dict[str, Any]:
    """Return the resolved config, step and so on that `save` stored, each checked for type and range.

    The config has today's keys, whichever version wrote the file.

    Args:
      path: Of the file.
      called: What messages call the file; --weights=PATH by default.

    Raises:
      UserError: no such file, not one that `save` wrote, or a damaged one.
    """
    _, provenance = _read_header(path, called)
    return provenance


def load(path: Path, abstract: Any, called: str | None = None) -> Any:
    """Return the parameters as float32 in the tree and on the shardings of `abstract`.

    Args:
      path: Of the file.
      abstract: Tree of jax.ShapeDtypeStruct.
      called: As in `read_provenance`.

    Raises:
      UserError: a parameter is missing, left over or of another shape, and is named; or the file is damaged.
    """
    called = called or _option(path)
    header, _ = _read_header(path, called)
    wanted = by_path(abstract)
    # Of several the first is named, and the same one every time.
    for name in sorted(wanted.keys() ^ header.tensors.keys()):
        raise UserError(f'{called}: parameter {name} is {"missing" if name in wanted else "not one of the network"}')
    for name, leaf in wanted.items():
        shape = header.tensors[name].shape
        if shape != leaf.shape:
            raise UserError(f'{called}: parameter {name} has shape {shape}, the network wants {leaf.shape}')

    # Names and shapes fit: only now is the bulk of the file read.
    _, arrays = tensors.read(path, called, header)

    def put(key_path: KeyPath, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        array = arrays[path_name(key_path)].astype(leaf.dtype)
        placed: jax.Array = jax.device_put(array, leaf.sharding)
        return placed

    return jax.tree_util.tree_map_with_path(put, abstract)


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return (provenance, parameters by path) as they are stored, without a network to compare them with.

    Raises:
      UserError: see read_provenance.
    """
    header, provenance = _read_header(path)
    _, arrays = tensors.read(path, _option(path), header)
    return provenance, arrays


def inspect(path: Path) -> dict[str, Any]:
    """Return what a file that `save` wrote holds, all of it read: as JSON values.

    {'weights', 'step', 'ema', 'dtype', 'clips', …, 'sha256': of its tensors or None where it was written without,
    'not_finite': names of tensors, 'shapes': {name: shape}}

    Raises:
      UserError: it is damaged, or not one that `save` wrote.
    """
    header, provenance = _read_header(path)
    _, arrays = tensors.read(path, _option(path), header)
    return {
        'weights': str(path),
        **{name: value for name, value in provenance.items() if name != 'config'},
        'sha256': header.sha256 or None,
        'not_finite': [name for name, array in arrays.items() if not np.isfinite(array).all()],
        'shapes': {name: list(array.shape) for name, array in arrays.items()},
        'config': provenance['config'],
    }


def table(report: dict[str, Any]) -> str:
    """Return the report of `inspect` as text."""
    sha256 = report['sha256']
    state = f'intact, sha256 {sha256}' if sha256 else 'readable; it was written without a sha256'
    average = f', ema {report["ema"]}' if 'ema' in report else ''
    lines = [f'{report["weights"]}: step {report["step"]}{average}, {report["dtype"]}: {state}']
    lines += [f'{name:9} {report[name]}' for name in FINGERPRINTS if name in report]
    if report['not_finite']:
        lines.append(f'NOT FINITE: {describe_bad_tensors(report["not_finite"])}')
    lines.append('')
    lines += [f'  {name:48} {"x".join(map(str, shape))}' for name, shape in report['shapes'].items()]
    return '\n'.join(escape_unprintable(line) for line in lines)


def validate_provenance(values: Any, called: str) -> dict[str, Any]:
    """Return what stands beside weights, each known value checked for type and range; others are left out.

    {'config': dict, 'step': int in [0, 2^31), 'ema': a number in [0, 1) or 'raw', 'dtype': of DTYPES, 'clips', 'text',
    'codec': fingerprints, each where it is there}; the step is required.

    Args:
      values: What the JSON holds.
      called: What messages call it.

    Raises:
      UserError: a value is something else.
    """
    if not isinstance(values, dict):
        raise UserError(f'{called} holds no values by their names')
    if 'step' not in values:
        raise UserError(f'{called}: step is missing')

    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        'config': (lambda value: isinstance(value, dict), 'a config'),
        'step': (_is_step, 'a whole number from 0 to 2^31 - 1'),
        'ema': (lambda value: value == RAW or is_decay(value), 'a number from 0 to below 1, or raw'),
        'dtype': (lambda value: isinstance(value, str) and value in DTYPES, f'one of {", ".join(DTYPES)}'),
    }
    for name, pattern in FINGERPRINTS.items():
        checks[name] = (fingerprint_test(pattern), 'a fingerprint')

    for name, (is_valid, description) in checks.items():
        if name in values and not is_valid(values[name]):
            raise UserError(f'{called}: {name}={values[name]!r:.80}: want {description}')
    return {name: values[name] for name in checks if name in values}


def _is_step(value: Any) -> bool:
    # Not isinstance, for which True is a step.
    return type(value) is int and 0 <= value <= LARGEST_STEP


def is_decay(value: Any) -> bool:
    """Return whether a value is the decay of an average."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


def fingerprint_test(pattern: str) -> Callable[[Any], bool]:
    """Return a function of a value: whether it is a text of this pattern, and not endless."""

    def is_fingerprint(value: Any) -> bool:
        return isinstance(value, str) and len(value) < LONGEST_TEXT and bool(re.fullmatch(pattern, value))

    return is_fingerprint


def _read_header(path: Path, called: str | None = None) -> tuple[tensors.Header, dict[str, Any]]:
    """Return the header of a file that `save` wrote, and the provenance in it."""
    called = called or _option(path)
    header = tensors.read_header(path, called)
    stored_format = header.metadata.get('format', '')
    # All but the last character are the same for every version.
    if stored_format != FORMAT and stored_format.startswith(FORMAT[:-1]):
        raise UserError(f'{called}: {stored_format!r:.40} was written by another version, this one reads {FORMAT!r}')
    if stored_format != FORMAT or 'about' not in header.metadata:
        raise UserError(f'{called}: not written by python -m vdm_jax export')

    label = f"{called}: its metadata 'about'"
    provenance = validate_provenance(files.parse_json(header.metadata['about'], label), label)
    if 'config' not in provenance:
        raise UserError(f'{label}: config is missing')
    provenance['config'] = update_config(provenance['config'])
    if any(entry.dtype not in DTYPES.values() for entry in header.tensors.values()):
        raise UserError(f'{called}: its tensors are not of {", ".join(DTYPES)}')
    # Files that do not say their dtype are float16, the only one there was.
    return header, {'dtype': 'float16'} | provenance


def _option(path: Path) -> str:
    return f'--weights={path}'
