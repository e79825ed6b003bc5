"""By which metric checkpoints are compared, and the metrics that a checkpoint carries; nothing here imports jax."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from etils import epath

from vdm_jax.config.ranges import is_number
from vdm_jax.errors import UserError
from vdm_jax.files import read_json

METADATA = '_CHECKPOINT_METADATA'  # a step's JSON file that Orbax writes, with the custom metadata that it is passed

VALIDATION = 'validation_'
SCORE = 'evaluate/'  # what the names of these metrics begin with
MORE_IS_BETTER = ('validation_psnr',)
MOST_METRICS = 1000  # metrics that a checkpoint may carry


class RuleError(UserError):
    """No score of a run has the metric by which its best step is chosen."""


@dataclass(frozen=True)
class Rule:
    """Which of two steps is better.

    Attributes:
      metric: Of validation, or of a score.
      mode: Whether less of it is better, or more.
    """

    metric: str
    mode: Literal['min', 'max']

    def __str__(self) -> str:
        return f'{self.metric}:{self.mode}'

    def is_better(self, value: float, than: float) -> bool:
        """Return whether a value of the metric is better than another."""
        return value < than if self.mode == 'min' else value > than

    def rank(self, values: dict[int, dict[str, float]]) -> list[tuple[int, float]]:
        """Return (step, its value) of every step that has the metric, the best first; of equals the earlier."""
        # Ascending by both, so that of equals the earlier comes first.
        sign = 1 if self.mode == 'min' else -1
        candidates = [(step, metrics[self.metric]) for step, metrics in values.items() if self.metric in metrics]
        return sorted(candidates, key=lambda candidate: (sign * candidate[1], candidate[0]))


def parse_rule(text: str | None) -> Rule | None:
    """Return the rule that config.checkpoint.best=METRIC[:min|max] stands for, None for None.

    Without a mode less is better, but of a PSNR; the metrics of a score want one.

    Raises:
      UserError: It stands for none.
    """
    if text is None:
        return None
    metric, colon, mode = text.partition(':')
    is_known = metric.startswith((VALIDATION, SCORE)) and metric != SCORE
    if not is_known or (colon and mode not in ('min', 'max')):
        raise UserError(
            f'config.checkpoint.best={text}: want METRIC, METRIC:min or METRIC:max, a metric of validation such as '
            'validation_loss:min, or of a score such as evaluate/kept:max'
        )
    # Of some figures more is better and of others less, which a wrong guess would turn into the worst step.
    if metric.startswith(SCORE) and not colon:
        raise UserError(f'config.checkpoint.best={text}: which is better, {text}:min or {text}:max?')

    more = mode == 'max' if colon else metric in MORE_IS_BETTER
    return Rule(metric, 'max' if more else 'min')


def check_metric(rule: Rule | None, parts: tuple[str, ...], validate_every: int, evaluate_every: int) -> None:
    """Check that training will ever see the metric.

    Args:
      rule: The run's.
      parts: Of the loss, of which validation logs the means.
      validate_every: config.train.validate_every.
      evaluate_every: config.train.evaluate_every.

    Raises:
      UserError: It will not.
    """
    if rule is None:
        return
    if rule.metric.startswith(SCORE):
        # Which figures there are its protocol declares, and its first score shows: `check_score`.
        if not evaluate_every:
            raise UserError(f'config.checkpoint.best={rule}: nothing is scored; set config.train.evaluate_every')
        return
    if not validate_every:
        raise UserError(f'config.checkpoint.best={rule}: nothing is validated; set config.train.validate_every')
    known = ['validation_loss', *(f'validation_{part}' for part in parts)]
    if rule.metric not in known:
        raise UserError(f'config.checkpoint.best={rule}: validation of this run gives {", ".join(known)}')


def check_score(rule: Rule | None, metrics: Collection[str]) -> None:
    """Check that scores have the metric by which the best step is chosen.

    Args:
      rule: The run's.
      metrics: Those of a score, or those that its protocol declares.

    Raises:
      RuleError: It has not.
    """
    if rule and rule.metric.startswith(SCORE) and rule.metric not in metrics:
        raise RuleError(f'config.checkpoint.best={rule}: scores of this run give {", ".join(metrics)}')


def finite_values(metrics: Any) -> dict[str, float]:
    """Return the finite numbers of a checkpoint's metrics by name.

    They may come from a file that anybody wrote: whatever else is in there counts for nothing.
    """
    if not isinstance(metrics, dict) or len(metrics) > MOST_METRICS:
        return {}
    return {name: float(value) for name, value in metrics.items() if is_number(value)}


def make_metadata(metrics: dict[str, float]) -> dict[str, Any] | None:
    """Return what Orbax is to store with a step that has these metrics, None for nothing."""
    values = finite_values(metrics)
    return {'metrics': values} if values else None


def read_metrics(directory: epath.Path) -> dict[str, float]:
    """Return the metrics of a step's directory, {} where it has none, or they cannot be read."""
    try:
        metadata = read_json(directory / METADATA)
    except UserError:
        return {}
    custom = metadata.get('custom_metadata') if isinstance(metadata, dict) else None
    if not isinstance(custom, dict):
        return {}
    # Earlier versions stored those of validation alone, under its name.
    return finite_values(custom.get('metrics', custom.get('validation')))
