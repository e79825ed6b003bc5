"""python -m data_pipelines COMMAND ...: see `--help`. Exit code 2 and one line on stderr for the user's mistakes.

Stopped by Ctrl-C: 3 of a command that goes on where it was when it is started again, 130 of another one.
"""

import argparse
import importlib
import os
import signal
import sys

from vdm_jax.cli.versions import warn_of_newer
from vdm_jax.errors import UserError, one_line

COMMANDS = {  # the module of each, imported when it is named: some wake jax, others start at once
    'build': 'build',  # videos with captions, labels or nothing -> a set of records
    'inspect': 'inspect',  # what a folder of videos, or a set of records, holds
    'verify': 'verify',  # whether a set of records, latents, texts or weights are undamaged
    'tfds': 'prepare_tfds',  # a published set -> a set that TFDS prepares
    'cache-latents': 'cache_latents',  # latents of every clip of an experiment's source
    'cache-text': 'cache_text',  # embeddings of every caption of a set
}
GO_ON = 'build', 'cache-latents', 'cache-text'


def main(arguments=None):
    """Runs one command; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who reads it has seen enough, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserError as error:
        print(f'error: {one_line(error)}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        goes_on = bool(set(arguments[:1]) & {*GO_ON})
        print(f'\nstopped{"; the same command goes on" if goes_on else ""}', file=sys.stderr)
        return 3 if goes_on else 130


def _run(arguments):
    """Imports the module of a command and runs it; returns its exit code."""
    parser = argparse.ArgumentParser(prog='python -m data_pipelines', description='Raw videos -> training data.')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name in COMMANDS.keys() & arguments[:1] or COMMANDS:
        module = importlib.import_module(f'data_pipelines.commands.{COMMANDS[name]}')
        summary = module.__doc__.splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    own = arguments.index('--') if '--' in arguments else len(arguments)
    parsed, more = parser.parse_known_args(arguments[:own])
    groups = [f'--{group}.' for group in ('config', 'recipe') if hasattr(parsed, group)]
    takes = [item for item in more if item.startswith(tuple(groups))]
    if strange := [item for item in more if item not in takes]:
        parser.error(f'unrecognized arguments: {" ".join(strange)}')
    parsed.assignments, parsed.engine = takes, arguments[own + 1 :]  # after --: of what a command runs on
    return parsed.run(parsed) or 0


def _exit(code):
    """Ends the process; Ctrl-C while threads of libraries end is no traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


if __name__ == '__main__':
    try:
        _exit(main())
    except Exception as error:
        warn_of_newer(error)
        raise
