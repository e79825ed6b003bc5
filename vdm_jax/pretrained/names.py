"""Names of tensors as trainers leave them: what was wrapped around a network stands in them, at the front or inside.

Data-parallel trainers, compilers, checkpointing, averages and Lightning each hold a network as an attribute of their
own, whose name its tensors then have: module., _orig_mod., _fsdp_wrapped_module., _checkpoint_wrapped_module., model.,
ema_model., online_model., in any mix, and some have a counter beside it.
"""

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from vdm_jax.errors import UserError

ALWAYS = {'_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module'}  # nobody calls a part of a network so
HOLDERS = {'module', 'model', 'ema_model', 'online_model'}  # of a whole network, but a part may be called so, too
COUNTERS = {'n_averaged', 'initted', 'step'}  # one number each, beside the network
AVERAGE = 'ema_model'
ENTRIES = {'ema': (AVERAGE,), 'model': ('online_model', 'model', 'module')}  # as --entry calls networks


def unwrapped(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors by the names that they have in their network, as far as names tell.

    What nobody calls a part of a network goes from anywhere in a name, 'module' from inside; what may be a part's own
    name goes from the front, where all names begin with it. Of an average and what it is of, side by side, the average
    is taken. Names stay as they are where two would become one.
    """
    found = without(arrays, ALWAYS, {'module'})
    wrapped = found.keys() != arrays.keys()
    while True:
        tensors = {name: array for name, array in found.items() if not _counts(name, array)}
        heads = {name.partition('.')[0] if '.' in name else '' for name in tensors}
        if not heads or not heads <= HOLDERS or not (len(heads) == 1 or AVERAGE in heads):
            return tensors if wrapped else found
        wrapped = True
        found = below(tensors, AVERAGE if AVERAGE in heads else heads.pop())


def below(arrays: Mapping[str, np.ndarray], front: str) -> dict[str, np.ndarray]:
    """The tensors whose names begin with `front`, by what follows it; {} where there is none."""
    return {name.removeprefix(f'{front}.'): array for name, array in arrays.items() if name.startswith(f'{front}.')}


def entry_of(arrays: Mapping[str, np.ndarray], entry: str, called: str) -> dict[str, np.ndarray]:
    """The tensors of one of several networks that stand side by side: 'ema', 'model', or what its names begin with.

    Raises:
      UserError: there is no such network.
    """
    bare = without(arrays, ALWAYS)
    for front in ENTRIES.get(entry, (entry,)):
        for names in (arrays, bare, below(bare, 'module')):
            if found := below(names, front):
                return found
    fronts = sorted({name.partition('.')[0] for name in arrays if '.' in name})
    raise UserError(
        f'--entry={entry}: {called} holds tensors alone, and no name begins so; they begin with {", ".join(fronts[:6])}'
    )


def guesses(arrays: Mapping[str, np.ndarray]) -> Iterable[dict[str, np.ndarray]]:
    """The tensors by all the names that they may have in their network, those that they have here first."""
    seen = []
    thorough = unwrapped(without(arrays, ALWAYS))
    for found in (dict(arrays), unwrapped(arrays), thorough, without(thorough, HOLDERS, HOLDERS)):
        if found.keys() not in seen:
            seen.append(found.keys())
            yield found


def without(
    arrays: Mapping[str, np.ndarray], anywhere: Collection[str], inside: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Tensors by their names without parts that are called so, anywhere or not at the front; as they are where two
    names would become one, or one would become none.
    """

    def short(name):
        parts = name.split('.')
        last = len(parts) - 1

        def keep(i, part):
            return i == last or not (part in anywhere or (i and part in inside))

        return '.'.join(part for i, part in enumerate(parts) if keep(i, part))

    names = {name: short(name) for name in arrays}
    if len(set(names.values())) < len(names):
        return dict(arrays)
    return {names[name]: array for name, array in arrays.items()}


def hint(wanted: str, names: Iterable[str]) -> str:
    """What to do where one of these is the name that is wanted with something before it; '' where none is."""
    longer = next((name for name in sorted(names) if name.endswith(f'.{wanted}')), None)
    if longer is None:
        return ''
    return f'; has {longer}: --entry={longer.removesuffix(f".{wanted}")} takes what is called so'


def _counts(name: str, array: np.ndarray) -> bool:
    return name in COUNTERS and np.size(array) <= 1
