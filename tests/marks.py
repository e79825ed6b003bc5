"""Which of many similar cases run in the default suite; `make test-all` runs all of them."""

import pytest


def rest_slow(values, first: int | list) -> list:
    """The values as parameters, those marked slow that are not among the `first` so many (or not in that list)."""
    values = list(values)
    fast_values = values[:first] if isinstance(first, int) else first

    def slow(value):
        return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)

    return [value if value in fast_values else slow(value) for value in values]
