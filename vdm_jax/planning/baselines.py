"""The experiments of the project: what every file of experiments/ says of itself in its docstring.

The files are parsed and not run. A docstring's first line is the title, its indented lines `python -m vdm_jax …` are
the commands, and a paragraph of lines `Name: …` has the fields of FIELDS, each up to the next or to an empty line.
"""

import ast
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vdm_jax.config import packaged
from vdm_jax.errors import UserError
from vdm_jax.planning import docs_tables

FIELDS = ('Paper', 'Table', 'Topology', 'Hardware', 'Expected', 'Status')
STATUSES = {
    'reproduced': 'trained here by the command of the file; the published number came out, under its protocol',
    'weights-parity': 'checkpoints of the official code load, and the network gives what that code gives; shown with '
    'random weights, no published ones were at hand; its training is not compared',
    'loss-parity': "as weights-parity, and the training loss and every tensor's gradient are the official code's too",
    'untested': 'a published recipe as far as it is known, with what is left out, or one of our own; it builds '
    'and plans, no more',
    'measured': 'a world of our own, or a task without a recipe to follow; the numbers were measured by this file',
}
BEGIN = '<!-- rows of `python -m vdm_jax baselines` -->'
BRIEF = '<!-- rows of `python -m vdm_jax baselines`, in brief -->'
END = '<!-- end of rows -->'
WIDTHS = (18, 14, 34, 48)  # of the columns of the table for a terminal


@dataclass(frozen=True)
class Baseline:
    """What an experiment file says of itself.

    Attributes:
      file: Name of the file.
      title: First line of its docstring.
      paper: That it follows.
      table: Of the paper that its expected numbers are from.
      commands: That train, sample and evaluate it.
      topology: The machine it is planned for.
      hardware: That the paper used, or we did.
      expected: Numbers published, or measured here.
      status: A name of STATUSES.
      note: What stands behind the status.
    """

    file: str
    title: str
    paper: str
    table: str
    commands: tuple[str, ...]
    topology: str
    hardware: str
    expected: str
    status: str
    note: str


def read_docstring(file: str | Path) -> str:
    """Return the docstring of a Python file, '' where it has none; the file is not run.

    Raises:
      UserError: it is no Python.
    """
    try:
        return ast.get_docstring(ast.parse(Path(file).read_text())) or ''
    except SyntaxError as error:
        raise UserError(f'{file}, line {error.lineno}, is no Python: {error.msg}') from None
    except ValueError as error:  # no UTF-8, or with zeros in it
        raise UserError(f'{file} is no Python: {error}') from None


def parse_fields(docstring: str) -> dict[str, str]:
    """Return the fields of a docstring, each on one line."""
    fields: dict[str, list[str]] = {}
    name: str | None = None
    for line in docstring.splitlines():
        key, colon, rest = line.partition(':')
        if colon and key in FIELDS:
            name = key
            line = rest
            fields[name] = []
        # An empty line ends the paragraph of fields, so that prose behind it is not taken for the last one.
        if not line.strip():
            name = None
        elif name:
            fields[name].append(line.strip())
    return {name: ' '.join(lines).removesuffix('.') for name, lines in fields.items()}


def read(file: str | Path) -> Baseline:
    """Return what one experiment file says.

    Raises:
      UserError: a field or the command is missing, or the status is none that is known.
    """
    name = Path(file).name
    docstring = read_docstring(file)
    fields = parse_fields(docstring)
    commands = _read_commands(docstring)
    missing = [field for field in FIELDS if not fields.get(field)]
    # A command of another file would be a copy that was not adapted.
    if not any(f'experiments/{name}' in command for command in commands):
        missing.append(f'an indented line python -m vdm_jax … experiments/{name}')
    if missing:
        raise UserError(f'{file}: its docstring lacks {", ".join(missing)}')

    status, note = _split_status(fields['Status'])
    if status not in STATUSES:
        raise UserError(f'{file}: Status: {status}: want one of {", ".join(STATUSES)}')
    return Baseline(
        file=name,
        title=docstring.splitlines()[0],
        paper=fields['Paper'],
        table=fields['Table'],
        commands=tuple(commands),
        topology=fields['Topology'],
        hardware=fields['Hardware'],
        expected=fields['Expected'],
        status=status,
        note=note,
    )


