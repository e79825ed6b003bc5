"""Third-party weights: one small module for each source, a table of tensor names, a report of what was read.

    from vdm_jax import pretrained

    model = pretrained.load('latte', 'ucf101.pt')
    eps_and_variance = model(x_BTHWC, timesteps_B, label=labels_B)

SOURCES lists what is known; source.py says what each of its modules defines.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.pretrained import c3d, dit, files, i3d, inception_fid, latte, latte_t2v, lpips, names, sd_vae, sit, store
from vdm_jax.pretrained.report import Report
from vdm_jax.pretrained.source import Source
from vdm_jax.pretrained.table import build_tree, import_tensors

SOURCES: dict[str, Source] = {
    'c3d': c3d,
    'dit': dit,
    'i3d': i3d,
    'inception_fid': inception_fid,
    'latte': latte,
    'latte_t2v': latte_t2v,
    'lpips': lpips,
    'sd_vae': sd_vae,
    'sit': sit,
}


def load(
    source: str,
    checkpoint: str | os.PathLike[str] | Mapping[str, np.ndarray],
    config_json: Mapping[str, Any] | None = None,
    *,
    entry: str | None = None,
    heads: int | None = None,
    allow_missing: bool = False,
) -> Any:
    """Return a network or codec with the weights of a checkpoint, in float32: an object of the source's MODEL.

    Args:
      source: A name of SOURCES.
      checkpoint: A file or directory that files.read takes; a name of fetched weights (available.py); or tensors by
        name, numpy arrays.
      config_json: What the network's config.json holds, where the checkpoint is passed as tensors.
      entry: Which network of a trainer's checkpoint: 'ema' (the default where there is one), 'model', or the prefix of
        its tensor names.
      heads: Attention heads, where neither the tensor sizes nor `config_json` determine them; refused where they
        contradict.
      allow_missing: Let parameters that are missing, or of another shape, start fresh.

    Raises:
      UserError: the checkpoint is another source's; a tensor is missing or differs, and that was not allowed; an
        argument is of no use.
    """
    _check_arguments(source, checkpoint, config_json, heads)
    arrays, config_json = _read_checkpoint(checkpoint, config_json, entry)
    if not arrays:
        raise UserError(f'--source={source}: the checkpoint holds no tensors')

    match = _best_match(source, arrays, config_json, heads)
    try:
        match.report.check(allow_missing)
    except UserError as error:
        raise UserError(f'{error}{match.hint}') from None

    model = SOURCES[source].MODEL

    def init() -> Any:
        return model.init(match.config)

    # Nothing is allocated for the network whose parameters are about to be replaced.
    shapes = jax.eval_shape(init)
    params = jax.device_put(build_tree(match.params, shapes, init if allow_missing else None))
    return model(SOURCES[source], match.config, params, match.report)


def _check_arguments(source: str, checkpoint: object, config_json: object, heads: object) -> None:
    if source not in SOURCES:
        raise UserError(f'--source={source}: want one of {", ".join(SOURCES)}')
    if not isinstance(checkpoint, str | os.PathLike | Mapping):
        raise UserError(f'checkpoint={checkpoint!r:.80}: want a file, a directory, or tensors by their names')
    if not isinstance(config_json, Mapping | None):
        raise UserError(f'config_json={config_json!r:.80}: want what a config.json holds, values by their names')
    if not isinstance(heads, int | np.integer | None):
        raise UserError(f'heads={heads!r}: want an integer')


def _read_checkpoint(
    checkpoint: str | os.PathLike[str] | Mapping[str, np.ndarray],
    config_json: Mapping[str, Any] | None,
    entry: str | None,
) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]]:
    """Return (tensors by the names that are stored, config.json); one that was passed wins over the file's."""
    if isinstance(checkpoint, Mapping):
        arrays = names.select_entry(checkpoint, entry, 'the checkpoint') if entry else checkpoint
        return arrays, config_json or {}
    stored_arrays, stored_config = files.read_as_stored(store.find(checkpoint, f'--checkpoint={checkpoint}'), entry)
    return stored_arrays, stored_config if config_json is None else config_json


@dataclass(frozen=True)
class _Match:
    """A checkpoint read by one guess of what its tensors are called.

    Attributes:
      config: Of the network.
      params: Parameters by path.
      report: What became of each tensor.
      hint: What to do about missing names, '' for nothing.
    """

    config: Any
    params: dict[str, np.ndarray]
    report: Report
    hint: str

    @property
    def mismatches(self) -> tuple[int, int]:
        """(parameters without a tensor, tensors without a parameter): the smaller, the better the guess."""
        return len(self.report.missing) + len(self.report.differing), len(self.report.unused)


def _best_match(
    source: str, arrays: Mapping[str, np.ndarray], config_json: Mapping[str, Any], heads: int | None
) -> _Match:
    """Return the match of most tensors, among the guesses of what their names are inside the network.

    Raises:
      UserError: no guess gives such a network; the first one's error.
    """
    # Whether a name such as model.… was the trainer's or the network's shows only by comparison with the network.
    first_error: UserError | None = None
    best: _Match | None = None
    for guess in names.guess_names(arrays):
        try:
            match = _match_tensors(source, guess, config_json, heads)
        except UserError as error:
            first_error = first_error or error
            continue
        if best is None or match.mismatches < best.mismatches:
            best = match
        # Later guesses remove more of a name: a complete match cannot become better.
        if match.mismatches == (0, 0):
            break
    if best is None:
        assert first_error is not None  # there is at least one guess
        raise first_error
    return best


def _match_tensors(
    source: str, arrays: Mapping[str, np.ndarray], config_json: Mapping[str, Any], heads: int | None
) -> _Match:
    module = SOURCES[source]
    arrays = module.rename(arrays)
    try:
        config = module.infer_config(arrays, config_json, heads)
    except UserError:
        # It is a ValueError too, and says already what is wrong.
        raise
    except ValueError as error:  # sizes that no such network has
        raise UserError(f'--source={source}: {error}') from None

    shapes = jax.eval_shape(lambda: module.MODEL.init(config))
    params, report = import_tensors(
        module.rows(config), arrays, shapes, module.computed_tensors(config), module.NOT_STORED
    )
    hint = names.entry_hint(report.missing[0], arrays) if report.missing else ''
    return _Match(config, params, report, hint)
