"""Several processes that run one program: which of them logs and writes, and how they agree."""

import contextlib
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from typing import TextIO, TypeVar, cast

import jax
import numpy as np
from jax.experimental import multihost_utils

from vdm_jax.errors import Failure, UserError

# The variables that say which process of how many this is: what each looks like, in two ways.
VARIABLES = {
    'JAX_COORDINATOR_ADDRESS': (r'.*[^:]:\d+', 'HOST:PORT of process 0'),
    'JAX_NUM_PROCESSES': (r'[1-9]\d*', 'how many processes there are'),
    'JAX_PROCESS_ID': (r'\d+', 'a number from 0 on, another one for each process'),
}
ADDRESS, COUNT, NUMBER = VARIABLES
PATIENCE_SECONDS = 10  # that a process which failed waits for the others; one that is done waits for minutes

Value = TypeVar('Value')


def start(detect: bool) -> None:
    """Join the processes of one run, before anything else initialises jax; nothing happens where there is only one.

    From here on standard output is only the primary process's, and holds what Python prints.

    They are found through the environment: three variables, of which jax itself reads only the first, or, if `detect`,
    whatever jax knows how to detect (Cloud TPU, Slurm, Open MPI, Kubernetes).

    Raises:
      UserError: some of the three are missing or not what they should be, or nothing was detected.
    """
    values = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if not (values or detect):
        return
    if not detect and len(values) < len(VARIABLES):
        missing = ', '.join(name for name in VARIABLES if name not in values)
        raise UserError(f'{", ".join(values)} is set, {missing} is not: set all three, or say --distributed')
    check_variables(values)
    keep_stdout()
    # It would catch SIGTERM, which parallel/stop.py does.
    jax.config.update('jax_enable_preemption_service', False)
    try:
        count = int(values[COUNT]) if COUNT in values else None
        number = int(values[NUMBER]) if NUMBER in values else None
        jax.distributed.initialize(values.get(ADDRESS), count, number)
    except ValueError as error:
        raise UserError(
            f'--distributed: jax cannot tell which process of how many this is ({error}); set {", ".join(VARIABLES)}'
        ) from None
    if not is_primary():
        sys.stdout = open(os.devnull, 'w')  # for as long as the process lives
    # Now all are there; whoever is late from here on is waited for, however long it reads its data.
    gather_texts('')


def keep_stdout() -> None:
    """Keep standard output for what Python prints: what C++ libraries print there (Gloo does) goes to stderr."""
    sys.stdout.flush()
    # By file descriptors: C++ writes to number 1, whatever sys.stdout is.
    ours = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(ours, 'w')


def check_variables(values: dict[str, str]) -> None:
    """Check that the variables that are set are what jax can take.

    Raises:
      UserError: one is not; names the variable.
    """
    for name, value in values.items():
        pattern, description = VARIABLES[name]
        if not re.fullmatch(pattern, value):
            raise UserError(f'{name}={value}: want {description}')
    if {COUNT, NUMBER} <= {*values} and int(values[NUMBER]) >= int(values[COUNT]):
        raise UserError(f'{NUMBER}={values[NUMBER]}: want less than {COUNT}={values[COUNT]}')


def schedule_exit(code: int) -> None:
    """End this process with an exit code within PATIENCE_SECONDS, so that jax's shutdown cannot outlive a failure."""
    if jax.distributed.is_initialized():
        # At its end jax waits for all processes. Where one alone has failed the others are in the middle of a step and
        # wait for it in turn, until all are aborted. So it waits a little, for those that fail the same way, and goes.
        timer = threading.Timer(PATIENCE_SECONDS, os._exit, (code,))
        timer.daemon = True
        timer.start()
        # Where Python's own end hangs no thread of it runs any more, and the system has to end it.
        signal.alarm(3 * PATIENCE_SECONDS)


def is_primary() -> bool:
    """Return whether this is process 0: the one that writes logs, configs, samples and to the console."""
    return jax.process_index() == 0


def write(stream: TextIO, text: str) -> None:
    """Write to a console; where that is a file on a full disk, or a pipe that nobody reads any more, it is lost."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
        stream.write(text)
        stream.flush()


def print_on_primary(text: str) -> None:
    """Write a line to the console, from process 0 alone."""
    if is_primary():
        write(sys.stderr, text + '\n')


def print_from_worker(text: str) -> None:
    """Write a line to the console from any process but 0, with the process's number."""
    if not is_primary():
        write(sys.stderr, f'process {jax.process_index()}: {text}\n')


def gather_texts(text: str) -> list[str]:
    """Return the text of each process, in their order, on every process; all have to call it."""
    if jax.process_count() == 1:
        return [text]
    # jax gathers arrays of one shape: first all lengths, then all texts, padded to the longest and never of no bytes.
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(data)))
    rows = multihost_utils.process_allgather(np.pad(data, (0, 1 + sizes.max() - len(data))))
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def run_on_primary(action: Callable[[], Value]) -> Value:
    """Call action() on process 0 alone; return its value, as JSON brings it back, or raise its error, on every process.

    So what is read from a disk that others may be slower to see, and what is written once, is the same for all; and
    none goes on before it is done.
    """
    if jax.process_count() == 1:
        return action()
    outcome: list[object] | None = None
    error: Exception | None = None
    if is_primary():
        try:
            outcome = ['', action()]
        except Exception as caught:
            # Not raised yet: the others wait in `gather`, and would wait for good.
            outcome = [error_kind(caught), None, str(caught)]
            error = caught

    value: Value
    kind, value, *messages = json.loads(gather_texts(json.dumps(outcome))[0])
    if error:
        raise error
    if messages:
        raise KINDS[kind](*messages) if kind in KINDS else RuntimeError(f'process 0: {messages[0]}')
    return value


KINDS: dict[str, type[UserError] | type[Failure]] = {'mistake': UserError, 'failure': Failure}


def error_kind(error: Exception) -> str:
    """Return the name in KINDS of what an error is on the other processes, '' for any other."""
    return next((name for name, kind in KINDS.items() if isinstance(error, kind)), '')


def raise_on_all(action: Callable[[], Value]) -> Value:
    """Call action() on every process; a UserError of one is raised on all, so that none waits for it in vain."""
    value: Value | None = None
    mistake: UserError | None = None
    try:
        value = action()
    except UserError as error:
        mistake = error

    messages = gather_texts(str(mistake or ''))
    # Where all make the same mistake, it is one line, and names no process.
    if mistake and len(set(messages)) == 1:
        raise mistake
    for process, message in enumerate(messages):
        if message:
            raise UserError(f'process {process}: {message}')
    return cast(Value, value)  # here no process has a mistake


def to_host(array: jax.Array) -> np.ndarray:
    """Return all of a global array, on every process; all have to call it."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
