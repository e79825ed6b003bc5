"""The page: one HTML file with its styles, scripts, curves and samples in it."""

import contextlib
import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vdm_jax.errors import UserError
from vdm_jax.files import explain_refusal, is_local, write_atomically
from vdm_jax.report import plots, tables
from vdm_jax.report.charts import Chart, chart_frames, chart_runs, chart_scores
from vdm_jax.report.run import RunRecord, read_run
from vdm_jax.report.scores import Group, group_scores

NAME = 'report.html'
# So that a page stays below 10 MB, with BokehJS and as many points as plots.py draws.
SETTINGS_LENGTH = 500_000  # characters of the settings of all scores; of those that HTML escapes five in the page
SAMPLE_BYTES = 4_000_000  # of all pictures, a third more in the page

FindDefaults = Callable[[dict[str, Any]], Mapping[str, Any] | None]


def find_no_defaults(config: dict[str, Any]) -> Mapping[str, Any] | None:
    """Know the defaults of no config."""
    del config
    return None


def write_report(workdirs: Sequence[str], out: str, find_defaults: FindDefaults = find_no_defaults) -> list[RunRecord]:
    """Write the report of runs as one HTML file, the first of them beside the others; return what was read.

    Args:
      workdirs: Run directories, any etils.epath.
      out: The file.
      find_defaults: Returns {dotted key: default} of the keys of a config that have another value, None where it does
        not know the config.

    Raises:
      UserError: There is no run in one, or Bokeh is not installed.
      OSError: The page cannot be written.
    """
    plots.import_bokeh()
    names = name_runs(workdirs)
    budget = SAMPLE_BYTES // len(workdirs)
    runs = []
    for workdir, name in zip(workdirs, names, strict=True):
        try:
            with contextlib.nullcontext() if is_local(workdir) else explain_refusal(workdir):
                runs.append(read_run(workdir, name, budget))
        except OSError as error:
            raise UserError(f'{workdir}: cannot be read ({error.strerror or error})') from None
    page = make_page(runs, [find_defaults(run.config) for run in runs])
    # Names of files need not be UTF-8.
    write_atomically(out, page.encode(errors='backslashreplace'))
    return runs


def name_runs(workdirs: Sequence[str]) -> list[str]:
    """Return a name for each run: the last part of its path, the path where two have the same."""
    lasts = [workdir.rstrip('/').rpartition('/')[2] or workdir for workdir in workdirs]
    names = [last if lasts.count(last) == 1 else workdir for last, workdir in zip(lasts, workdirs, strict=True)]
    # One run named twice.
    return [name if names.count(name) == 1 else f'{name} ({i})' for i, name in enumerate(names, 1)]


def make_page(runs: Sequence[RunRecord], defaults: Sequence[Mapping[str, Any] | None] | None = None) -> str:
    """Return the page of runs.

    Args:
      runs: At least one.
      defaults: For each run {dotted key: default} of the keys of its config that have another value; None where that
        is not known.
    """
    import jinja2

    groups = group_scores([file for run in runs for file in run.scores])
    names = [run.name for run in runs]
    curve_charts = chart_runs([*runs])
    charts, owners = _join_charts(curve_charts, groups, names)
    drawn = plots.make_plots(charts, names)

    settings_length = SETTINGS_LENGTH // max(1, sum(len(group.scores) for group in groups))
    tabulated = [tables.tabulate_group(group, settings_length) | {'charts': []} for group in groups]
    for number, owner in owners.items():
        tabulated[owner]['charts'].append(drawn.charts[number])
    config = tables.compare_configs(runs, defaults or [None] * len(runs))
    folder = Path(__file__).parent
    # Every value of the template is escaped: what a run directory holds may be anybody's text.
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True)
    environment.filters |= {'bytes': tables.format_bytes, 'number': tables.format_number}
    return environment.get_template('page.html').render(
        runs=[_describe_run(run) for run in runs],
        made=datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%d %H:%M UTC'),
        charts=[about for number, about in enumerate(drawn.charts) if number not in owners],
        groups=tabulated,
        config=config,
        knows_defaults=bool(defaults) and all(each is not None for each in defaults or ()),
        css=(folder / 'page.css').read_text(),
        scripts=[plots.read_script(), *((folder / name).read_text() for name in ('curves.js', 'player.js', 'page.js'))],
        data=_escape_json({
            'plots': {'document': drawn.document, 'roots': drawn.roots, 'charts': drawn.charts},
            'samples': [_describe_samples(run) for run in runs],
        }),
        colours=plots.COLOURS,
    )  # fmt: skip


def _join_charts(curves: list[Chart], groups: list[Group], names: list[str]) -> tuple[list[Chart], dict[int, int]]:
    """Return all charts, and of those that belong to a group of scores its number."""
    charts = [*curves]
    owners = {}
    for owner, chart in [*chart_scores(groups, names), *chart_frames(groups, names)]:
        owners[len(charts)] = owner
        charts.append(chart)
    return charts, owners


def _describe_run(run: RunRecord) -> dict[str, Any]:
    """Return what the template shows of a run."""
    return {
        'name': run.name,
        'workdir': run.workdir,
        'facts': tables.summarize_run(run),
        'command': tables.format_command(run.environment),
        'environment': tables.list_environment(run),
        'warnings': run.warnings,
        'checkpoints': run.checkpoints,
        'best_rule': run.best_rule,
        'checkpoint_metrics': tables.list_checkpoint_metrics(run),
        'has_samples': bool(run.samples.steps),
        'sample_every': run.setting('train', 'sample_every'),
        'reduction': run.samples.describe_reduction(),
    }


def _describe_samples(run: RunRecord) -> dict[str, Any]:
    """Return what the player needs of a run."""
    steps = [{'step': each.step, 'fps': each.fps} | each.sheet.to_json() for each in run.samples.steps]
    return {'name': run.name, 'steps': steps}


def _escape_json(value: Any) -> str:
    """Return JSON that can stand within a script element, whatever its texts are."""
    text = json.dumps(value, separators=(',', ':'), allow_nan=False)
    return text.replace('&', '\\u0026').replace('<', '\\u003c').replace('>', '\\u003e')
