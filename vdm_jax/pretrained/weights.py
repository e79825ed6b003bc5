"""A network and its experiment in one safetensors file: small enough to ship, readable without running anything."""

import json
import re

import jax
import ml_dtypes
import numpy as np

from vdm_jax import files
from vdm_jax.config.old_configs import update_config
from vdm_jax.errors import UserError, printable, wrong_tensors
from vdm_jax.parallel.rules import path_name
from vdm_jax.pretrained import tensors
from vdm_jax.pretrained.fit import by_path

FORMAT = 'vdm_jax weights 2'  # 1: columns of qkv by q, k, v, then head
DTYPES = {'float16': np.dtype(np.float16), 'bfloat16': np.dtype(ml_dtypes.bfloat16), 'float32': np.dtype(np.float32)}
LARGEST_STEP = 2**31 - 1
LONGEST_TEXT = 10_000  # characters of a fingerprint
FINGERPRINTS = {'clips': r'[ -~]+', 'text': r'[0-9a-f]{64}', 'codec': r'[0-9a-f]{64}'}
RAW = 'raw'  # as origin.RAW, of which this room knows nothing


def save(path, params: dict, about: dict, dtype: str = 'float16') -> int:
    """Writes parameters, rounded to a dtype, and `about`: {'config': resolved config, 'step': …}; returns its bytes.

    The same parameters and `about` are the same bytes. dtype: of DTYPES; it stands in what `about` gives back.

    Raises:
      UserError: a finite value of a parameter is beyond the dtype; names it.
    """
    arrays = {name: rounded(name, np.asarray(leaf), dtype) for name, leaf in by_path(params).items()}
    text = json.dumps(about | {'dtype': dtype}, sort_keys=True)
    return tensors.write(path, arrays, {'format': FORMAT, 'about': text}, seal=True)


