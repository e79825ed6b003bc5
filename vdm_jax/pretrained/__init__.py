"""Other people's weights: one small file a source, a table of names, a report of what was found.

    from vdm_jax import pretrained

    model = pretrained.load('latte', 'ucf101.pt')
    eps_and_variance = model(x_BTHWC, timesteps_B, label=labels_B)

SOURCES names what is known. A source is a module that answers: config_of(arrays, about, heads), the network that
tensors are of; rows(config), its table of names; fixed(config), tensors that are computed; FREE, parameters of ours
that no checkpoint knows, with the reason; and KIND, the class of the object to use, made of (source, config, params,
report), whose init(config) makes fresh parameters, always the same. Of a denoising network, objective(config) is what
it was trained on, and GUIDED how many channels its code guides, None for all. Where names have changed over time,
renamed(arrays) gives the tensors by the latest.
"""

import os
from collections.abc import Mapping

import jax
import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.pretrained import dit, files, latte, latte_t2v, lpips, names, sd_vae, sit
from vdm_jax.pretrained.table import take, tree_of

SOURCES = {'dit': dit, 'latte': latte, 'latte_t2v': latte_t2v, 'lpips': lpips, 'sd_vae': sd_vae, 'sit': sit}


def load(
    source: str,
    checkpoint: str | os.PathLike | Mapping[str, np.ndarray],
    about: Mapping | None = None,
    *,
    entry: str | None = None,
    heads: int | None = None,
    allow_missing: bool = False,
):
    """A network or codec with the weights of a checkpoint, in float32: an object of the source's KIND.

    Args:
      source: a name of SOURCES.
      checkpoint: a file or directory that files.read takes, or its tensors by name, numpy arrays.
      about: the network's config.json, where the tensors are given themselves.
      entry: which network of a trainer's checkpoint, 'ema' (taken where there is one) or 'model', or what the names of
        its tensors begin with.
      heads: of attention, where neither the sizes of the tensors nor `about` tell; refused where they say otherwise.
      allow_missing: let what is missing, or of another shape, start fresh.

    Raises:
      UserError: another source's checkpoint; a tensor is missing or differs, and that was not allowed; an argument is
        of no use.
    """
    if source not in SOURCES:
        raise UserError(f'--source={source}: want one of {", ".join(SOURCES)}')
    if not isinstance(checkpoint, str | os.PathLike | Mapping):
        raise UserError(f'checkpoint={checkpoint!r:.80}: want a file, a directory, or tensors by their names')
    if not isinstance(about, Mapping | None):
        raise UserError(f'about={about!r:.80}: want what a config.json holds, values by their names')
    if not isinstance(heads, int | np.integer | None):
        raise UserError(f'heads={heads!r}: want an integer')
    module = SOURCES[source]
    if isinstance(checkpoint, Mapping):
        arrays, about = checkpoint, about or {}
        arrays = names.entry_of(arrays, entry, 'the checkpoint') if entry else arrays
    else:
        arrays, beside = files.read_as_named(checkpoint, entry)
        about = beside if about is None else about
    if not arrays:
        raise UserError(f'--source={source}: the checkpoint holds no tensors')
    config, found, report, hint = _best(source, arrays, about, heads)
    try:
        report.check(allow_missing)
    except UserError as error:
        raise UserError(f'{error}{hint}') from None

    def fresh():
        return module.KIND.init(config)

    shapes = jax.eval_shape(fresh)
    params = jax.device_put(tree_of(found, shapes, fresh if allow_missing else None))
    return module.KIND(module, config, params, report)


def _best(source: str, arrays: Mapping[str, np.ndarray], about: Mapping, heads: int | None) -> tuple:
    """(config, parameters by path, report, what to do about missing names) with the tensors by those of the names that
    they may have (names.guesses) of which the network has a place for most.

    Raises:
      UserError: by none of them are they of such a network.
    """
    failure, best, least = None, None, None
    for guess in names.guesses(arrays):
        try:
            found = _taken(source, guess, about, heads)
        except UserError as error:
            failure = failure or error
            continue
        report = found[2]
        wrong = len(report.missing) + len(report.differing), len(report.unused)
        if best is None or wrong < least:
            best, least = found, wrong
        if not any(wrong):
            break
    if best is None:
        raise failure
    return best


def _taken(source: str, arrays: Mapping[str, np.ndarray], about: Mapping, heads: int | None) -> tuple:
    module = SOURCES[source]
    arrays = getattr(module, 'renamed', dict)(arrays)
    try:
        config = module.config_of(arrays, about, heads)
    except UserError:
        raise
    except ValueError as error:  # sizes that no such network has
        raise UserError(f'--source={source}: {error}') from None
    shapes = jax.eval_shape(lambda: module.KIND.init(config))
    found, report = take(module.rows(config), arrays, shapes, module.fixed(config), module.FREE)
    return config, found, report, names.hint(report.missing[0], arrays) if report.missing else ''
