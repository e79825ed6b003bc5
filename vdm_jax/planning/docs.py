"""The table of docs/plans.md: every experiment on the machine that it names."""

from collections.abc import Callable
from pathlib import Path

from vdm_jax.parallel.hardware import read_topology
from vdm_jax.planning import docs_tables
from vdm_jax.planning.format import format_gib
from vdm_jax.planning.plan import plan, read_target

BEGIN = '<!-- rows of `python -m vdm_jax plans` -->'
END = '<!-- end of rows -->'
HEAD = ('experiment', 'topology', 'batch', 'memory per chip', 'a step, no less than', 'MFU, no more than')


def table(files: list[Path], report_progress: Callable[[str], None]) -> list[str]:
    """Return the lines of the table: a row for each experiment file, compiled for the machine it names."""
    rows = []
    for file in files:
        report_progress(f'{file} …')
        topology, assignments = read_target(str(file))
        # Training alone: the table has no columns for sampling.
        report = plan(str(file), assignments, read_topology(topology), ('train',))['train']
        mfu = report['predicted_mfu']
        seconds = report['roofline_seconds']
        needed = format_gib(report['bytes_per_chip']['total'])
        row = (
            f'`{file.name}`',
            topology,
            str(report['batch']),
            f'{needed} of {format_gib(report["chip_bytes"])} GiB',
            '-' if seconds is None else f'{seconds:.3g} s',
            '-' if mfu is None else f'{mfu:.0%}',
        )
        rows.append(row)
    return docs_tables.table(HEAD, rows)
