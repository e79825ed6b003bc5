"""The table of docs/plans.md: every experiment on the machine that it names."""

from collections.abc import Callable
from pathlib import Path

from vdm_jax.parallel.hardware import read_topology
from vdm_jax.planning import docs_tables
from vdm_jax.planning.format import gib
from vdm_jax.planning.plan import plan, target_of

BEGIN, END = '<!-- rows of `python -m vdm_jax plans` -->', '<!-- end of rows -->'
HEAD = ('experiment', 'topology', 'batch', 'memory per chip', 'a step, no less than', 'MFU, no more than')


def table(files: list[Path], say: Callable[[str], None]) -> list[str]:
    """The lines of the table: a row for each experiment file, compiled for the machine it names."""
    found = []
    for file in files:
        say(f'{file} …')
        name, assignments = target_of(str(file))
        report = plan(str(file), assignments, read_topology(name), ('train',))['train']
        mfu, seconds = report['predicted_mfu'], report['roofline_seconds']
        cells = (
            f'`{file.name}`',
            name,
            str(report['batch']),
            f'{gib(report["bytes_per_chip"]["total"])} of {gib(report["chip_bytes"])} GiB',
            '-' if seconds is None else f'{seconds:.3g} s',
            '-' if mfu is None else f'{mfu:.0%}',
        )
        found.append(cells)
    return docs_tables.table(HEAD, found)
