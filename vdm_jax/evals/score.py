"""A score: what a protocol says of samples, with the settings without which it means nothing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vdm_jax.errors import UserError


@dataclass(frozen=True)
class Score:
    """Figures and verdicts of a set of samples, and how they came about.

    Attributes:
      name: Of the protocol, with what its figures hang on, such as the numbers of samples and frames.
      figures: {row: {figure: number}}, a row for each set of clips; in JSON None is what could not be measured (nan)
        or is infinite.
      verdict: {name: whether the samples reach this bar}.
      settings: All else that belongs to the score, JSON values by name: split, protocol, checkpoint, sampler, config.
    """

    name: str
    figures: Mapping[str, Mapping[str, float | None]]
    verdict: dict[str, bool]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every verdict is true."""
        return all(self.verdict.values())

    def to_json(self) -> dict[str, Any]:
        """Return the score as JSON values, in the order in which a file has them."""
        figures = {row: _keep_finite(figures) for row, figures in self.figures.items()}
        head = {'name': self.name, 'figures': figures, 'verdict': self.verdict}
        return head | self.settings | {'passed': self.passed}

    @classmethod
    def from_json(cls, values: dict[str, Any], where: str = 'score') -> 'Score':
        """Return the score that `to_json` made these values of.

        Args:
          values: JSON values by name.
          where: What messages call their place.

        Raises:
          UserError: A name, figure or verdict is missing or of another type.
        """
        # A score may be anybody's file: what is printed and compared is checked before it is used.
        checks = {'name': _is_text, 'figures': _are_figures, 'verdict': _are_verdicts}
        for key, is_right in checks.items():
            if not is_right(values.get(key)):
                raise UserError(f'{where}: {key}={values.get(key)!r:.80}: this is no score that evaluate wrote')
        # `passed` follows from the verdicts.
        settings = {name: value for name, value in values.items() if name not in (*checks, 'passed')}
        return cls(values['name'], values['figures'], values['verdict'], settings)


def _keep_finite(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the figures with None for nan and infinity, which JSON does not have."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in figures.items()}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_figures(value: Any) -> bool:
    rows = value.values() if isinstance(value, dict) else [None]
    return all(isinstance(row, dict) and all(map(_is_figure, row.values())) for row in rows)


def _is_figure(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _are_verdicts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, bool) for each in value.values())
