"""What a command that fails prints, and the exit code that its process ends with."""

import os
import sys

from vdm_jax.cli import versions
from vdm_jax.errors import Failure, UserError, escape_unprintable, one_line
from vdm_jax.files import DISK_ERRORS

DONE = 0
FAILED = 1
MISTAKE = 2  # of the user's: a config, a path, an option
STOPPED = 3  # by a signal, after saving
INTERRUPTED = 130  # by Ctrl-C, as shells number it

NO_DEVICE = 'Unable to initialize backend'  # how jax's message begins


def report_error(error: BaseException) -> int | None:
    """Print what went wrong in one line; return the exit code, None where it is nothing that was foreseen.

    The caller raises that again: its traceback is what helps then.
    """
    if isinstance(error, BrokenPipeError):
        return _end_quietly()

    code = _exit_code_of(error)
    message = _message_of(error)
    if message is not None:
        print(message, file=sys.stderr, flush=True)
    _report_to_processes(code)
    if message is None:
        versions.warn_of_newer(error)
        return None
    return code


def _end_quietly() -> int:
    """End without an error where the reader of the output has seen enough, as `head` has."""
    # What is still buffered would raise again at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


def _exit_code_of(error: BaseException) -> int:
    if isinstance(error, UserError) or _is_no_device(error):
        return MISTAKE
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return FAILED


def _message_of(error: BaseException) -> str | None:
    """Return what is printed of an error that is foreseen; None of any other."""
    if isinstance(error, UserError | Failure):
        return f'vdm_jax: {one_line(error)}'
    if isinstance(error, KeyboardInterrupt):
        return '\nvdm_jax: stopped'
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        where = f'{escape_unprintable(str(error.filename))}: ' if error.filename else ''
        advice = 'what was written before stands; mend that, and give the same command again'
        return f'vdm_jax: {where}{error.strerror}; {advice}'
    if _is_no_device(error):
        return f'vdm_jax: JAX_PLATFORMS or its plugin: {one_line(error)}'
    return None


def _is_no_device(error: BaseException) -> bool:
    """Return whether jax has none of the devices that JAX_PLATFORMS asks for."""
    return isinstance(error, RuntimeError) and str(error).startswith(NO_DEVICE)


def _report_to_processes(code: int) -> None:
    """Have this process end soon, where it is one of several that may wait for each other."""
    # Without jax there are none, and importing it takes a second.
    if 'jax' in sys.modules:
        from vdm_jax.parallel import processes

        processes.schedule_exit(code)
