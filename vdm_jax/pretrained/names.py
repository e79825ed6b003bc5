"""Tensor names as trainers leave them: remove what was wrapped around a network, at the front of a name or inside.

Data-parallel trainers, compilers, checkpointing, averages and Lightning each hold a network as an attribute of their
own, whose name its tensors then have: module., _orig_mod., _fsdp_wrapped_module., _checkpoint_wrapped_module., model.,
ema_model., online_model., in any mix, and some have a counter beside it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

from vdm_jax.errors import UserError

# Nobody calls a part of a network so.
WRAPPERS = {'_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module'}
# Attributes that hold an entire network; but a part of one may be called so, too.
HOLDERS = {'module', 'model', 'ema_model', 'online_model'}
COUNTERS = {'n_averaged', 'initted', 'step'}  # one number each, beside the network
AVERAGE = 'ema_model'
ENTRY_PREFIXES = {
    'ema': (AVERAGE,),
    'model': ('online_model', 'model', 'module'),
}  # prefixes that a value of --entry stands for

Arrays = Mapping[str, np.ndarray]


def unwrap(arrays: Arrays) -> dict[str, np.ndarray]:
    """Return tensors by the names that they have in their network, as far as names tell.

    What nobody calls a part of a network is removed anywhere in a name, 'module' behind the front; what may be a part's
    own name is removed at the front, where all names begin with it. Of an average and what it averages, side by side,
    the average is taken. Names stay as they are where two would become one.
    """
    unwrapped = remove_parts(arrays, WRAPPERS, {'module'})
    was_wrapped = unwrapped.keys() != arrays.keys()
    while True:
        # Holders nest in any number: one is taken off at a time.
        tensors = {name: array for name, array in unwrapped.items() if not _is_counter(name, array)}
        fronts = {name.partition('.')[0] if '.' in name else '' for name in tensors}
        is_held = bool(fronts) and fronts <= HOLDERS and (len(fronts) == 1 or AVERAGE in fronts)
        if not is_held:
            # Without a wrapper, 'step' may be a tensor of the network: then it stays.
            return tensors if was_wrapped else unwrapped
        was_wrapped = True
        unwrapped = strip_prefix(tensors, AVERAGE if AVERAGE in fronts else fronts.pop())


def strip_prefix(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    """Return the tensors whose names begin with `prefix` and a dot, by what follows it; {} where there is none."""
    start = f'{prefix}.'
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def select_entry(arrays: Arrays, entry: str, called: str) -> dict[str, np.ndarray]:
    """Return the tensors of one of several networks that stand side by side.

    Args:
      arrays: Tensors by name.
      entry: 'ema', 'model', or the prefix of its names.
      called: What messages call the checkpoint.

    Raises:
      UserError: there is no such network.
    """
    without_wrappers = remove_parts(arrays, WRAPPERS)
    # Compilers and data-parallel trainers may stand before the prefix or behind it.
    candidates = (arrays, without_wrappers, strip_prefix(without_wrappers, 'module'))
    for prefix in ENTRY_PREFIXES.get(entry, (entry,)):
        for candidate in candidates:
            if tensors := strip_prefix(candidate, prefix):
                return tensors
    fronts = sorted({name.partition('.')[0] for name in arrays if '.' in name})
    raise UserError(
        f'--entry={entry}: {called} holds tensors alone, and no name begins so; they begin with {", ".join(fronts[:6])}'
    )


def guess_names(arrays: Arrays) -> Iterator[dict[str, np.ndarray]]:
    """Yield the tensors by all the names that they may have in their network, the most likely first."""
    # From the least to the most that is removed, since a network may call its own parts so.
    thorough = unwrap(remove_parts(arrays, WRAPPERS))
    guesses = (dict(arrays), unwrap(arrays), thorough, remove_parts(thorough, HOLDERS, HOLDERS))
    seen = []
    for guess in guesses:
        if guess.keys() not in seen:
            seen.append(guess.keys())
            yield guess


def remove_parts(arrays: Arrays, anywhere: Collection[str], inside: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Return tensors by their names without some of the parts between dots.

    The last part stays, so that no name becomes empty. All names stay as they are where two would become one.

    Args:
      arrays: Tensors by name.
      anywhere: Parts that are removed wherever they stand.
      inside: Parts that are removed where they do not stand at the front.
    """

    def shorten(name: str) -> str:
        *parts, last = name.split('.')
        remaining = [part for i, part in enumerate(parts) if part not in anywhere and not (i > 0 and part in inside)]
        return '.'.join([*remaining, last])

    new_names = {name: shorten(name) for name in arrays}
    if len(set(new_names.values())) < len(new_names):
        return dict(arrays)
    return {new_names[name]: array for name, array in arrays.items()}


def entry_hint(wanted: str, names: Iterable[str]) -> str:
    """Return what to do where one of `names` is the wanted one behind a prefix; '' where none is."""
    for name in sorted(names):
        if name.endswith(f'.{wanted}'):
            return f'; has {name}: --entry={name.removesuffix(f".{wanted}")} takes what is called so'
    return ''


def _is_counter(name: str, array: np.ndarray) -> bool:
    return name in COUNTERS and np.size(array) <= 1
