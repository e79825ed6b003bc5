"""Markers of complete checkpoints in a store: an object that is written last, as stores know no rename."""

from etils import epath

NATIVE = ('gs://',)  # stores that Orbax writes by itself; it would rename in others, which go through a local copy
COMMITTED = 'vdm_jax_committed'  # ours, in the others
NATIVE_COMMITTED = 'commit_success.txt'  # Orbax's own
NAMES = (COMMITTED, NATIVE_COMMITTED)


def mark(directory: epath.Path, native: bool, writes: bool) -> bool:
    """Mark a step that was copied into a store as complete; return whether it counts from here on.

    Args:
      directory: The step's, with all of its files.
      native: Whether Orbax reads the store by itself: it reads no step without its marker, so that a process that only
        reads the run writes that too, where it may.
      writes: Whether this is the process that trains, in which a refusal of the store is raised on.
    """
    # A step in another store needs no marker to be read, and is left alone by those who only read.
    if not (native or writes):
        return True

    try:
        (directory / (NATIVE_COMMITTED if native else COMMITTED)).write_text('copied here, and complete\n')
    except Exception:  # each store has errors of its own
        if writes:
            raise
        return False
    return True
