"""Bars that several protocols hold a figure of samples to, beside the same figure of real clips; nan passes none."""

NEAR = 0.3  # of the real figure


def is_near(figure: float, real: float) -> bool:
    """Return whether a figure is within 30 % of the real one."""
    return bool(abs(figure - real) <= NEAR * real)


def is_small(figure: float, real: float, lenient: float = 0.3) -> bool:
    """Return whether an error is at most three times the real one, or at most `lenient` where that is tiny."""
    return bool(figure <= max(3 * real, lenient))
