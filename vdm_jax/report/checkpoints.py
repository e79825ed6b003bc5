"""The checkpoints of a run directory: size, and whether they are as they were written, without reading much."""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

from etils import epath

from vdm_jax.errors import UserError, first_line
from vdm_jax.files import is_local
from vdm_jax.train import manifest
from vdm_jax.train.best_metric import Rule, parse_rule, read_metrics

HASHED_BYTES = 2**26  # of all checkpoints together whose bits are compared; of the others the sizes alone


@dataclass(frozen=True)
class Checkpoint:
    """One step that was saved.

    Attributes:
      step: Its number, and what was added to the name of one that was set aside.
      size: Bytes of the files that its manifest names, None where it names none.
      verdict: 'intact', 'sizes match', 'unverified', 'damaged', 'removed' while it was looked at, or 'set aside'.
      why: What is wrong, or was not looked at.
      metrics: Of validation and scores of the step.
      is_best: By config.checkpoint.best.
    """

    step: str
    size: int | None
    verdict: str
    why: str = ''
    metrics: dict[str, float] = field(default_factory=dict)
    is_best: bool = False


def read_checkpoints(directory: epath.Path, rule: Rule | None) -> list[Checkpoint]:
    """Return the checkpoints of a directory, which need not be there, newest first, then those set aside.

    Args:
      directory: Of the steps.
      rule: By which one of them is best, None for none.
    """
    if not directory.is_dir():
        return []
    steps = sorted(manifest.list_steps(directory), reverse=True)

    checkpoints = []
    left = HASHED_BYTES
    for step in steps:
        path = directory / str(step)
        size = _read_size(path)
        # A step without a manifest has nothing to be compared with, and costs nothing.
        is_hashed = is_local(directory) and (size or 0) <= left
        left -= (size or 0) if is_hashed else 0
        verdict, why = _check(path, is_hashed)
        checkpoints.append(Checkpoint(str(step), size, verdict, why, read_metrics(path)))
    checkpoints = mark_best(checkpoints, rule)
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


def mark_best(checkpoints: list[Checkpoint], rule: Rule | None) -> list[Checkpoint]:
    """Return checkpoints of which the one that --step=best takes is marked: none that is damaged."""
    usable = {int(each.step): each.metrics for each in checkpoints if each.verdict not in ('damaged', 'removed')}
    ranking = rule.rank(usable) if rule else []
    best = str(ranking[0][0]) if ranking else None
    return [dataclasses.replace(each, is_best=each.step == best) for each in checkpoints]


def read_rule(text: Any) -> Rule | None:
    """Return the rule of config.checkpoint.best, whatever stands there; None for what is none."""
    try:
        return parse_rule(text) if isinstance(text, str) else None
    except UserError:
        return None
