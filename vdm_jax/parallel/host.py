"""The memory of the process that hosts the CPU backend: how it is kept, and the most of it so far."""

import ctypes
import glob
import os
import resource
import sys


def computes_on_cpu() -> bool:
    """Return whether jax will compute on the CPU here, without waking jax's backends."""
    platforms = os.environ.get('JAX_PLATFORMS', '')
    # By device files: asking jax would start its backends, whose threads malloc's settings then no longer reach.
    accelerators = any(map(glob.glob, ('/dev/nvidia[0-9]*', '/dev/accel*', '/dev/vfio/[0-9]*')))
    return platforms == 'cpu' or (not platforms and not accelerators)


def keep_freed_memory() -> bool:
    """Have glibc's malloc keep large freed blocks for the next call instead of handing them back to the kernel.

    XLA's CPU backend allocates a step's temporaries anew at every step, and the kernel zeroes every page of them anew:
    an eighth of a training step. Call it before jax initialises its backends, as the setting reaches only threads that
    have not allocated yet; memory once used then stays with the process. True where it took hold (glibc), else
    harmless.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False

    # From malloc.h.
    trim_threshold = -1
    mmap_threshold = -3
    arena_max = -8
    most = ctypes.c_int(2**31 - 1)
    # One arena, as the thresholds without it were no help (docs/performance.md).
    return all([mallopt(arena_max, 1), mallopt(mmap_threshold, most), mallopt(trim_threshold, most)])


def peak_memory() -> int:
    """Return the most bytes that this process has had in memory so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # getrusage(2): kilobytes, but bytes on macOS.
    return most if sys.platform == 'darwin' else most * 1024
