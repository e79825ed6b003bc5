"""The command line: `python -m vdm_jax COMMAND …`.

Exit codes: 0 done, 2 the user's mistake, 3 stopped by a signal after saving, 130 ended by Ctrl-C, 1 anything else.
"""

import os
import sys
from typing import TYPE_CHECKING

from vdm_jax import files
from vdm_jax.cli import exit_codes, outputs, parser
from vdm_jax.cli.commands import COMMANDS
from vdm_jax.config import packaged

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

__all__ = ['COMMANDS', 'main']


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the exit code.

    A mistake of the user's and a failure that is foreseen are printed as one line.

    Args:
      argv: The command line; None for that of this process, which then ends with the command.
    """
    ends_process = argv is None
    if ends_process:
        sys.unraisablehook = report_unraisable
    try:
        return run_command(sys.argv[1:] if argv is None else argv, ends_process)
    except (Exception, KeyboardInterrupt) as error:
        code = exit_codes.report_error(error)
        if code is None:
            raise
        return code


def run_command(argv: list[str], ends_process: bool) -> int:
    """Run one command; return the exit code.

    Args:
      argv: The command line.
      ends_process: Whether the process ends with the command, so that signals need no handler after it.

    Raises:
      UserError: A mistake in the command line, or in what the command reads.
    """
    if not argv or argv[0] in ('-h', '--help', 'help'):
        print(parser.format_usage())
        return exit_codes.DONE

    name, *rest = argv
    args, assignments = parser.parse_options(name, rest)
    if args.weights:
        args.weights = packaged.find_weights(args.weights)
    if args.origin:
        args.origin = packaged.find_weights(args.origin)

    # Before jax is initialised: a path that cannot be written is known in milliseconds.
    outputs.check_paths(name, args)

    command = COMMANDS[name]
    if command.uses_jax:
        configure_jax()
    if command.on_processes:
        from vdm_jax.parallel import processes

        processes.start(args.distributed)
    if command.catches_signals:
        code = command.run(args, assignments, ends_process)
    else:
        code = command.run(args, assignments)

    # Here a closed pipe is an exception; at exit it would be a traceback.
    sys.stdout.flush()
    return code


def configure_jax() -> None:
    """Set memory, persistent compilation cache and logs, before jax is initialised and anything compiles."""
    import logging
    import warnings

    import jax

    from vdm_jax.parallel.host import computes_on_cpu, keep_freed_memory

    if computes_on_cpu():
        keep_freed_memory()

    # They log errors that are raised too: those of Orbax's threads and tasks, those of a store.
    for library in ('absl', 'asyncio', 'gcsfs'):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    # Orbax leaves coroutines behind where a checkpoint does not fit.
    warnings.filterwarnings('ignore', 'coroutine .* was never awaited')

    if not jax.config.values['jax_compilation_cache_dir'] and (cache := files.user_cache()):
        jax.config.update('jax_compilation_cache_dir', os.path.join(cache, 'xla'))
    # Even programs of a tenth of a second: a run compiles dozens of them.
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


# The hook of Python itself, as `main` replaces the one in sys.
_print_unraisable = sys.unraisablehook


def report_unraisable(unraisable: 'UnraisableHookArgs') -> None:
    """Print what was raised where nobody can catch it, but for Orbax's use of event loops that have ended."""
    if str(unraisable.exc_value) != 'Event loop is closed':
        _print_unraisable(unraisable)
