"""When frames are shown, where a file's timestamps need mending: always rising, in the order the decoder gives them."""

from collections.abc import Sequence

import numpy as np

REORDER_LIMIT = 16  # frames; by no more do decoders show one later than others that were coded after it
# Seconds that no frame is shown, as the ffmpeg program has it.
RECORDED_JUMP = 10.0  # in a recording: its clock was set, or something is missing
ANY_JUMP = 108000.0  # in any file: the time is a mistake, such as a negative one of FLV, which has no signs


def mend_timestamps(pts: Sequence[int | None], dts: Sequence[int | None], step: int, longest: int) -> np.ndarray:
    """A timestamp for each frame, int64 (frames,), each larger than the one before.

    They are as the file has them where these rise. Times that stand for the order of coding are sorted; a time that
    comes twice is shared out until the next one; where times jump back (a recording that began anew), or on by more
    than `longest`, what follows goes on a step later.

    pts: of the packet that each frame was coded in, None where it has none. dts: its decode times, which are taken
    where a presentation time is missing. step: between two frames, usually.
    """
    step = max(int(step), 1)
    known = dts if None in pts and None not in dts else pts
    times = np.array(_fill_gaps(known, step) if None in known else known, np.int64)
    if _is_order_of_coding(times):
        times = np.sort(times)
    return _spread_ties(_close_jumps(times, step, longest), step)


def _is_order_of_coding(times):
    """Whether times that fall are those of frames in another order, and not of a clock that began anew."""
    order = np.argsort(times, kind='stable')
    is_local = np.abs(order - np.arange(len(times))).max() <= REORDER_LIMIT
    return is_local and 4 * np.count_nonzero(np.diff(times[order]) == 0) < len(times)


def _fill_gaps(stamps, step):
    """Times that are missing are put between those that are there, and a step apart before and after them."""
    present = [number for number, stamp in enumerate(stamps) if stamp is not None]
    if not present:
        return [number * step for number in range(len(stamps))]
    first, last = present[0], present[-1]
    numbers = np.arange(len(stamps))
    filled = np.interp(numbers, present, [stamps[number] for number in present])
    filled[:first] -= (first - numbers[:first]) * step
    filled[last + 1 :] += (numbers[last + 1 :] - last) * step
    return filled.round()


def _close_jumps(times, step, longest):
    steps = np.diff(times)
    jumps = (steps < 0) | (steps > longest)
    return times[0] + np.concatenate([[0], np.cumsum(np.where(jumps, step, steps))])


def _spread_ties(times, step):
    firsts = np.flatnonzero(np.concatenate([[True], np.diff(times) > 0]))
    if len(firsts) == len(times):
        return times
    ends = np.append(times[firsts[1:]], times[-1] + step)
    counts = np.diff(np.append(firsts, len(times)))
    groups = zip(times[firsts], ends, counts, strict=True)
    spread = np.concatenate([np.linspace(start, end, count, endpoint=False) for start, end, count in groups])
    numbers = np.arange(len(times))
    return np.maximum.accumulate(spread.round().astype(np.int64) - numbers) + numbers  # a tick apart at least
