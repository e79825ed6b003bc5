"""Numbers of files that anybody may have written."""

import math


def to_float(value: float | None) -> float:
    """Return a JSON number as float: nan for None, infinity for a whole number that is beyond all floats."""
    if value is None:
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
