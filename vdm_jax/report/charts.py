"""Which curves of a run stand in which chart, on which scale."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vdm_jax.report.metrics import Curve
from vdm_jax.report.numbers import to_float
from vdm_jax.report.run import RunRecord
from vdm_jax.report.scores import REAL, Group, curves_over_frames, main_row, name_samplings

MOST_OTHERS = 24  # charts of numbers that this page has no chart of their own for
MOST_LINES = 16  # of one run in one chart
MOST_SCORE_CHARTS = 24
VALIDATION = 'validation_'

# Shown by other means, or of no use as a curve.
HIDDEN = ('seconds', 'waited_for_data', 'compilations', 'skipped_updates', 'resumed')


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
      label: What it is.
      run: Index of its run.
      curve: Its points.
      error: Half the width of a band around it, by point; None for no band.
    """

    label: str
    run: int
    curve: Curve
    error: np.ndarray | None = None


@dataclass
class Chart:
    """A chart.

    Attributes:
      title: What stands above it.
      unit: Of the values, '' for none.
      section: 'main', 'more' (folded), or 'scores' and 'frames'.
      scale: 'linear', 'log', or 'both', between which a reader may switch.
      lines: In the order of the legend.
      x: What the horizontal axis counts.
      restarts: Steps, of vertical lines, by run.
      has_dots: Whether points are marked, as where there are few.
    """

    title: str
    unit: str = ''
    section: str = 'main'
    scale: str = 'linear'
    lines: list[Line] = field(default_factory=list)
    x: str = 'step'
    restarts: list[tuple[int, int]] = field(default_factory=list)
    has_dots: bool = False


def chart_runs(runs: list[RunRecord]) -> list[Chart]:
    """Return the charts of what runs logged; all have training steps as their horizontal axis."""
    used: set[str] = set()

    def collect(names: Callable[[str], bool], rename: Callable[[str], str], factor: float = 1.0) -> list[Line]:
        lines = []
        for index, run in enumerate(runs):
            matches = [name for name in sorted(run.metrics.curves, key=_natural_key) if names(name)]
            used.update(matches)
            for name in matches[:MOST_LINES]:
                curve = run.metrics.curves[name]
                lines.append(Line(rename(name), index, Curve(curve.steps, curve.values * factor)))
        return lines

    charts = [
        Chart('Loss', scale='both', lines=collect(_is_in('loss', 'validation_loss'), _name_split)),
        *(Chart(part, lines=collect(_is_in(part, VALIDATION + part), _name_split)) for part in _list_parts(runs)),
        Chart('Validation, by part', scale='log', lines=collect(_is_part_of_validation, _cut(VALIDATION, 'loss_'))),
        Chart('Loss, by part', scale='log', lines=collect(_begins('loss_', 'loss/'), _cut('loss'))),
        Chart('Norms', scale='log', lines=collect(_ends('_norm'), lambda name: name.removesuffix('_norm'))),
        Chart('Learning rate', lines=collect(_begins('learning_rate'), lambda name: name.replace('_', ' '))),
        _chart_throughput(runs),
        Chart('Waiting for data', '% of the time', lines=collect(_is_in('waiting_share'), lambda _: 'waiting')),
        Chart('Peak memory', 'GiB', lines=collect(_is_in('memory_peak'), lambda _: 'memory', 2**-30)),
        Chart('Saving holds up the run', 's', 'more', lines=collect(_is_in('checkpoint_seconds'), lambda _: 'seconds')),
    ]
    used.update((*HIDDEN, 'steps_per_second'))
    others = dict.fromkeys(name for run in runs for name in sorted(run.metrics.curves) if name not in used)
    for group in dict.fromkeys(name.partition('/')[0] for name in others):
        names = [name for name in others if name.partition('/')[0] == group]
        charts.append(Chart(group, section='more', lines=collect(_is_in(*names), _cut(f'{group}/'))))

    charts = [chart for chart in charts if any(len(line.curve.steps) for line in chart.lines)]
    main = [chart for chart in charts if chart.section == 'main']
    charts = main + [chart for chart in charts if chart.section == 'more'][:MOST_OTHERS]
    restarts = [(index, restart.step) for index, run in enumerate(runs) for restart in run.metrics.restarts]
    for chart in charts:
        chart.restarts = restarts
        chart.has_dots = max(len(line.curve.steps) for line in chart.lines) <= 30
    return charts


def _list_parts(runs: list[RunRecord]) -> list[str]:
    """Return the parts of the loss that validation has a mean of, beside the loss itself."""
    names = dict.fromkeys(name for run in runs for name in run.metrics.curves)
    plain = [name for name in names if name.startswith(VALIDATION) and '/' not in name and name != 'validation_loss']
    return [name.removeprefix(VALIDATION) for name in plain]


