"""The table of docs/baselines.md, from what the parity tests measured.

    python -m tests.parity.table DIR [--out=docs/baselines.md]

Each file of parity tests leaves DIR/NAME.json, a list of rows {source, configuration, forward, gradient, sampler}: the
greatest errors, None or left out where there is nothing of the kind. Rows stand for what this run compared: what was
skipped, for want of a checkout, is not in the table, and the script prints which sources are missing.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import sys

from tests.parity import official
from vdm_jax.planning import docs_tables

COLUMNS = ('source', 'configuration', 'forward', 'gradient', 'sampler')
BEGIN = '<!-- parity: begin, made by make parity -->'
END = '<!-- parity: end -->'


def write(name: str, rows: list[dict]) -> None:
    """Write the rows of one file of tests to the folder VDM_JAX_PARITY_OUT, if it is set."""
    if folder := os.environ.get('VDM_JAX_PARITY_OUT'):
        path = pathlib.Path(folder) / f'{name}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows, indent=1))


def read(folder) -> list[dict]:
    """The rows of all files, by source, in the order in which they were written."""
    rows = [row for file in sorted(pathlib.Path(folder).glob('*.json')) for row in json.loads(file.read_text())]
    return sorted(rows, key=lambda row: row['source'])


def table(rows: list[dict]) -> list[str]:
    """The rows in Markdown, line by line."""

    def format_value(value):
        return '' if value is None else value if isinstance(value, str) else f'{value:.0e}'

    return docs_tables.table(COLUMNS, [tuple(format_value(row.get(column)) for column in COLUMNS) for row in rows])


def versions() -> str:
    """What was compared with."""
    named = [f'{name} {importlib.metadata.version(name).split("+")[0]}' for name in ('torch', 'diffusers', 'jax')]
    for variable, (repository, _) in official.CHECKOUTS.items():
        if os.environ.get(variable):
            named.append(f'{repository} at {official.commit_of(official.checkout(variable))[:7]}')
    return f'Measured on {", ".join(named)}.'


def sources(lines: list[str]) -> set[str]:
    """Those that a table has rows of."""
    cells = [line.split('|')[1].strip() for line in lines if line.startswith('|')]
    return set(cells[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder')
    parser.add_argument('--out', metavar='FILE')
    arguments = parser.parse_args()
    rows = read(arguments.folder)
    if not rows:
        sys.exit(f'{arguments.folder} holds no rows: nothing was compared, and the table stays as it is')
    lines = [*table(rows), '', versions()]
    print('\n'.join(lines))
    if arguments.out:
        if missed := sources(docs_tables.between(arguments.out, BEGIN, END)) - sources(lines):
            print(f'not compared this time, and out of the table: {", ".join(sorted(missed))}', file=sys.stderr)
        docs_tables.replace(arguments.out, BEGIN, END, lines)


if __name__ == '__main__':
    main()
