"""What says of a step in a store that it is complete: an object that is written last, as stores know no rename."""

from etils import epath

NATIVE = ('gs://',)  # stores that Orbax writes by itself; it would rename in others, which go through a local copy
COMMITTED = 'vdm_jax_committed'  # ours, in the others
NATIVE_COMMITTED = 'commit_success.txt'  # Orbax's own
NAMES = (COMMITTED, NATIVE_COMMITTED)


def mark(directory: epath.Path, native: bool, writes: bool) -> bool:
    """Says of a step that was copied into a store, and is whole, that it is complete; whether it counts from here on.

    Args:
      native: whether Orbax reads the store by itself: it reads no step without its marker, so that those who look on
        write that too, where they may.
      writes: whether it is the run's own process that asks, in which a store's refusal is raised on.
    """
    if native or writes:
        try:
            (directory / (NATIVE_COMMITTED if native else COMMITTED)).write_text('copied here, and complete\n')
        except Exception:  # each store has errors of its own
            if writes:
                raise
            return False
    return True
