"""Everything that a run directory says of its run, and a warning for each thing that is wrong with it."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from etils import epath

from vdm_jax.errors import UserError, first_line
from vdm_jax.files import check_regular, is_local, read_json, unseal
from vdm_jax.report.checkpoints import Checkpoint, read_checkpoints, read_rule
from vdm_jax.report.metrics import Metrics, read_metrics
from vdm_jax.report.samples import Samples, read_samples
from vdm_jax.report.scores import ScoreFile, read_scores
from vdm_jax.train.best_metric import Rule

PARTS = ('config.json', 'environment.json', 'metrics.jsonl', 'checkpoints', 'samples', 'evals')
OF_CLIPS = ('broken', 'replaced', 'short', 'without')  # words of counters of clips that are not as they should be
MOST_DETAILS = 200  # lines below a warning
MOST_REMARKS = 100  # warnings of a run

Level = Literal['error', 'warning', 'note']


@dataclass(frozen=True)
class Remark:
    """Something that whoever reads the curves should know.

    Attributes:
      level: How bad it is.
      text: One sentence.
      details: Lines to unfold.
    """

    level: Level
    text: str
    details: tuple[str, ...] = ()


@dataclass
class RunRecord:
    """What a run directory holds.

    Attributes:
      name: What the page calls the run.
      workdir: Where it is.
      config: Resolved, {} where it cannot be read.
      environment: Versions, devices and command line, {} where they cannot be read.
      metrics: Curves and events.
      samples: Of training.
      scores: That evaluate wrote.
      checkpoints: Newest first.
      warnings: The worst first.
      written: When metrics were last written, None where there are none or the store does not say.
    """

    name: str
    workdir: str
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    samples: Samples = field(default_factory=Samples)
    scores: list[ScoreFile] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    warnings: list[Remark] = field(default_factory=list)
    written: datetime.datetime | None = None

    def warn(self, level: Level, text: str, details: Sequence[str] = ()) -> None:
        """Add a warning."""
        rest = [f'… and {len(details) - MOST_DETAILS} more'] if len(details) > MOST_DETAILS else []
        self.warnings.append(Remark(level, text, (*details[:MOST_DETAILS], *rest)))

    def setting(self, group: str, key: str) -> Any:
        """Return a value of the config, None where it is not there."""
        values = self.config.get(group)
        return values.get(key) if isinstance(values, dict) else None

    def whole_setting(self, group: str, key: str) -> int | None:
        """Return a whole number above 0 of the config, None where it is none."""
        value = self.setting(group, key)
        return value if type(value) is int and value > 0 else None

    @property
    def best_rule(self) -> Rule | None:
        """By which metric a checkpoint is best, None where the config has no such rule."""
        return read_rule(self.setting('checkpoint', 'best'))

    @property
    def step(self) -> int | None:
        """The last step that metrics or checkpoints speak of."""
        steps = [int(each.step) for each in self.checkpoints if each.step.isdigit()]
        if self.metrics.last_step is not None:
            steps.append(self.metrics.last_step)
        return max(steps, default=None)


def read_run(workdir: str, name: str, sample_budget: int) -> RunRecord:
    """Return what a run directory holds, whatever state it is in.

    Args:
      workdir: Any etils.epath.
      name: What the page calls the run.
      sample_budget: Bytes of its samples.

    Raises:
      UserError: There is nothing of a run.
    """
    directory = epath.Path(workdir)
    present = [part for part in PARTS if (directory / part).exists()]
    if not present:
        raise UserError(
            f'{workdir}: no run there (none of {", ".join(PARTS)}); train one with python -m vdm_jax train --workdir=…'
        )

    run = RunRecord(name, workdir)
    run.config = _read_values(run, directory / 'config.json', is_needed=True)
    run.environment = _read_values(run, directory / 'environment.json', is_needed=False)
    _read_metrics(run, directory)
    run.samples = read_samples(directory / 'samples', run.whole_setting('data', 'frames'), sample_budget)
    run.scores, score_problems = read_scores(directory / 'evals', name)
    run.checkpoints = read_checkpoints(directory / 'checkpoints', run.best_rule)

    for problem in (*run.samples.problems, *score_problems):
        run.warn('warning', problem)
    _warn_of_checkpoints(run)
    levels = ('error', 'warning', 'note')
    run.warnings.sort(key=lambda warning: levels.index(warning.level))
    del run.warnings[MOST_REMARKS:]
    return run


def _read_values(run: RunRecord, path: epath.Path, is_needed: bool) -> dict[str, Any]:
    """Return the values of a JSON file of a run, {} with a warning where there are none."""
    if not path.exists():
        if is_needed:
            run.warn('warning', f'{path.name} is missing: the settings of the run are not known.')
        return {}
    try:
        values = read_json(path, called=path.name)
    except UserError as error:
        run.warn('error', f'{error}.')
        return {}
    if not isinstance(values, dict):
        run.warn('error', f'{path.name} holds no values by their names.')
        return {}
    try:
        return unseal(values, path.name)
    except UserError as error:
        run.warn('error', f'{error}; they are shown as they are.')
        return values


def _read_metrics(run: RunRecord, directory: epath.Path) -> None:
    path = directory / 'metrics.jsonl'
    if not path.exists():
        run.warn('note', 'There is no metrics.jsonl: nothing was logged yet.')
        return
    try:
        check_regular(path)
        run.metrics = read_metrics(path)
        # Not every store says when.
        if is_local(path):
            run.written = datetime.datetime.fromtimestamp(path.stat().mtime, datetime.UTC)
    except (OSError, UserError) as error:
        run.warn('error', f'metrics.jsonl cannot be read ({first_line(error)}).')
        return
    _warn_of_metrics(run)

    broken = directory / 'metrics.jsonl.broken'
    if broken.exists():
        run.warn('note', 'Lines that were no metrics were moved to metrics.jsonl.broken when the run went on.')


def _warn_of_metrics(run: RunRecord) -> None:
    metrics = run.metrics
    if metrics.not_finite_count:
        step, name, what = metrics.not_finite[0]
        lines = [f'step {step}: {name} is {what}' for step, name, what in metrics.not_finite]
        count = metrics.not_finite_count
        text = f'{count_things(count, "logged number")} not finite, the first at step {step}: {name} is {what}.'
        run.warn('error', text, lines)
    skipped = metrics.curves.get('skipped_updates')
    if skipped is not None and skipped.last_count > 0:
        run.warn('error', f'{count_things(skipped.last_count, "update")} left out: not finite.')
    for step, count in metrics.bad_samples:
        run.warn('error', f'{count_things(count, "sample")} of step {step} not finite.')
    if metrics.broken_lines:
        numbers = ', '.join(map(str, metrics.broken_lines[:20]))
        run.warn(
            'warning', f'{count_things(len(metrics.broken_lines), "line")} of metrics.jsonl without metrics: {numbers}.'
        )
    if metrics.has_torn_end:
        run.warn('note', 'The last line of metrics.jsonl has no end: it is being written, or the run was killed.')

    for kind, names in metrics.problem_files.items():
        run.warn('warning', f'{count_things(len(names), "file")} named as {kind.replace("_", " ")}.', names)
    _warn_of_clips(run)
    _note_restarts(run)
    for step, text in metrics.notes:
        run.warn('note', f'Step {step}: {text}')


def _warn_of_clips(run: RunRecord) -> None:
    """Warn of clips that others took the place of, or that were filled up."""
    for name, curve in run.metrics.curves.items():
        is_counter = name.startswith('data/') and any(word in name for word in OF_CLIPS)
        if is_counter and curve.last_count > 0:
            run.warn('warning', f'{name.removeprefix("data/").replace("_", " ")}: {curve.last_count:,} so far.')


def _note_restarts(run: RunRecord) -> None:
    restarts = run.metrics.restarts
    if not restarts:
        return
    lines = []
    for restart in restarts:
        how = 'concluded from the counts of its process' if restart.is_inferred else restart.moment
        lines.append(f'step {restart.step}: {how}')
    times = 'once' if len(restarts) == 1 else f'{len(restarts)} times'
    steps = ', '.join(str(restart.step) for restart in restarts[:12]) + (', …' if len(restarts) > 12 else '')
    run.warn('note', f'The run went on {times}, from step {steps}.', lines)


def _warn_of_checkpoints(run: RunRecord) -> None:
    for checkpoint in run.checkpoints:
        if checkpoint.verdict == 'damaged':
            run.warn('error', f'Checkpoint {checkpoint.step} is damaged: {checkpoint.why}.')
        elif checkpoint.verdict == 'set aside':
            run.warn('warning', f'Checkpoint {checkpoint.step} was set aside: {checkpoint.why}.')
        elif checkpoint.verdict == 'unverified' and is_local(run.workdir):
            run.warn('note', f'Checkpoint {checkpoint.step} is unverified: {checkpoint.why}.')


def count_things(count: int, thing: str) -> str:
    """Return '1 line' or '2 lines'."""
    return f'{count:,} {thing}' + ('' if count == 1 else 's')
