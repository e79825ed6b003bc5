"""Mend a file's timestamps where they need it: always rising, in the order in which the decoder outputs frames."""

from collections.abc import Sequence

import numpy as np

REORDER_LIMIT = 16  # frames; by no more do decoders show one later than others that were coded after it
# Seconds that no frame is shown, as the ffmpeg program has it.
RECORDED_JUMP = 10.0  # in a recording: its clock was set, or something is missing
ANY_JUMP = 108000.0  # in any file: the time is a mistake, such as a negative one of FLV, which has no signs


def mend_timestamps(pts: Sequence[int | None], dts: Sequence[int | None], step: int, longest: int) -> np.ndarray:
    """Return a timestamp for each frame, int64 (frames,), each larger than the one before.

    They are as the file has them where these rise. Times that stand for the order of coding are sorted; a time that
    comes twice is shared out until the next one; where times jump back (a recording that began anew), or on by more
    than `longest`, what follows goes on a step later.

    Args:
      pts: Of the packet that each frame was coded in, None where it has none.
      dts: Its decode times, which are taken where a presentation time is missing.
      step: Between two frames, usually, in ticks.
      longest: That a frame may be shown, in ticks.
    """
    step = max(int(step), 1)
    stamps = dts if None in pts and None not in dts else pts
    times = np.array(_fill_gaps(stamps, step), np.int64)
    if _is_order_of_coding(times):
        times = np.sort(times)
    return _spread_ties(_close_jumps(times, step, longest), step)


def _is_order_of_coding(times: np.ndarray) -> bool:
    """Return whether times that fall are those of frames in another order, and not of a clock that began anew."""
    order = np.argsort(times, kind='stable')
    is_local = np.abs(order - np.arange(len(times))).max() <= REORDER_LIMIT
    # A clock that began anew shows many times twice.
    ties = np.count_nonzero(np.diff(times[order]) == 0)
    return bool(is_local and 4 * ties < len(times))


def _fill_gaps(stamps: Sequence[int | None], step: int) -> np.ndarray | list[int]:
    """Put missing times between those that are there, and a step apart before and after them."""
    known = {number: stamp for number, stamp in enumerate(stamps) if stamp is not None}
    if len(known) == len(stamps):
        return list(known.values())
    if not known:
        return [number * step for number in range(len(stamps))]

    known_numbers = list(known)
    first = known_numbers[0]
    last = known_numbers[-1]
    numbers = np.arange(len(stamps))
    filled = np.interp(numbers, known_numbers, list(known.values()))
    filled[:first] -= (first - numbers[:first]) * step
    filled[last + 1 :] += (numbers[last + 1 :] - last) * step
    return filled.round()


def _close_jumps(times: np.ndarray, step: int, longest: int) -> np.ndarray:
    """Replace steps back, and steps of more than `longest`, by `step`."""
    steps = np.diff(times)
    jumps = (steps < 0) | (steps > longest)
    closed: np.ndarray = times[0] + np.concatenate([[0], np.cumsum(np.where(jumps, step, steps))])
    return closed


def _spread_ties(times: np.ndarray, step: int) -> np.ndarray:
    """Spread frames of one time evenly until the next time, a tick apart at least."""
    firsts = np.flatnonzero(np.concatenate([[True], np.diff(times) > 0]))
    if len(firsts) == len(times):
        return times
    ends = np.append(times[firsts[1:]], times[-1] + step)
    counts = np.diff(np.append(firsts, len(times)))
    groups = zip(times[firsts], ends, counts, strict=True)
    spread = np.concatenate([np.linspace(start, end, count, endpoint=False) for start, end, count in groups])

    # The running maximum of times minus numbers keeps them a tick apart where a group has more frames than ticks.
    numbers = np.arange(len(times))
    mended: np.ndarray = np.maximum.accumulate(spread.round().astype(np.int64) - numbers) + numbers
    return mended
