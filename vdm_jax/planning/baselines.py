"""The registry of experiments: what every file of experiments/ says of itself in its docstring, which is read and not
run.

A docstring's first line is the title, its indented lines `python -m vdm_jax …` are the commands, and a paragraph of
lines `Name: …` has the fields of FIELDS, each up to the next or to an empty line.
"""

import ast
import re
import textwrap
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
BEGIN, END = '<!-- rows of `python -m vdm_jax baselines` -->', '<!-- end of rows -->'
BRIEF = '<!-- rows of `python -m vdm_jax baselines`, in brief -->'


@dataclass(frozen=True)
class Baseline:
    """What an experiment file says. status: a name of STATUSES; note: what stands behind it."""

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


def docstring(file: str | Path) -> str:
    """That of a Python file, '' where it has none; the file is not run.

    Raises:
      UserError: it is no Python.
    """
    try:
        return ast.get_docstring(ast.parse(Path(file).read_text())) or ''
    except SyntaxError as error:
        raise UserError(f'{file}, line {error.lineno}, is no Python: {error.msg}') from None
    except ValueError as error:  # no UTF-8, or with zeros in it
        raise UserError(f'{file} is no Python: {error}') from None


def fields(text: str) -> dict[str, str]:
    """The fields of a docstring, each on one line."""
    found, name = {}, None
    for line in text.splitlines():
        key, colon, rest = line.partition(':')
        if colon and key in FIELDS:
            name, line = key, rest
            found[name] = []
        if not line.strip():
            name = None
        elif name:
            found[name].append(line.strip())
    return {name: ' '.join(lines).removesuffix('.') for name, lines in found.items()}


def read(file: str | Path) -> Baseline:
    """What one experiment file says.

    Raises:
      UserError: a field or the command is missing, or the status is none that is known.
    """
    text, name = docstring(file), Path(file).name
    said = fields(text)
    missing = [field for field in FIELDS if not said.get(field)]
    lines = [line.strip() for line in text.splitlines() if line.startswith(' ')]
    said_so = [line for line in lines if line.startswith('python -m vdm_jax ')]
    commands = [' '.join(re.split(r'\s{2,}#', line)[0].split()) for line in said_so]
    if not any(f'experiments/{name}' in command for command in commands):
        missing.append(f'an indented line python -m vdm_jax … experiments/{name}')
    if missing:
        raise UserError(f'{file}: its docstring lacks {", ".join(missing)}')
    status, _, note = re.fullmatch(r'([\w-]*)(\W*)(.*)', said['Status']).groups()
    if status not in STATUSES:
        raise UserError(f'{file}: Status: {status}: want one of {", ".join(STATUSES)}')
    named = {field.lower(): said[field] for field in FIELDS if field != 'Status'}
    return Baseline(name, text.splitlines()[0], commands=tuple(commands), status=status, note=note, **named)


def files(folder: str | Path = packaged.WORD) -> list[Path]:
    """The experiment files of the package, by name, and those of a folder here, which come before its own of that name.

    A Python file of that folder whose docstring has no field is no experiment's, and left out.

    Raises:
      UserError: there are none.
    """
    here = {file.stem: file for file in Path(folder).glob('*.py') if _has_fields(file)}
    every = packaged.names() | here
    if not every:
        raise UserError(f'there are no experiments: neither in {packaged.FOLDER}/ nor in {folder}/ here')
    return [every[name] for name in sorted(every)]


def _has_fields(file: Path) -> bool:
    """Whether a Python file says anything of itself that the registry knows."""
    try:
        return bool(fields(docstring(file)))
    except (UserError, OSError):
        return False


def markdown(found: list[Baseline], brief: bool = False) -> list[str]:
    """The lines of the table as pages have it."""

    def status(each):
        return f'**{each.status}**' + (f': {each.note}' if each.note else '')

    columns = {
        'experiment': lambda each: f'`{each.file}`',
        'paper': lambda each: each.paper,
        'table': lambda each: each.table,
        'published, or measured here': lambda each: each.expected,
        'hardware': lambda each: each.hardware,
        'status': status,
    }
    if brief:
        columns = {name: columns[name] for name in ('experiment', 'paper')} | {'status': lambda each: each.status}
    return docs_tables.table(tuple(columns), [tuple(cell(each) for cell in columns.values()) for each in found])


def write(page: str, found: list[Baseline]) -> None:
    """Puts the table where the file `page` has its old one, brief where its mark says so.

    Raises:
      UserError: the file has no place for it.
    """
    brief = Path(page).is_file() and BRIEF in Path(page).read_text()
    docs_tables.replace(page, BRIEF if brief else BEGIN, END, markdown(found, brief))


def table(found: list[Baseline]) -> str:
    """The table for a terminal of 120 columns."""
    widths = (18, 14, 34, 48)
    lines = [('experiment', 'status', 'paper and table', 'published, or measured here')]
    lines.append(tuple('-' * width for width in widths))
    for each in found:
        paper = each.paper + ('' if each.table == 'none' else f'; {each.table}')
        cells = zip((each.file, each.status, paper, each.expected), widths, strict=True)
        wrapped = [textwrap.wrap(cell, width) for cell, width in cells]
        height = max(map(len, wrapped))
        lines += zip(*(cell + [''] * (height - len(cell)) for cell in wrapped), strict=True)
        lines.append(('',) * len(widths))

    def row(cells):
        return '  '.join(f'{cell:{width}}' for cell, width in zip(cells, widths, strict=True)).rstrip()

    return '\n'.join(map(row, lines)).rstrip()
