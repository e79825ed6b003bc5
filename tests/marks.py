"""Which of many alike run in the default suite; `make test-all` runs all of them."""

import pytest


def rest_slow(values, first: int | list) -> list:
    """The values as parameters, those marked slow that are not among the `first` so many (or not in that list)."""
    values = list(values)
    kept = values[:first] if isinstance(first, int) else first

    def slow(value):
        return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)

    return [value if value in kept else slow(value) for value in values]
