"""The table of docs/plans.md: every experiment on the machine that it names."""

from collections.abc import Callable
from pathlib import Path

from vdm_jax.errors import UserError
from vdm_jax.parallel.hardware import read_topology
from vdm_jax.planning.ask import plan, target_of
from vdm_jax.planning.show import gib

BEGIN, END = '<!-- rows of `python -m vdm_jax plans` -->', '<!-- end of rows -->'


def rows(files: list[Path], say: Callable[[str], None]) -> list[str]:
    """A row of docs/plans.md for each experiment file, compiled for the machine it names."""
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
        found.append(f'| {" | ".join(cells)} |')
    return found


def write_rows(found: list[str], out: str) -> None:
    """Puts rows where the file `out` has its old ones.

    Raises:
      UserError: the file has no place for them.
    """
    text = Path(out).read_text() if Path(out).is_file() else ''
    if BEGIN not in text or END not in text:
        raise UserError(f'--out={out}: no lines {BEGIN} and {END} in it')
    head = [
        '| experiment | topology | batch | memory per chip | least step | predicted MFU, at most |',
        '|' + ' --- |' * 6,
    ]
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    Path(out).write_text('\n'.join([before + BEGIN, '', *head, *found, '', after]))
