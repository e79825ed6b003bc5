"""Scores of several checkpoints or runs in one table: of one protocol, or not at all.

A distance hangs on the real clips, the resize, the divisor, the number of samples; two that differ in one of these are
numbers of two scales, and a table of them would be read as if they were of one.
"""

from collections.abc import Mapping
from typing import Any

from vdm_jax.errors import UserError
from vdm_jax.evals.question import CIRCUMSTANCES, CONFIGS, RESULTS, leave_out, select_settings
from vdm_jax.evals.score import Score

SAMPLES = 'samples'  # the row of a score that is of the samples
# What may differ between scores of one protocol: whose samples they are, and how these were made. A path of real clips
# is looked at where their hash is not there.
OF_SAMPLES = (
    'step', 'ema', 'dtype', 'workdir', 'weights', 'sampler', 'guidance', 'scalars', 'seed', 'codec',
    'codec_of_training', 'text', 'fake', 'fake_clips', 'real',
)  # fmt: skip
# Groups of a run's config that say what real clips there are and how many of them, and keys that do not.
OF_REAL = ('data', 'evaluate')
OF_PLACE = ('path', 'threads', 'prefetch', 'cache_mb', 'max_broken', 'limits')
SHOWN = 60  # characters of a value in a message


def tabulate(scores: Mapping[str, Score], row: str = SAMPLES) -> dict[str, dict[str, float | None]]:
    """Return one row of each score, by the names that these are called here: {name: {figure: number}}.

    Args:
      scores: Of one protocol, by what the table calls them, such as steps or runs.
      row: Of a score's figures.

    Raises:
      UserError: Two scores are of different protocols, settings, real clips or numbers of samples, or one has no such
        row; the message names the first difference.
    """
    table: dict[str, dict[str, float | None]] = {}
    first: tuple[str, Score] | None = None
    for name, score in scores.items():
        if first is None:
            first = name, score
        elif difference := find_difference(first[1], score):
            key, one, other = difference
            raise UserError(
                f'{first[0]} and {name} are not of one column: {key} is {show(one)} and {show(other)}; want scores of '
                'one protocol with one setting'
            )
        if row not in score.figures:
            raise UserError(f'{name}: {score.name} has no row {row}; it has {", ".join(score.figures)}')
        table[name] = dict(score.figures[row])
    return table


def find_difference(one: Score, other: Score) -> tuple[str, Any, Any] | None:
    """Return the first thing in which two scores are not comparable: (key, value of one, of the other); None if none.

    What is the samples' own may differ: checkpoint, sampler, seed, machine.
    """
    if one.name != other.name:
        return 'the name', one.name, other.name
    return compare(select(one), select(other))


def select(score: Score) -> dict[str, Any]:
    """Return what of a score's settings its figures hang on, but for the samples."""
    about = score.settings
    left_out = (*RESULTS, *CIRCUMSTANCES, *CONFIGS, *OF_SAMPLES)
    # Weights that judge may lie under another name: their sha256 is compared.
    selected = {key: leave_out(value, ('weights',)) for key, value in about.items() if key not in left_out}
    if 'real_sha256' in about:
        return selected
    # A score may be anybody's file.
    stored = about.get('config')
    config = select_settings(stored if isinstance(stored, dict) else {}, OF_PLACE)
    # The seed is of the samples' noise.
    config['evaluate'] = leave_out(config.get('evaluate'), ('seed',))
    return selected | {'real': about.get('real'), 'config': {group: config.get(group) for group in OF_REAL}}


def compare(one: Any, other: Any, key: str = '') -> tuple[str, Any, Any] | None:
    """Return the first difference of two JSON values, with its path; None where they are equal."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return None if one == other else (key, one, other)
    for name in [*one, *(name for name in other if name not in one)]:
        path = f'{key}.{name}' if key else name
        if difference := compare(one.get(name), other.get(name), path):
            return difference
    return None


def show(value: Any) -> str:
    """Return a value as a message has it."""
    text = 'not set' if value is None else str(value)
    return text if len(text) <= SHOWN else f'{text[:SHOWN]}…'
