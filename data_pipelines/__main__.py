"""Run a command: python -m data_pipelines COMMAND ..., see `--help`.

Exit code 2 and one line on stderr are for the user's mistakes. Stopped by Ctrl-C: 3 of a command that goes on where it
was when it is started again, 130 of another one.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from vdm_jax.cli.versions import warn_of_newer
from vdm_jax.errors import UserError, one_line

# The module of each, imported when it is named: some import jax, others start at once.
COMMANDS = {
    'build': 'build',  # videos with captions, labels or nothing -> a set of records
    'inspect': 'inspect',  # what a folder of videos, or a set of records, holds
    'verify': 'verify',  # whether a set of records, latents, texts or weights are undamaged
    'tfds': 'prepare_tfds',  # a published set -> a set that TFDS prepares
    'cache-latents': 'cache_latents',  # latents of every clip of an experiment's source
    'cache-text': 'cache_text',  # embeddings of every caption of a set
}
RESUMABLE = 'build', 'cache-latents', 'cache-text'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # its reader has seen enough, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserError as error:
        print(f'error: {one_line(error)}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resumable = bool(set(arguments[:1]) & {*RESUMABLE})
        print(f'\nstopped{"; the same command goes on" if resumable else ""}', file=sys.stderr)
        return 3 if resumable else 130


def _run(arguments: list[str]) -> int:
    """Import the module of a command and run it; return its exit code."""
    parser = argparse.ArgumentParser(prog='python -m data_pipelines', description='Raw videos -> training data.')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    # Only the named command's module is imported; --help imports all of them.
    for name in COMMANDS.keys() & arguments[:1] or COMMANDS:
        module = importlib.import_module(f'data_pipelines.commands.{COMMANDS[name]}')
        summary = (module.__doc__ or '').splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)

    # Behind -- are options of what a command runs on.
    end = arguments.index('--') if '--' in arguments else len(arguments)
    parsed, others = parser.parse_known_args(arguments[:end])
    groups = [f'--{group}.' for group in ('config', 'recipe') if group in vars(parsed)]
    assignments = [item for item in others if item.startswith(tuple(groups))]
    unknown = [item for item in others if item not in assignments]
    if unknown:
        parser.error(f'unrecognized arguments: {" ".join(unknown)}')
    parsed.assignments = assignments
    parsed.engine = arguments[end + 1 :]
    return parsed.run(parsed) or 0


def _exit(code: int) -> NoReturn:
    """End the process; Ctrl-C while threads of libraries end is no traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


if __name__ == '__main__':
    try:
        _exit(main())
    except Exception as error:
        warn_of_newer(error)
        raise
