"""What the page shows as tables: scores, config, environment, and the facts at its top."""

import datetime
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vdm_jax.report.run import RunRecord
from vdm_jax.report.scores import Group, ScoreFile, columns_of, main_row, name_samplings

LONGEST_VALUE = 2000  # characters of a value
MOST_KEYS = 5000  # of a config
MOST_COLUMNS = 200  # figures of a protocol
OF_ONE_SCORE = ('floor', 'interval')  # beginnings of rows that belong to the samples of one score, not to a protocol


@dataclass(frozen=True)
class ConfigRow:
    """A key of a config, in all runs.

    Attributes:
      key: Dotted.
      values: As text, one a run; None where a run has no such key.
      marks: For each run 'set' (on the command line), 'changed' (another value than the default) or ''.
      defaults: As text, one a run; '' where it is the value itself, or not known.
      differs: Whether the runs have different values.
    """

    key: str
    values: tuple[str | None, ...]
    marks: tuple[str, ...]
    defaults: tuple[str, ...]
    differs: bool


def flatten_config(value: Any, key: str = 'config') -> dict[str, Any]:
    """Return the values of nested groups by dotted key; groups in a list are numbered."""
    if isinstance(value, dict) and value:
        items = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        items = dict(enumerate(value)).items()
    else:
        return {key: value}
    flat: dict[str, Any] = {}
    for name, item in items:
        flat |= flatten_config(item, f'{key}.{name}')
    return flat


def compare_configs(runs: Sequence[RunRecord], defaults: Sequence[Mapping[str, Any] | None]) -> list[ConfigRow]:
    """Return a row for each key of the runs' configs, in their order.

    Args:
      runs: The runs.
      defaults: For each run {dotted key: default} of the keys whose values differ from it; None where not known.
    """
    flats = [flatten_config(run.config) if run.config else {} for run in runs]
    overrides = [set(read_overrides(run.environment)) for run in runs]
    rows = []
    keys = dict.fromkeys(key for flat in flats for key in flat)
    for key in [*keys][:MOST_KEYS]:
        values = tuple(format_value(flat[key]) if key in flat else None for flat in flats)
        marks = []
        own_defaults = []
        for assigned, changes in zip(overrides, defaults, strict=True):
            is_set = any(key == name or key.startswith(f'{name}.') for name in assigned)
            is_changed = changes is not None and key in changes
            marks.append('set' if is_set else 'changed' if is_changed else '')
            own_defaults.append(format_value(changes[key]) if changes is not None and is_changed else '')
        rows.append(ConfigRow(key, values, tuple(marks), tuple(own_defaults), len(set(values)) > 1))
    return rows


