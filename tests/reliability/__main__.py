"""The table of damage in docs/reliability.md: `python -m tests.reliability [KIND ...] [--tries=N] [--seed=N]`.

Of each kind of files (tests/reliability/kinds.py) a row: how often one was damaged (of ten times seven by a bit, else
cut off, zeroed or removed), how often that was noticed, made no difference, or went wrong. Faults are printed on
stderr; exit code 1 where there is any.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.reliability.apart import Reader
from tests.reliability.damage import COLUMNS, FAULTS, count, header, row
from tests.reliability.kinds import KINDS


def main(arguments=None) -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog='python -m tests.reliability', description=__doc__.splitlines()[0])
    parser.add_argument('kinds', nargs='*', metavar='KIND', help=f'of {", ".join(KINDS)} (default: all)')
    parser.add_argument('--tries', type=int, default=100, help='of each kind (default 100)')
    parser.add_argument('--first', type=int, default=0, help='number of the first try (default 0)')
    parser.add_argument('--seed', type=int, default=0, help='another one damages other bytes (default 0)')
    options = parser.parse_args(arguments)
    if strange := [name for name in options.kinds if name not in KINDS]:
        parser.error(f'{strange[0]} is no kind; there are {", ".join(KINDS)}')
    total = dict.fromkeys(COLUMNS, 0)
    print(header(), flush=True)
    for name in options.kinds or KINDS:
        counts = try_kind(name, range(options.first, options.first + options.tries), options.seed)
        print(row(name, counts), flush=True)
        total = {column: total[column] + counts[column] for column in COLUMNS}
    print(row('all', total))
    return 1 if any(total[fault] for fault in FAULTS) else 0


def try_kind(name: str, tries: range, seed: int) -> dict[str, int]:
    """The counts of one kind, whose files are read in a process of their own."""

    def say(fault):
        return print(f'{name}: {fault}', file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        KINDS[name].make(directory)
        with Reader(name, directory) as reader:
            return count(KINDS[name], directory, reader, tries, seed, say)


if __name__ == '__main__':
    sys.exit(main())
