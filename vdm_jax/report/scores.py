"""The scores of a run directory, those of one protocol together and no others in one column."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.evals import columns
from vdm_jax.evals.score import Score
from vdm_jax.files import digest_json, read_json, unseal
from vdm_jax.report.numbers import to_float

LARGEST_FILE = 2**24  # bytes of a score that is read
MOST_SCORES = 500
MOST_POINTS = 5000  # of a curve over frames

# Settings that the page shows of a protocol. Older scores do not have all of them.
OF_PROTOCOL = (
    'protocol',
    'split',
    'real_clips',
    'train_clips',
    'samples',
    'clip',
    'distance',
    'network',
    'real_sha256',
)
# Keys of config.evaluate that are of no protocol, or that a score has by itself.
FREE = ('batch_size', 'seed', 'protocol', 'sampler', 'guidance')
REAL = 'real'  # the row of real clips
CLIPS = 'clips'  # the setting that has the fingerprint of the data, which weights in a file need not know


@dataclass(frozen=True)
class ScoreFile:
    """A score and where it stands.

    Attributes:
      run: Name of the run that it was read for.
      name: Of its file.
      score: What is in it.
    """

    run: str
    name: str
    score: Score

    @property
    def step(self) -> int:
        """The training step of the weights, -1 where it does not say."""
        step = self.score.settings.get('step')
        return step if type(step) is int else -1

    @property
    def origin(self) -> str:
        """The file of weights that was scored, '' for the run's own checkpoint."""
        weights = self.score.settings.get('weights')
        return str(weights) if weights else ''

    @property
    def sampling(self) -> dict[str, Any]:
        """How the videos were drawn."""
        names = ('ema', 'sampler', 'guidance', 'scalars', 'seed')
        return {name: self.score.settings[name] for name in names if self.score.settings.get(name) is not None}


@dataclass
class Group:
    """Scores of one protocol.

    Attributes:
      name: Of the protocol.
      parameters: What makes it another than those of the same name.
      scores: By run and step.
    """

    name: str
    parameters: dict[str, Any]
    scores: list[ScoreFile] = field(default_factory=list)


def read_scores(directory: epath.Path, run: str) -> tuple[list[ScoreFile], list[str]]:
    """Return the scores of a directory, which need not be there, and a line for each file that is none."""
    scores = []
    problems = []
    paths = sorted(directory.iterdir()) if directory.is_dir() else []
    paths = [path for path in paths if path.name.endswith('.json') and not path.name.startswith('.')]
    if len(paths) > MOST_SCORES:
        problems.append(f'evals: {MOST_SCORES} of {len(paths)} scores are shown')
    for path in paths[-MOST_SCORES:]:
        try:
            values = unseal(read_json(path, LARGEST_FILE, f'evals/{path.name}'), f'evals/{path.name}')
            scores.append(ScoreFile(run, path.name, Score.from_json(values, f'evals/{path.name}')))
        except UserError as error:
            problems.append(str(error))
    return scores, problems


def group_scores(scores: list[ScoreFile]) -> list[Group]:
    """Return the scores by protocol, each protocol's by step."""
    by_key: dict[str, Group] = {}
    for file in scores:
        # What a table of scores may hold together is said in one place; of the clips' fingerprint see below.
        hangs_on = {name: value for name, value in columns.select(file.score).items() if name != CLIPS}
        key = json.dumps([file.score.name, hangs_on], sort_keys=True)
        by_key.setdefault(key, Group(file.score.name, protocol_parameters(file.score))).scores.append(file)
    groups = [part for group in by_key.values() for part in _split_by_clips(group)]
    for group in groups:
        group.scores.sort(key=lambda file: (file.origin, file.step, file.run, file.name))
    return sorted(groups, key=lambda group: group.name)


def _split_by_clips(group: Group) -> list[Group]:
    """Return the group as it is where all its scores may be of the same clips, else a group for each set of them."""
    by_clips: dict[Any, list[ScoreFile]] = {}
    for file in group.scores:
        clips = file.score.settings.get(CLIPS)
        by_clips.setdefault(None if clips is None else str(clips), []).append(file)
    if len(by_clips.keys() - {None}) <= 1:
        return [group]
    return [Group(group.name, group.parameters | {CLIPS: clips}, files) for clips, files in by_clips.items()]


def protocol_parameters(score: Score) -> dict[str, Any]:
    """Return the settings without which the figures of a score mean nothing."""
    parameters = {name: score.settings[name] for name in OF_PROTOCOL if name in score.settings}
    config = score.settings.get('config')
    evaluate = config.get('evaluate') if isinstance(config, dict) else None
    if isinstance(evaluate, dict):
        parameters |= {f'evaluate.{name}': value for name, value in evaluate.items() if name not in FREE}
    data = config.get('data') if isinstance(config, dict) else None
    if isinstance(data, dict):
        settings = {name: value for name, value in data.items() if name not in columns.OF_PLACE}
        parameters['data'] = f'{data.get("source")}, settings {digest_json(settings)[:6]}'
    return parameters


def name_samplings(files: Sequence[ScoreFile]) -> list[str]:
    """Return for each score how its videos were drawn, as far as that is not the same for all; '' where it is."""
    names = dict.fromkeys(name for file in files for name in file.sampling)
    different = [name for name in names if len({str(file.sampling.get(name)) for file in files}) > 1]
    labels = [', '.join(f'{name} {file.sampling.get(name, "none")}' for name in different) for file in files]
    return [label[:200] for label in labels]


def columns_of(group: Group) -> list[str]:
    """Return the figures that the scores of a group have, in the order in which they appear."""
    rows = [row for file in group.scores for row in file.score.figures.values()]
    return list(dict.fromkeys(name for row in rows for name in row))


def main_row(score: Score) -> str:
    """Return the row of the samples themselves: the first, where none has that name."""
    return 'samples' if 'samples' in score.figures else next(iter(score.figures), '')


def curves_over_frames(score: Score) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the curves over frames of the samples and of real clips, {row: {figure: {'frames', 'mean', …}}}.

    What is no curve is left out.
    """
    curves = score.settings.get('curves')
    by_row = curves if isinstance(curves, dict) else {}
    checked = {}
    for row in (main_row(score), REAL):
        figures = by_row.get(row)
        read = {str(name): _read_curve(curve) for name, curve in figures.items()} if isinstance(figures, dict) else {}
        checked[row] = {name: curve for name, curve in read.items() if curve is not None}
    return checked


def _read_curve(curve: Any) -> dict[str, Any] | None:
    """Return the numbers of a curve, None of what is none."""
    if not isinstance(curve, dict):
        return None
    frames = _read_numbers(curve.get('frames'))
    means = _read_numbers(curve.get('mean'))
    if not 0 < len(frames) == len(means) <= MOST_POINTS:
        return None
    errors = _read_numbers(curve.get('error'))
    slope = curve.get('slope')
    return {
        'frames': frames,
        'mean': means,
        'error': errors if len(errors) == len(frames) else None,
        'slope': to_float(slope) if type(slope) in (int, float) else None,
    }


def _read_numbers(value: Any) -> list[float | None]:
    """Return a list of numbers, among them None for what could not be measured; [] for anything else."""
    is_right = isinstance(value, list) and all(item is None or type(item) in (int, float) for item in value)
    return value if is_right else []