def _read_commands(docstring: str) -> list[str]:
    """Return the indented commands of a docstring, without the remarks behind them."""
    commands = []
    # A backslash at its end continues a command on the next line, as in a shell.
    for line in docstring.replace('\\\n', ' ').splitlines():
        command = line.strip()
        if line.startswith(' ') and command.startswith('python -m vdm_jax '):
            without_remark = re.split(r'\s{2,}#', command)[0]
            commands.append(' '.join(without_remark.split()))
    return commands


def _split_status(text: str) -> tuple[str, str]:
    """(status, note) of 'status: note'."""
    match = re.fullmatch(r'([\w-]*)(\W*)(.*)', text)
    assert match is not None  # as any line matches
    return match[1], match[3]


def files(folder: str | Path = packaged.WORD) -> list[Path]:
    """Return the experiment files of the package and those of a folder here, by name.

    A file here replaces the package's own of that name. A Python file of that folder whose docstring has no field is no
    experiment's, and left out.

    Raises:
      UserError: there are none.
    """
    # A folder may hold other scripts beside experiments.
    local_files = {file.stem: file for file in Path(folder).glob('*.py') if _has_fields(file)}
    all_files = packaged.list_files() | local_files
    if not all_files:
        raise UserError(f'there are no experiments: neither in {packaged.FOLDER}/ nor in {folder}/ here')
    return [all_files[name] for name in sorted(all_files)]


def _has_fields(file: Path) -> bool:
    """Whether the docstring of a Python file has any of FIELDS."""
    try:
        return bool(parse_fields(read_docstring(file)))
    except (UserError, OSError):
        return False


def markdown(baselines: Sequence[Baseline], brief: bool = False) -> list[str]:
    """Return the lines of the table as pages have it."""
    if brief:
        head: tuple[str, ...] = ('experiment', 'paper', 'status')
        rows: list[tuple[str, ...]] = [(f'`{each.file}`', each.paper, each.status) for each in baselines]
        return docs_tables.table(head, rows)
    head = ('experiment', 'paper', 'table', 'published, or measured here', 'hardware', 'status')
    rows = []
    for each in baselines:
        status = f'**{each.status}**' + (f': {each.note}' if each.note else '')
        rows.append((f'`{each.file}`', each.paper, each.table, each.expected, each.hardware, status))
    return docs_tables.table(head, rows)


def write(page: str, baselines: Sequence[Baseline]) -> None:
    """Replace the table in the file `page`, by the brief one where its mark says so.

    Raises:
      UserError: the file has no marks of a table.
    """
    is_brief = Path(page).is_file() and BRIEF in Path(page).read_text()
    docs_tables.replace(page, BRIEF if is_brief else BEGIN, END, markdown(baselines, is_brief))


def table(baselines: Sequence[Baseline]) -> str:
    """Return the table for a terminal of 120 columns."""
    rows: list[tuple[str, ...]] = [('experiment', 'status', 'paper and table', 'published, or measured here')]
    rows.append(tuple('-' * width for width in WIDTHS))
    for each in baselines:
        paper = each.paper + ('' if each.table == 'none' else f'; {each.table}')
        rows += _wrap((each.file, each.status, paper, each.expected))
        rows.append(('',) * len(WIDTHS))
    return '\n'.join(map(_format_row, rows)).rstrip()


def _wrap(cells: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Return the lines of one row, each cell wrapped in its column."""
    columns = [textwrap.wrap(cell, width) for cell, width in zip(cells, WIDTHS, strict=True)]
    height = max(map(len, columns))
    padded = [column + [''] * (height - len(column)) for column in columns]
    return zip(*padded, strict=True)


def _format_row(cells: tuple[str, ...]) -> str:
    return '  '.join(f'{cell:{width}}' for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()
