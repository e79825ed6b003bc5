"""python -m data_pipelines COMMAND ...: see `--help`. Exit code 2 and one line on stderr for the user's mistakes."""

import argparse
import sys

from data_pipelines import cache_latents, cache_text, inspect_folder
from vdm_jax.errors import UserError

COMMANDS = {
    'inspect': inspect_folder,  # what a folder of videos holds
    'cache-latents': cache_latents,  # latents of every clip of an experiment's source
    'cache-text': cache_text,  # embeddings of every caption of a set
}


def main(arguments=None):
    """Runs one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog='python -m data_pipelines', description='Raw videos -> training data.')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, module in COMMANDS.items():
        summary = module.__doc__.splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    parsed, more = parser.parse_known_args(arguments)
    takes = [item for item in more if item.startswith('--config.')] if hasattr(parsed, 'config') else []
    if strange := [item for item in more if item not in takes]:
        parser.error(f'unrecognized arguments: {" ".join(strange)}')
    parsed.assignments = takes
    try:
        parsed.run(parsed)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
