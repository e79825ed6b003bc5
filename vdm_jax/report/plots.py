"""Charts -> a document of Bokeh, with zoom, hover, linked axes, and the legend that the page draws."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.report.charts import Chart, Line
from vdm_jax.report.thinning import average_curve, thin_curve

MOST_POINTS = 60_000  # of all charts together
POINTS = 2000  # of one line at most
FEWEST_POINTS = 120
MOST_MARKS = 200  # of numbers of one line that are not finite, and restarts

# Distinct with any kind of colour vision, on white and on black.
COLOURS = ('#2f7fd0', '#e08214', '#2ca25f', '#d6548f', '#8c6bd1', '#a98b1d', '#35a7b8', '#c9503c')
# Of ordered parts, such as bins of the noise's level: from one end of a scale to the other.
RAMP = ('#5b3fa8', '#3f64c8', '#2f8fc4', '#2fae9b', '#5cb85c', '#a3b52f', '#dba81e', '#e57f1e', '#d9503a', '#b02e5e')
DASHES = ('solid', 'dashed', 'dotted', 'dashdot', 'dotdash')


@dataclass
class Plots:
    """A document of Bokeh, and where the page puts its figures.

    Attributes:
      document: JSON of it, as Bokeh.embed.embed_items takes it.
      roots: {name of a chart's element: id of its figure}.
      charts: JSON of what the page says of each chart.
    """

    document: dict[str, Any] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    charts: list[dict[str, Any]] = field(default_factory=list)


def import_bokeh() -> None:
    """Check that Bokeh is installed.

    Raises:
      UserError: It is not.
    """
    try:
        import bokeh.plotting  # noqa: F401
    except ImportError:
        raise UserError(
            "report: drawing curves needs Bokeh, which is not installed: pip install 'vdm_jax[report]'"
        ) from None


def read_script() -> str:
    """Return BokehJS without its widgets, to stand in the page."""
    from bokeh.resources import Resources

    scripts = Resources(mode='inline', components=['bokeh'], log_level='error').js_raw
    return '\n'.join(scripts).replace('</script', '<\\/script')


def make_plots(charts: Sequence[Chart], run_names: Sequence[str]) -> Plots:
    """Return the document of charts, chart i in the element chart-i, and chart-i-log where it has two scales."""
    from bokeh.document import Document

    document = Document()
    plots = Plots()
    line_count = sum(len(chart.lines) for chart in charts)
    limit = max(FEWEST_POINTS, min(POINTS, MOST_POINTS // max(line_count, 1)))
    ranges: dict[str, Any] = {}
    # Bokeh looks through all models at every change otherwise.
    with document.models.freeze():
        for number, chart in enumerate(charts):
            about = _add_chart(document, plots, ranges, number, chart, run_names, limit)
            plots.charts.append(about)
    # By its text, as numbers of numpy are among the values.
    plots.document = json.loads(json.dumps(document.to_json(deferred=False), default=_to_plain))
    return plots


def _to_plain(value: Any) -> Any:
    return value.item()


def _add_chart(
    document: Any, plots: Plots, ranges: dict[str, Any], number: int, chart: Chart, run_names: Sequence[str], limit: int
) -> dict[str, Any]:
    """Add a chart's figures to the document; return what the page says of it."""
    sources = [_make_sources(line, limit) for line in chart.lines]
    looks = [_choose_look(chart, line, len(run_names)) for line in chart.lines]
    scales = ('linear', 'log') if chart.scale == 'both' else (chart.scale,)
    # A logarithm of nothing positive is an empty chart.
    if chart.scale != 'both' and not _has_positive(chart):
        scales = ('linear',)

    legend: list[dict[str, Any]] = [
        {'label': line.label, 'run': line.run, 'colour': look[0], 'dash': look[1], 'raw': [], 'smooth': [], 'rest': []}
        for line, look in zip(chart.lines, looks, strict=True)
    ]
    for scale in scales:
        figure = _make_figure(chart, scale, _shared_range(chart, ranges))
        _draw_lines(figure, chart, sources, looks, legend, scale, run_names)
        document.add_root(figure)
        suffix = '-log' if len(scales) > 1 and scale == 'log' else ''
        plots.roots[f'chart-{number}{suffix}'] = figure.id
    return {
        'id': f'chart-{number}',
        'title': chart.title,
        'unit': chart.unit,
        'scale': scales[0],
        'section': chart.section,
        'has_log': len(scales) > 1,
        'legend': legend,
    }


def _has_positive(chart: Chart) -> bool:
    return any((line.curve.values[line.curve.is_finite()] > 0).any() for line in chart.lines)


def _choose_look(chart: Chart, line: Line, run_count: int) -> tuple[str, str]:
    """Return (colour, dash): colours tell runs apart where there are several, else lines."""
    labels = list(dict.fromkeys(each.label for each in chart.lines))
    number = labels.index(line.label)
    if run_count > 1:
        return COLOURS[line.run % len(COLOURS)], DASHES[number % len(DASHES)]
    if len(labels) > len(COLOURS) or len(labels) > 5:
        return RAMP[round(number * (len(RAMP) - 1) / (len(labels) - 1))], 'solid'
    return COLOURS[number % len(COLOURS)], 'solid'


def _shared_range(chart: Chart, ranges: dict[str, Any]) -> Any:
    """Return the horizontal range, one for all charts over training steps: zooming one zooms all."""
    from bokeh.models import DataRange1d, Range1d

    if chart.section not in ('main', 'more'):
        return DataRange1d(range_padding=0.05)
    last = max((float(line.curve.steps[-1]) for line in chart.lines if len(line.curve.steps)), default=1.0)
    shared = ranges.setdefault('step', Range1d(start=0, end=1))
    shared.end = max(shared.end, last * 1.01, 1)
    shared.reset_end = shared.end
    shared.reset_start = 0
    return shared


def _make_figure(chart: Chart, scale: str, x_range: Any) -> Any:
    from bokeh.models import (
        BasicTicker,
        BoxZoomTool,
        DataRange1d,
        NumeralTickFormatter,
        PanTool,
        Range1d,
        ResetTool,
        SaveTool,
        WheelZoomTool,
    )
    from bokeh.plotting import figure as new_figure

    tools: list[Any] = [BoxZoomTool(), PanTool(), WheelZoomTool(), ResetTool(), SaveTool(filename='chart')]
    figure = new_figure(
        height=320 if chart.scale == 'both' else 220,
        sizing_mode='stretch_width',
        y_axis_type='log' if scale == 'log' else 'linear',
        x_range=x_range,
        y_range=DataRange1d(only_visible=True, range_padding=0.08),
        tools=tools,
        active_drag=tools[0],
        toolbar_location='above',
        toolbar_inner=True,
        min_border_left=52,
        min_border_right=8,
        output_backend='canvas',
    )
    figure.toolbar.logo = None
    figure.toolbar.autohide = True
    figure.toolbar.styles = {'background-color': 'transparent'}
    # The page's own colours are behind it.
    figure.background_fill_color = None
    figure.border_fill_color = None
    # From 0 at the bottom to 1 at the top, whatever the values are.
    figure.extra_y_ranges = {'share': Range1d(start=0, end=1, bounds=(0, 1))}
    for axis in (figure.xaxis, figure.yaxis):
        axis.minor_tick_line_color = None
        axis.major_tick_line_color = None
        axis.axis_line_color = None
        axis.major_label_text_font_size = '11px'
    figure.xaxis.formatter = NumeralTickFormatter(format='0.[00]a')
    figure.yaxis.major_label_standoff = 2
    figure.xaxis.ticker = BasicTicker(desired_num_ticks=6)
    figure.outline_line_color = None
    return figure


def _make_sources(line: Line, limit: int) -> dict[str, Any]:
    """Return the points of a line: thinned, averaged for smoothing, its band, and those that are not finite."""
    from bokeh.models import ColumnDataSource

    finite = line.curve.is_finite()
    steps = line.curve.steps[finite]
    values = line.curve.values[finite]
    x, y = thin_curve(steps, values, limit)
    mean_x, mean_y = average_curve(steps, values, limit)
    sources = {
        'line': ColumnDataSource({'x': x, 'y': _shorten_numbers(y)}),
        'smooth': ColumnDataSource({'x': mean_x, 'y': _shorten_numbers(mean_y)}),
    }
    bad = np.flatnonzero(~finite)[:MOST_MARKS]
    if bad.size:
        names = [_name_value(value) for value in line.curve.values[bad]]
        heights = [0.03 if name in ('nan', '-inf') else 0.97 for name in names]
        sources['bad'] = ColumnDataSource({'x': line.curve.steps[bad], 'share': heights, 'what': names})
    if line.error is not None and len(steps) == len(x):
        error = line.error[finite]
        sources['band'] = ColumnDataSource({'x': steps, 'low': values - error, 'high': values + error})
    return sources


def _shorten_numbers(values: np.ndarray) -> np.ndarray:
    """Return numbers in single precision, more digits than a screen has; as they are where one is beyond its range."""
    return values if (np.abs(values) > 1e38).any() else values.astype(np.float32)


def _name_value(value: float) -> str:
    if np.isnan(value):
        return 'nan'
    return 'inf' if value > 0 else '-inf'


def _draw_lines(
    figure: Any,
    chart: Chart,
    sources: Sequence[dict[str, Any]],
    looks: Sequence[tuple[str, str]],
    legend: Sequence[dict[str, Any]],
    scale: str,
    run_names: Sequence[str],
) -> None:
    """Draw all lines of a chart on a figure, and note in its legend which models belong to which."""
    from bokeh.models import NumeralTickFormatter, PrintfTickFormatter

    hovered = []
    visible = []
    for line, source, (colour, dash), entry in zip(chart.lines, sources, looks, legend, strict=True):
        raw = figure.line('x', 'y', source=source['line'], line_color=colour, line_dash=dash, line_width=1.6)
        # What a tooltip calls it.
        raw.name = line.label if len(run_names) == 1 else f'{run_names[line.run]}: {line.label}'
        smooth = figure.line('x', 'y', source=source['smooth'], line_color=colour, line_dash=dash, line_width=2)
        smooth.visible = False
        entry['raw'].append(raw.id)
        entry['smooth'].append(smooth.id)
        rest = []
        if 'band' in source:
            band = figure.varea('x', 'low', 'high', source=source['band'], fill_color=colour, fill_alpha=0.18)
            rest.append(band)
        if chart.has_dots or len(source['line'].data['x']) == 1:
            rest.append(figure.scatter('x', 'y', source=source['line'], color=colour, size=5))
        if 'bad' in source:
            rest.append(_mark_not_finite(figure, source['bad'], colour, line))
        entry['rest'] += [model.id for model in rest]
        hovered.append(raw)
        visible += [raw, smooth]
    figure.y_range.renderers = visible
    if chart.restarts:
        _mark_restarts(figure, chart)
    if scale == 'linear' and _is_plain(chart):
        figure.yaxis.formatter = NumeralTickFormatter(format='0.[0000]a')
    elif scale == 'linear':
        figure.yaxis.formatter = PrintfTickFormatter(format='%.3g')

    _add_tooltips(figure, chart, hovered)


def _add_tooltips(figure: Any, chart: Chart, lines: Sequence[Any]) -> None:
    """Have a figure show the values of its lines at the mouse."""
    from bokeh.models import HoverTool

    x_format = '@x{0,0}' if chart.section != 'frames' else '@x{0.[00]}'
    tooltips = [('', '$name'), (chart.x, x_format), ('value', '@y{%.5g}')]
    # One or two boxes have room on both sides of the mouse; of more lines the one below it is shown alone.
    if len(lines) > 2:
        figure.add_tools(HoverTool(renderers=[*lines], tooltips=tooltips, formatters={'@y': 'printf'}, visible=False))
        return
    sides: tuple[Literal['right', 'left'], ...] = ('right', 'left')
    for line, side in zip(lines, sides, strict=False):
        hover = HoverTool(renderers=[line], tooltips=tooltips, formatters={'@y': 'printf'}, visible=False)
        hover.mode = 'vline'
        hover.attachment = side
        figure.add_tools(hover)


def _is_plain(chart: Chart) -> bool:
    """Return whether the values of a chart are neither tiny nor huge, and read best with plain digits."""
    values = np.concatenate([np.abs(line.curve.values[line.curve.is_finite()]) for line in chart.lines])
    return values.size > 0 and 0.02 <= float(values.max()) < 1e12


def _mark_not_finite(figure: Any, source: Any, colour: str, line: Line) -> Any:
    """Mark numbers that are not finite at the bottom (nan, -inf) or the top (inf) of a figure."""
    from bokeh.models import HoverTool

    marks = figure.scatter(
        'x', 'share', source=source, marker='x', size=9, line_width=2.5, color=colour, y_range_name='share'
    )
    tooltips = [('step', '@x{0,0}'), (line.label, '@what')]
    figure.add_tools(HoverTool(renderers=[marks], tooltips=tooltips, visible=False))
    return marks


def _mark_restarts(figure: Any, chart: Chart) -> None:
    """Draw a vertical line where a run went on."""
    from bokeh.models import ColumnDataSource, HoverTool

    restarts = chart.restarts[:MOST_MARKS]
    is_alone = len({line.run for line in chart.lines}) == 1
    colours = ['#888888' if is_alone else COLOURS[run % len(COLOURS)] for run, _ in restarts]
    data = {'x': [step for _, step in restarts], 'colour': colours}
    spans = figure.vspan(
        x='x', source=ColumnDataSource(data), line_color='colour', line_alpha=0.8, line_dash='4 4', line_width=1.2
    )
    figure.add_tools(HoverTool(renderers=[spans], tooltips=[('went on from step', '@x{0,0}')], visible=False))
