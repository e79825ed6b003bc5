"""Which checkpoint is best: by a metric of validation or of a score, which the checkpoint of its step carries."""

from collections.abc import Sequence
from typing import Any, Protocol

from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.parallel import processes
from vdm_jax.train.best_metric import Rule, finite_values, read_metrics
from vdm_jax.train.manifest import Integrity


class Steps(Protocol):
    """What is used of train/checkpoint.Checkpoints."""

    directory: epath.Path

    def steps(self) -> list[int]: ...

    def integrity(self, step: int) -> Integrity: ...


class OrbaxStep(Protocol):
    """What is used of the metadata of a step that Orbax passes to a policy."""

    step: int


class Best:
    """The best step of those that are there, and of one that is being saved; to Orbax a policy of what stays."""

    def __init__(self, checkpoints: Steps, rule: Rule | None):
        self._checkpoints = checkpoints
        self._rule = rule
        self._best: tuple[int, float] | None = None
        self._is_known = False

    def find(self) -> tuple[int, float] | None:
        """Return (step, value), None where there is none; the steps that are there are looked through once."""
        if self._rule is None:
            return None
        # Reading costs a file a step, and hashing the best one: once is enough, as saves are noted.
        if not self._is_known:
            ranking = self._rule.rank(dict(processes.run_on_primary(self._read_values)))
            self._best = next(filter(self._is_usable, ranking), None)
            self._is_known = True
        return self._best

    def step(self) -> int:
        """Return the best step.

        Raises:
          UserError: There is none.
        """
        if self._rule is None:
            raise UserError(
                '--step=best: config.checkpoint.best is not set; with --config.checkpoint.best=validation_loss:min it '
                'is the best of the steps that are there'
            )
        best = self.find()
        if best is None:
            raise UserError(f'{self._checkpoints.directory}: no checkpoint there has {self._rule.metric}')
        return best[0]

    def is_step(self, step: int) -> bool:
        """Return whether this is the best step."""
        best = self.find()
        return best is not None and best[0] == step

    def improves(self, metrics: dict[str, float]) -> bool:
        """Return whether a step with these metrics would be better than any that is there."""
        if self._rule is None:
            return False
        # A metric that is nan is worse than any.
        value = finite_values(metrics).get(self._rule.metric)
        if value is None:
            return False
        best = self.find()
        return best is None or self._rule.is_better(value, best[1])

    def note_save(self, step: int, metrics: dict[str, float]) -> None:
        """Take note of a step that is about to be saved, before older ones are removed."""
        if self._rule and self.improves(metrics):
            self._best = (step, float(metrics[self._rule.metric]))

    def should_preserve(self, checkpoints: Sequence[OrbaxStep], *, context: Any) -> list[bool]:
        """Return for each step whether it stays.

        Orbax calls it with the step that is being saved among them, and removes the others once that is complete.
        """
        return [self.is_step(checkpoint.step) for checkpoint in checkpoints]

    def _read_values(self) -> list[tuple[int, dict[str, float]]]:
        """(step, its metrics) of every step; pairs, as JSON has no numbers for keys."""
        directory = self._checkpoints.directory
        return [(step, read_metrics(directory / str(step))) for step in self._checkpoints.steps()]

    def _is_usable(self, candidate: tuple[int, float]) -> bool:
        step, _ = candidate
        integrity = self._checkpoints.integrity(step)
        # Printed, as another step is taken than the metrics lead to expect.
        if integrity.verdict == 'damaged':
            path = self._checkpoints.directory / str(step)
            processes.print_on_primary(f'{path}, the best by {self._rule}, is {integrity}; taking the next best')
        return integrity.verdict in ('intact', 'unverified')
