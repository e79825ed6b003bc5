"""The checkpoints of a run directory: size, and whether they are as they were written, without reading much."""

import re
from dataclasses import dataclass, field
from typing import Any

from etils import epath

from vdm_jax.errors import UserError, first_line
from vdm_jax.files import is_local, read_json
from vdm_jax.report.numbers import to_float
from vdm_jax.train import manifest

HASHED_BYTES = 2**26  # of all checkpoints together whose bits are compared; of the others the sizes alone
METADATA = '_CHECKPOINT_METADATA'  # a step's JSON file that Orbax writes, with the metrics of its validation
MORE_IS_BETTER = ('validation_psnr',)


@dataclass(frozen=True)
class Checkpoint:
    """One step that was saved.

    Attributes:
      step: Its number, and what was added to the name of one that was set aside.
      size: Bytes of the files that its manifest names, None where it names none.
      verdict: 'intact', 'sizes match', 'unverified', 'damaged' or 'set aside'.
      why: What is wrong, or was not looked at.
      validation: Its metrics.
      is_best: By config.checkpoint.best.
    """

    step: str
    size: int | None
    verdict: str
    why: str = ''
    validation: dict[str, float] = field(default_factory=dict)
    is_best: bool = False


def read_checkpoints(directory: epath.Path, rule: str | None) -> list[Checkpoint]:
    """Return the checkpoints of a directory, which need not be there, newest first, then those set aside.

    Args:
      directory: Of the steps.
      rule: config.checkpoint.best, METRIC[:min|max], None for none.
    """
    if not directory.is_dir():
        return []
    steps = sorted(manifest.list_steps(directory), reverse=True)
    validations = {step: read_validation(directory / str(step)) for step in steps}
    best = find_best(validations, rule)

    checkpoints = []
    left = HASHED_BYTES
    for step in steps:
        path = directory / str(step)
        size = _read_size(path)
        # A step without a manifest has nothing to be compared with, and costs nothing.
        is_hashed = is_local(directory) and (size or 0) <= left
        left -= (size or 0) if is_hashed else 0
        verdict, why = _check(path, is_hashed)
        checkpoints.append(Checkpoint(str(step), size, verdict, why, validations[step], step == best))
    names = sorted(path.name for path in directory.iterdir() if re.fullmatch(r'\d+\.damaged\d*', path.name))
    return checkpoints + [Checkpoint(name, None, 'set aside', 'it was damaged when a run resumed') for name in names]


def _read_manifests(path: epath.Path) -> dict[str, Any]:
    """Return the files that the manifests of a step name.

    Raises:
      UserError: One is damaged.
    """
    files: dict[str, Any] = {}
    for each in path.iterdir():
        if manifest.NAME.fullmatch(each.name):
            files |= manifest.read(each)
    return files


def _read_size(path: epath.Path) -> int | None:
    try:
        files = _read_manifests(path)
    except (UserError, OSError):
        return None
    return sum(size for size, _ in files.values()) if files else None


def _check(path: epath.Path, is_hashed: bool) -> tuple[str, str]:
    """Return (verdict, why) of a step; its bits are compared only where it `is_hashed`."""
    try:
        if is_hashed:
            integrity = manifest.check(path)
            return integrity.verdict, integrity.why
        files = _read_manifests(path)
        if not files:
            return 'unverified', 'it has no manifest'
        if not is_local(path):
            return 'unverified', 'it is in a store, and was not read'
        for name, (size, _) in files.items():
            file = path / name
            length = file.stat().length if file.exists() else None
            if length != size:
                return 'damaged', f'{name} has {length} bytes of {size}' if length is not None else f'{name} is missing'
    except UserError as error:
        return 'damaged', first_line(error)
    except OSError as error:  # such as one that the run is just removing
        return 'unverified', first_line(error)
    return 'sizes match', 'its bits were not compared: python -m vdm_jax inspect does'


def read_validation(path: epath.Path) -> dict[str, float]:
    """Return the metrics of a step's directory, {} where it has none, or they cannot be read."""
    try:
        metadata = read_json(path / METADATA)
    except UserError:
        return {}
    custom = metadata.get('custom_metadata') if isinstance(metadata, dict) else None
    values = custom.get('validation') if isinstance(custom, dict) else None
    numbers = values.items() if isinstance(values, dict) else ()
    return {str(name): to_float(value) for name, value in numbers if type(value) in (int, float)}


def find_best(validations: dict[int, dict[str, float]], rule: str | None) -> int | None:
    """Return the best step by a rule METRIC[:min|max], None where there is none; of equals the earlier."""
    if not isinstance(rule, str):
        return None
    metric, _, mode = rule.partition(':')
    sign = -1 if (mode or ('max' if metric in MORE_IS_BETTER else 'min')) == 'max' else 1
    candidates = [(sign * values[metric], step) for step, values in validations.items() if metric in values]
    return min(candidates)[1] if candidates else None