def _chart_throughput(runs: list[RunRecord]) -> Chart:
    """Return videos a second where every run says how many a batch has, else steps a second."""
    sizes = [run.whole_setting('train', 'batch_size') for run in runs]
    in_videos = all(sizes)
    chart = Chart('Throughput', 'videos/s' if in_videos else 'steps/s')
    for index, (run, size) in enumerate(zip(runs, sizes, strict=True)):
        curve = run.metrics.curves.get('steps_per_second')
        if curve is not None:
            factor = size if in_videos and size else 1
            chart.lines.append(Line(chart.unit, index, Curve(curve.steps, curve.values * factor)))
    return chart


def chart_scores(groups: list[Group], run_names: list[str]) -> list[tuple[int, Chart]]:
    """Return (number of the group, chart) of each figure of each protocol over training steps.

    Points of one line are of one run, average, sampler and seed; figures of two protocols never meet.
    """
    charts = []
    for number, group in enumerate(groups):
        own = [file for file in group.scores if not file.origin and file.step >= 0]
        labels = [label or 'samples' for label in name_samplings(own)]
        by_figure: dict[str, dict[tuple[int, str], dict[int, float]]] = {}
        for file, label in zip(own, labels, strict=True):
            for figure, value in file.score.figures.get(main_row(file.score), {}).items():
                lines = by_figure.setdefault(figure, {})
                lines.setdefault((run_names.index(file.run), label), {})[file.step] = to_float(value)
        for figure, lines in by_figure.items():
            chart = Chart(figure, section='scores', has_dots=True)
            chart.lines = [_line_of(label, run, points) for (run, label), points in lines.items()]
            if max(len(line.curve.steps) for line in chart.lines) > 1 and _varies(chart.lines):
                charts.append((number, chart))
    return charts[:MOST_SCORE_CHARTS]


def _line_of(label: str, run: int, points: dict[int, float]) -> Line:
    steps = sorted(points)
    return Line(label, run, Curve(np.array(steps, float), np.array([points[step] for step in steps])))


def _varies(lines: Iterable[Line]) -> bool:
    """Return whether there is anything to see: counts of clips are the same in every score."""
    values = np.concatenate([line.curve.values for line in lines])
    finite = values[np.isfinite(values)]
    return finite.size > 1 and float(finite.min()) < float(finite.max())


def chart_frames(groups: list[Group], run_names: list[str]) -> list[tuple[int, Chart]]:
    """Return (number of the group, chart) of each curve over frames, a line for each score."""
    charts = []
    for number, group in enumerate(groups):
        by_figure: dict[str, Chart] = {}
        for file in group.scores:
            step = f'step {file.step}' + (' (weights)' if file.origin else '')
            for row, curves in curves_over_frames(file.score).items():
                # Real clips are the same for all scores of a protocol: those of the first are enough.
                if row == REAL and file is not group.scores[0]:
                    continue
                for figure, curve in curves.items():
                    chart = by_figure.setdefault(figure, Chart(figure, section='frames', x='frame', has_dots=True))
                    if len(chart.lines) < MOST_LINES:
                        label = REAL if row == REAL else step
                        chart.lines.append(_line_over_frames(label, run_names.index(file.run), curve))
        charts += [(number, chart) for chart in by_figure.values()]
    return charts[:MOST_SCORE_CHARTS]


def _line_over_frames(label: str, run: int, curve: dict[str, Any]) -> Line:
    slope = '' if curve['slope'] is None else f', slope {curve["slope"]:.3g}'
    error = None if curve['error'] is None else _to_array(curve['error'])
    return Line(label + slope, run, Curve(_to_array(curve['frames']), _to_array(curve['mean'])), error)


def _to_array(values: list[float | None]) -> np.ndarray:
    return np.array([to_float(value) for value in values])


def _is_in(*names: str) -> Callable[[str], bool]:
    return lambda name: name in names


def _begins(*prefixes: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(prefixes)


def _is_part_of_validation(name: str) -> bool:
    return name.startswith(VALIDATION) and '/' in name


def _ends(suffix: str) -> Callable[[str], bool]:
    return lambda name: name.endswith(suffix)


def _cut(*prefixes: str) -> Callable[[str], str]:
    def cut(name: str) -> str:
        rest = name
        for prefix in prefixes:
            rest = rest.removeprefix(prefix)
        return rest.lstrip('_/') or name

    return cut


def _name_split(name: str) -> str:
    return 'validation' if name.startswith(VALIDATION) else 'training'


def _natural_key(name: str) -> list[tuple[int, float, str]]:
    """Return a key by which t/0.9 comes before t/1.0 and part2 before part10."""
    pieces = re.split(r'(\d+(?:\.\d+)?)', name)
    return [(0, float(piece), '') if piece[:1].isdigit() and piece.isascii() else (1, 0.0, piece) for piece in pieces]