def rounded(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """A parameter in another dtype.

    Raises:
      UserError: a finite value would become infinite.
    """
    with np.errstate(over='ignore'):
        found = array.astype(DTYPES[dtype])
    lost = np.isfinite(array) & ~np.isfinite(found)
    if lost.any():
        largest = float(np.abs(array[lost]).max())
        largest_kept = float(ml_dtypes.finfo(DTYPES[dtype]).max)
        raise UserError(
            f'--dtype={dtype}: {name} has {int(lost.sum())} values up to {largest:.6g}, and {dtype} goes up to '
            f'{largest_kept:.6g}; take {"--dtype=bfloat16 or " if dtype == "float16" else ""}--dtype=float32'
        )
    return found


def about(path, called: str | None = None) -> dict:
    """What `save` was told: the resolved config, the step and so on, each known to be of its type and range.

    The config has today's keys, whichever version wrote the file.

    called: what messages call the file; --weights=PATH where not given.

    Raises:
      UserError: no such file, not one that `save` wrote, or a damaged one.
    """
    return _about(path, called)[1]


def load(path, abstract, called: str | None = None) -> dict:
    """The parameters as float32 in the tree and on the shardings of `abstract`; called: as in `about`.

    Raises:
      UserError: a parameter is missing, left over or of another shape, and is named; or the file is damaged.
    """
    called = called or _called(path)
    header, _ = _about(path, called)
    wanted = by_path(abstract)
    for name in sorted(wanted.keys() ^ header.tensors.keys()):
        raise UserError(f'{called}: parameter {name} is {"missing" if name in wanted else "not one of the network"}')
    for name, leaf in wanted.items():
        shape = header.tensors[name][1]
        if shape != leaf.shape:
            raise UserError(f'{called}: parameter {name} has shape {shape}, the network wants {leaf.shape}')
    _, arrays = tensors.read(path, called, header)

    def place(where, leaf):
        return jax.device_put(arrays[path_name(where)].astype(leaf.dtype), leaf.sharding)

    return jax.tree_util.tree_map_with_path(place, abstract)


def read(path) -> tuple[dict, dict[str, np.ndarray]]:
    """(about, parameters by their paths) as they are stored; for those who want less, or another network, than load.

    Raises:
      UserError: see about.
    """
    header, found = _about(path)
    return found, tensors.read(path, _called(path), header)[1]


def inspect(path) -> dict:
    """What a file that `save` wrote is, all of it read: as JSON values.

    {'weights', 'step', 'ema', 'dtype', 'clips', …, 'sha256': of its tensors or None where it was written without,
    'not_finite': names of tensors, 'shapes': {name: shape}}

    Raises:
      UserError: it is damaged, or not one that `save` wrote.
    """
    header, about = _about(path)
    _, arrays = tensors.read(path, _called(path), header)
    return {
        'weights': str(path),
        **{name: value for name, value in about.items() if name != 'config'},
        'sha256': header.sealed or None,
        'not_finite': [name for name, array in arrays.items() if not np.isfinite(array).all()],
        'shapes': {name: list(array.shape) for name, array in arrays.items()},
        'config': about['config'],
    }


def table(found: dict) -> str:
    """What `inspect` found, as text."""
    sealed = f'intact, sha256 {found["sha256"]}' if found['sha256'] else 'readable; it was written without a sha256'
    average = f', ema {found["ema"]}' if 'ema' in found else ''
    wrong = found['not_finite']
    return '\n'.join(
        printable(line)
        for line in [
            f'{found["weights"]}: step {found["step"]}{average}, {found["dtype"]}: {sealed}',
            *(f'{name:9} {found[name]}' for name in FINGERPRINTS if name in found),
            *([f'NOT FINITE: {wrong_tensors(wrong)}'] if wrong else []),
            '',
            *(f'  {name:48} {"x".join(map(str, shape))}' for name, shape in found['shapes'].items()),
        ]
    )


def checked(values, called: str) -> dict:
    """What stands beside weights, each value that is known of its type and in its range; others are left out.

    {'config': dict, 'step': int in [0, 2^31), 'ema': a number in [0, 1) or 'raw', 'dtype': of DTYPES, 'clips', 'text',
    'codec': fingerprints, each where it is there}; the step has to be.

    Raises:
      UserError: a value is something else.
    """
    if not isinstance(values, dict):
        raise UserError(f'{called} holds no values by their names')
    wanted = {
        'config': (lambda value: isinstance(value, dict), 'a config'),
        'step': (lambda value: type(value) is int and 0 <= value <= LARGEST_STEP, 'a whole number from 0 to 2^31 - 1'),
        'ema': (lambda value: value == RAW or is_decay(value), 'a number from 0 to below 1, or raw'),
        'dtype': (lambda value: isinstance(value, str) and value in DTYPES, f'one of {", ".join(DTYPES)}'),
    } | {name: (fingerprint_test(pattern), 'a fingerprint') for name, pattern in FINGERPRINTS.items()}
    if 'step' not in values:
        raise UserError(f'{called}: step is missing')
    for name, (test, what) in wanted.items():
        if name in values and not test(values[name]):
            raise UserError(f'{called}: {name}={values[name]!r:.80}: want {what}')
    return {name: values[name] for name in wanted if name in values}


def is_decay(value) -> bool:
    """Whether a value is the decay of an average."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


def fingerprint_test(pattern: str):
    """value -> whether it is a text of this pattern, and not endless."""
    return lambda value: isinstance(value, str) and len(value) < LONGEST_TEXT and bool(re.fullmatch(pattern, value))


def _about(path, called: str | None = None) -> tuple[tensors.Header, dict]:
    called = called or _called(path)
    header = tensors.read_header(path, called)
    found = header.metadata.get('format', '')
    if found != FORMAT and found.startswith(FORMAT[:-1]):
        raise UserError(f'{called}: {found!r:.40} was written by another version, this one reads {FORMAT!r}')
    if found != FORMAT or 'about' not in header.metadata:
        raise UserError(f'{called}: not written by python -m vdm_jax export')
    beside = f"{called}: its metadata 'about'"
    values = checked(files.parse_json(header.metadata['about'], beside), beside)
    if 'config' not in values:
        raise UserError(f'{beside}: config is missing')
    values['config'] = update_config(values['config'])
    if any(dtype not in DTYPES.values() for dtype, *_ in header.tensors.values()):
        raise UserError(f'{called}: its tensors are not of {", ".join(DTYPES)}')
    return header, {'dtype': 'float16'} | values  # of files that do not say it


def _called(path) -> str:
    return f'--weights={path}'
