"""When frames are shown, where a file's timestamps need mending: always rising, in the order the decoder gives them."""

from collections.abc import Sequence

import numpy as np

REORDERED = 16  # frames; by no more do decoders show one later than others that were coded after it


def rising(stamps: Sequence[int | None], others: Sequence[int | None], step: int, longest: int | None = None):
    """A timestamp for each frame, int64 (T,), each larger than the one before.

    They are as the file tells them where these rise. Times that stand for the order of coding are sorted; a time that
    comes twice is shared out until the next one; where times jump back (a recording that began anew), or on by more
    than `longest`, what follows goes on a step later.

    stamps: of the packet that each frame was coded in, None where it has none; others: its decode times, which are
    taken where a presentation time is missing. step: between two frames, usually.
    """
    step = max(int(step), 1)
    known = others if None in stamps and None not in others else stamps
    if None in known:
        known = _filled(known, step)
    times = np.array(known, np.int64)
    if len(times) < 2:
        return times
    order = np.argsort(times, kind='stable')
    if np.abs(order - np.arange(len(times))).max() <= REORDERED:
        times = times[order]
    times = _without_jumps(times, step, longest)
    return _shared_out(times, step)


def _filled(stamps, step):
    """Those that are missing put between those that are there."""
    there = [number for number, stamp in enumerate(stamps) if stamp is not None]
    if not there:
        return [number * step for number in range(len(stamps))]
    first, last = there[0], there[-1]
    numbers = np.arange(len(stamps))
    filled = np.interp(numbers, there, [stamps[number] for number in there])
    filled[:first] -= (first - numbers[:first]) * step
    filled[last + 1 :] += (numbers[last + 1 :] - last) * step
    return filled.round()


def _without_jumps(times, step, longest):
    steps = np.diff(times)
    jumps = steps < 0 if longest is None else (steps < 0) | (steps > longest)
    return times[0] + np.concatenate([[0], np.cumsum(np.where(jumps, step, steps))])


def _shared_out(times, step):
    firsts = np.flatnonzero(np.concatenate([[True], np.diff(times) > 0]))
    if len(firsts) == len(times):
        return times
    ends = np.append(times[firsts[1:]], times[-1] + step)
    counts = np.diff(np.append(firsts, len(times)))
    parts = [
        np.linspace(times[first], end, count, endpoint=False)
        for first, end, count in zip(firsts, ends, counts, strict=True)
    ]
    shared = np.concatenate(parts).round().astype(np.int64)
    return np.maximum.accumulate(shared - np.arange(len(times))) + np.arange(len(times))  # a tick apart at least
