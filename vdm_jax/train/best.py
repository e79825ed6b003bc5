"""Which checkpoint is best: by a metric of validation, which every checkpoint of a validated step carries."""

from dataclasses import dataclass
from typing import Literal, Protocol

from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.files import read_json
from vdm_jax.parallel import processes
from vdm_jax.ranges import is_number
from vdm_jax.train.manifest import Integrity

METADATA = '_CHECKPOINT_METADATA'  # a step's file of JSON that Orbax writes, with what it is given to keep there

MORE_IS_BETTER = ('validation_psnr',)
LARGEST_LIST = 1000  # metrics that a checkpoint may carry


@dataclass(frozen=True)
class Rule:
    """Which of two values of `metric` is better."""

    metric: str
    mode: Literal['min', 'max']

    def __str__(self):
        return f'{self.metric}:{self.mode}'

    def better(self, value: float, than: float) -> bool:
        return value < than if self.mode == 'min' else value > than

    def ranking(self, values: dict[int, dict[str, float]]) -> list[tuple[int, float]]:
        """(step, its value) of every step that has the metric, the best first; of equals the earlier."""
        sign = 1 if self.mode == 'min' else -1
        have = [(step, found[self.metric]) for step, found in values.items() if self.metric in found]
        return sorted(have, key=lambda item: (sign * item[1], item[0]))


class Steps(Protocol):
    """What is asked of train/checkpoint.Checkpoints."""

    directory: epath.Path

    def steps(self) -> list[int]: ...

    def integrity(self, step: int) -> Integrity: ...


class Best:
    """Which step is best of those that are there, and of one that is being saved; for Orbax a rule of what stays."""

    def __init__(self, checkpoints: Steps, rule: Rule | None):
        self._checkpoints, self._rule = checkpoints, rule
        self._best: tuple[int, float] | None = None
        self._is_known = rule is None

    def found(self) -> tuple[int, float] | None:
        """(step, value), None where there is none; the steps that are there are looked through once."""
        if not self._is_known:

            def read():
                return [[step, self._validation(step)] for step in self._checkpoints.steps()]

            ranking = self._rule.ranking(dict(processes.by_first(read)))
            self._best = next(filter(self._can_be_taken, ranking), None)
            self._is_known = True
        return self._best

    def step(self) -> int:
        """The best step.

        Raises:
          UserError: there is none.
        """
        if self._rule is None:
            raise UserError(
                '--step=best: config.checkpoint.best is not set; with --config.checkpoint.best=validation_loss:min it '
                'is the best of the steps that are there'
            )
        if self.found() is None:
            raise UserError(f'{self._checkpoints.directory}: no checkpoint there has {self._rule.metric}')
        return self.found()[0]

    def is_step(self, step: int) -> bool:
        best = self.found()
        return best is not None and best[0] == step

    def improves(self, validation: dict[str, float]) -> bool:
        """Whether a step with these metrics would be better than any that is there."""
        value = finite_values(validation).get(self._rule.metric) if self._rule else None
        if value is None:
            return False
        best = self.found()
        return best is None or self._rule.better(value, best[1])

    def saves(self, step: int, validation: dict[str, float]) -> None:
        """Takes note of a step that is about to be saved, before older ones have to go."""
        if self.improves(validation):
            self._best = step, float(validation[self._rule.metric])

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        """Orbax asks, with the step that is being saved among them; it removes the others once that is complete."""
        return [self.is_step(checkpoint.step) for checkpoint in checkpoints]

    def _validation(self, step: int) -> dict[str, float]:
        return validation_of(self._checkpoints.directory / str(step))

    def _can_be_taken(self, candidate: tuple[int, float]) -> bool:
        step, _ = candidate
        found = self._checkpoints.integrity(step)
        if found.verdict == 'damaged':
            where = self._checkpoints.directory / str(step)
            processes.say(f'{where}, the best by {self._rule}, is {found}; taking the next best')
        return found.verdict in ('intact', 'unverified')


def rule_of(text: str | None) -> Rule | None:
    """The rule that config.checkpoint.best=METRIC[:min|max] stands for. Less is better, but of a PSNR, where not said.

    Raises:
      UserError: it stands for none.
    """
    if text is None:
        return None
    metric, colon, mode = text.partition(':')
    if not metric.startswith('validation_') or (colon and mode not in ('min', 'max')):
        raise UserError(
            f'config.checkpoint.best={text}: want METRIC, METRIC:min or METRIC:max, a metric of validation such as '
            'validation_loss:min'
        )
    return Rule(metric, mode or ('max' if metric in MORE_IS_BETTER else 'min'))


def check_comes(rule: Rule | None, parts: tuple[str, ...], validate_every: int) -> None:
    """Whether training will ever see the metric.

    Args:
      parts: of the loss, that validation gives the mean of.

    Raises:
      UserError: it will not.
    """
    if rule is None:
        return
    if not validate_every:
        raise UserError(f'config.checkpoint.best={rule}: nothing is validated; set config.train.validate_every')
    known = ['validation_loss', *(f'validation_{part}' for part in parts)]
    if rule.metric not in known:
        raise UserError(f'config.checkpoint.best={rule}: validation of this run gives {", ".join(known)}')


def finite_values(metrics) -> dict[str, float]:
    """The numbers by name of a checkpoint's metrics, read from a file: whatever else is in there counts for nothing."""
    if not isinstance(metrics, dict) or len(metrics) > LARGEST_LIST:
        return {}
    return {name: float(value) for name, value in metrics.items() if is_number(value)}


def metadata_with(validation: dict[str, float]) -> dict | None:
    """What Orbax is given to keep with a step that has these metrics."""
    metrics = finite_values(validation)
    return {'validation': metrics} if metrics else None


def validation_of(directory) -> dict[str, float]:
    """The metrics of a step's directory; none where it has none, or they cannot be read."""
    try:
        about = read_json(directory / METADATA)
    except UserError:
        return {}
    own = about.get('custom_metadata') if isinstance(about, dict) else None
    return finite_values(own.get('validation') if isinstance(own, dict) else None)