def read_overrides(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys of a config that the command line set, with their values."""
    words = environment.get('command')
    assignments = {}
    for word in words if isinstance(words, list) else ():
        if isinstance(word, str) and word.startswith('--config.') and '=' in word:
            key, _, value = word.removeprefix('--').partition('=')
            assignments[key] = value
    return assignments


def format_command(environment: Mapping[str, Any]) -> str:
    """Return the command line that a run was last started with, '' where it is not known."""
    words = environment.get('command')
    if not isinstance(words, list) or not words:
        return ''
    program, *arguments = map(str, words)
    name = 'python -m vdm_jax' if program.endswith('__main__.py') else program.rpartition('/')[2]
    return ' '.join([name, *map(shlex.quote, arguments)])


def list_environment(run: RunRecord) -> list[tuple[str, str]]:
    """Return (name, value) of what is known of where a run computes."""
    rows = []
    for name, value in run.environment.items():
        if name == 'command':
            continue
        if isinstance(value, dict):
            rows += [(str(key), format_value(item)) for key, item in value.items()]
        elif isinstance(value, list) and len(value) > 8:
            rows.append((str(name), f'{len(value)}: {format_value(value[:8])}, …'))
        else:
            rows.append((str(name), format_value(value)))
    return rows


def format_value(value: Any) -> str:
    """Return a JSON value as the command line would have it."""
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        text = ','.join(map(format_value, value))
    elif value is None or isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, dict | list):
        text = json.dumps(value)
    else:
        text = str(value)
    return shorten(text, LONGEST_VALUE)


def shorten(text: str, limit: int) -> str:
    """Return a text of at most so many characters, and a sign where it was longer."""
    return text if len(text) <= limit else f'{text[:limit]}…'


def format_number(value: float | None) -> str:
    """Return a figure with four digits that count, '–' for none."""
    if value is None:
        return '–'
    if isinstance(value, int):
        return f'{value:,}' if abs(value) < 10**15 else f'{value:.4g}' if abs(value) < 10**300 else 'huge'
    if not math.isfinite(value):
        return str(value)
    if value and not 1e-3 <= abs(value) < 1e6:
        return f'{value:.3e}'
    return f'{value:,.{max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0}f}'


def format_bytes(size: int | None) -> str:
    """Return a size for people, '–' for none, and for a number below 0, which is no size."""
    if size is None or size < 0:
        return '–'
    units = ('B', 'KiB', 'MiB', 'GiB', 'TiB')
    power = min(len(units) - 1, int(math.log2(size) // 10)) if size else 0
    return f'{size / 1024**power:.{0 if not power else 1}f} {units[power]}'


def format_duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 100:
        return f'{seconds:.0f} s'
    if seconds < 6000:
        return f'{seconds / 60:.0f} min'
    if seconds < 4 * 86400:
        return f'{seconds / 3600:.1f} h'
    return f'{seconds / 86400:.1f} days'


def summarize_run(run: RunRecord) -> list[tuple[str, str, str]]:
    """Return (name, value, remark) of what one wants to know of a run first."""
    facts = [_describe_step(run)]
    curves = run.metrics.curves
    for name, label in (('loss', 'Loss'), ('validation_loss', 'Validation loss')):
        if name in curves:
            curve = curves[name]
            finite = curve.values[curve.is_finite()]
            lowest = f'lowest {format_number(float(finite.min()))}' if finite.size else ''
            facts.append((label, format_number(float(curve.values[-1])), lowest))
    if 'seconds' in curves:
        seconds = curves['seconds']
        facts.append(
            ('Time', format_duration(float(seconds.values[seconds.is_finite()].sum())), 'of training, as logged')
        )
    rate = curves.get('steps_per_second')
    if rate is not None and len(rate.values):
        size = run.whole_setting('train', 'batch_size')
        unit = 'videos/s' if size else 'steps/s'
        facts.append(('Throughput', format_number(float(np.median(rate.values)) * (size or 1)), f'{unit}, median'))
    if 'memory_peak' in curves:
        memory = curves['memory_peak']
        finite = memory.values[memory.is_finite()]
        facts.append(
            ('Peak memory', format_bytes(int(finite.max()) if finite.size else None), 'of a device or process')
        )
    return facts


def _describe_step(run: RunRecord) -> tuple[str, str, str]:
    steps = run.whole_setting('train', 'steps')
    step = run.step
    if step is None:
        return 'Step', '–', 'nothing was logged yet'
    remark = f'of {steps:,}' if steps else ''
    if steps and step >= steps:
        remark += ', done'
    elif run.written:
        seconds = (datetime.datetime.now(datetime.UTC) - run.written).total_seconds()
        remark += f', last line {format_duration(max(seconds, 0))} before this page'
    return 'Step', f'{step:,}', remark


def list_checkpoint_metrics(run: RunRecord) -> list[str]:
    """Return the metrics of checkpoints that the page shows: the held-out loss, and that of the best one."""
    names = ['validation_loss', *([run.best_rule.metric] if run.best_rule else [])]
    return [name for name in dict.fromkeys(names) if any(name in each.metrics for each in run.checkpoints)]


def tabulate_group(group: Group, settings_length: int) -> dict[str, Any]:
    """Return what the page shows of the scores of one protocol; `settings_length` characters of each one's settings."""
    columns = columns_of(group)[:MOST_COLUMNS]
    newest = [file for file in group.scores if not file.origin] or group.scores
    references = newest[-1].score.figures
    controls = [
        {'name': name, 'cells': _format_cells(figures, columns)}
        for name, figures in references.items()
        if name != main_row(newest[-1].score) and not name.startswith(OF_ONE_SCORE)
    ]
    return {
        'name': group.name,
        'parameters': [(name, format_value(value)) for name, value in group.parameters.items()],
        'columns': columns,
        'rows': [
            _tabulate_score(file, columns, settings_length) | {'label': label}
            for file, label in zip(group.scores, name_samplings(group.scores), strict=True)
        ],
        'controls': controls,
        'controls_of': newest[-1].name,
    }


def _tabulate_score(file: ScoreFile, columns: Sequence[str], settings_length: int) -> dict[str, Any]:
    figures = file.score.figures
    extra = [
        {'name': name, 'cells': _format_cells(row, columns)}
        for name, row in figures.items()
        if name.startswith(OF_ONE_SCORE)
    ]
    for name in OF_ONE_SCORE:
        values = file.score.settings.get(name)
        if isinstance(values, dict):
            extra.append({'name': name, 'cells': [_format_any(values.get(column)) for column in columns]})
    settings = {name: value for name, value in file.score.settings.items() if name != 'curves'}
    return {
        'run': file.run,
        'step': file.step,
        'origin': file.origin,
        'file': file.name,
        'cells': _format_cells(figures.get(main_row(file.score), {}), columns),
        'extra': extra,
        'verdict': file.score.verdict,
        'sampling': [(name, format_value(value)) for name, value in file.sampling.items()],
        'table': [{'name': name, 'cells': _format_cells(row, columns)} for name, row in figures.items()],
        'settings': shorten(json.dumps(settings, indent=1), settings_length),
    }


def _format_cells(figures: Mapping[str, float | None], columns: Sequence[str]) -> list[str]:
    return [format_number(figures[column]) if column in figures else '' for column in columns]


def _format_any(value: Any) -> str:
    """Return a number, or the ends of an interval."""
    if isinstance(value, list):
        return ' … '.join(_format_any(item) for item in value[:2])
    return format_number(value) if type(value) in (int, float) else ''
