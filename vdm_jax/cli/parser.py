"""A command line -> a command, its options, and the keys of the config that it sets."""

import argparse
import difflib
from typing import Any, NoReturn

from vdm_jax.cli import outputs
from vdm_jax.cli.commands import COMMANDS, Command
from vdm_jax.cli.options import OPTIONS, WORDS, destination_of
from vdm_jax.errors import UserError

KEYS_HELP = (
    'Any key of the experiment can be set as well: --config.GROUP.KEY=VALUE. `python -m vdm_jax config` prints all '
    'keys (docs/config.md), `python -m vdm_jax inspect --config=FILE` those of an experiment as they come out.'
)


class Parser(argparse.ArgumentParser):
    """An argparse parser whose mistakes are UserErrors."""

    def error(self, message: str) -> NoReturn:
        """Raise a mistake as one line, where argparse would print its usage and exit."""
        raise UserError(f'{self.prog}: {message}')


def format_usage() -> str:
    """Return the commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f'  {name:{width}}  {command.help}' for name, command in COMMANDS.items()]
    return '\n'.join(['usage: python -m vdm_jax COMMAND …   (COMMAND --help for its options)', '', *lines])


def find_command(name: str) -> Command:
    """Return the command of a name.

    Raises:
      UserError: There is none.
    """
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f'did you mean {near[0]!r}? ' if near else ''
        raise UserError(f'unknown command {name!r}; {hint}commands: {", ".join(COMMANDS)}')
    return COMMANDS[name]


def parse_options(name: str, argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, assignments --config.GROUP.KEY=VALUE) of a command line after the command's name.

    Options that the command does not take are there too, as None, so that what several commands share can read them.

    Raises:
      UserError: An option is unknown, of another type or missing, or the command takes no keys of a config.
    """
    command = find_command(name)
    specs = dict(OPTIONS)
    if out := outputs.OUT.get(name):
        specs['--out'] = {'metavar': out.metavar, 'help': out.help}
    args, unknown = _make_parser(name, command, specs).parse_known_args(argv)
    for option in OPTIONS:
        vars(args).setdefault(destination_of(option), None)

    for option in command.required:
        if not vars(args)[destination_of(option)]:
            raise UserError(f'{name}: {option}={specs[option]["metavar"]} is missing')

    assignments = [item for item in unknown if item.startswith('--config.')]
    if assignments != unknown:
        _refuse_unknown(name, command, unknown)
    if assignments and not command.takes_config:
        raise UserError(f'{name}: takes no {assignments[0]}')
    return args, assignments


def _make_parser(name: str, command: Command, specs: dict[str, dict[str, Any]]) -> Parser:
    parser = Parser(
        prog=f'python -m vdm_jax {name}',
        description=command.help,
        epilog=KEYS_HELP if command.takes_config else None,
        # An abbreviation that is unambiguous today would break with the next option.
        allow_abbrev=False,
    )
    for word in command.words:
        parser.add_argument(word, **WORDS[word])
    for option in _options_of(command):
        parser.add_argument(option, **specs[option])
    return parser


def _options_of(command: Command) -> tuple[str, ...]:
    return (*command.options, '--distributed') if command.on_processes else command.options


def _refuse_unknown(name: str, command: Command, unknown: list[str]) -> NoReturn:
    """Raise a UserError about the first item that is neither an option nor an assignment."""
    strange = next(item for item in unknown if not item.startswith('--config.'))

    # `--config.a.b v` arrives as two items, the second of which means nothing by itself.
    before = unknown[: unknown.index(strange)][-1:]
    if before and '=' not in before[0]:
        raise UserError(f'{name}: {before[0]} {strange}: write it with =, {before[0]}={strange}')

    options = ', '.join(_options_of(command))
    raise UserError(f'{name}: unknown option {strange}; options: {options}, --config.GROUP.KEY=VALUE')
