"""Several processes that run one program: which of them speaks and writes, and how they come to one mind."""

import contextlib
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from vdm_jax.errors import Failure, UserError

# The variables that say which process of how many this is: what each looks like, in two ways.
NAMED = {
    'JAX_COORDINATOR_ADDRESS': (r'.*[^:]:\d+', 'HOST:PORT of process 0'),
    'JAX_NUM_PROCESSES': (r'[1-9]\d*', 'how many processes there are'),
    'JAX_PROCESS_ID': (r'\d+', 'a number from 0 on, another one for each process'),
}
ADDRESS, COUNT, NUMBER = NAMED
PATIENCE_SECONDS = 10  # that a process which failed waits for the others; one that is done waits for minutes


def start(asked: bool) -> None:
    """Joins the processes of one run, before anything else wakes jax; nothing happens where there is only one.

    From here on standard output is the first one's alone, and holds what Python prints.

    They are found through the environment: three variables, of which jax itself reads the first alone, or, if `asked`,
    whatever jax knows how to detect (Cloud TPU, Slurm, Open MPI, Kubernetes).

    Raises:
      UserError: some of the three are missing or not what they should be, or nothing was detected.
    """
    said = {name: os.environ[name] for name in NAMED if name in os.environ}
    if not (said or asked):
        return
    if not asked and len(said) < len(NAMED):
        missing = ', '.join(name for name in NAMED if name not in said)
        raise UserError(f'{", ".join(said)} is set, {missing} is not: set all three, or say --distributed')
    check_named(said)
    keep_stdout()
    jax.config.update('jax_enable_preemption_service', False)  # it would catch SIGTERM: parallel/stop.py does
    try:
        numbers = [int(said[name]) if name in said else None for name in (COUNT, NUMBER)]
        jax.distributed.initialize(said.get(ADDRESS), *numbers)
    except ValueError as error:
        raise UserError(
            f'--distributed: jax cannot tell which process of how many this is ({error}); set {", ".join(NAMED)}'
        ) from None
    if not first():
        sys.stdout = open(os.devnull, 'w')  # for as long as the process lives
    gather('')  # now all are there; whoever is late from here on is waited for, however long it reads its data


def keep_stdout() -> None:
    """Keeps standard output for what Python prints: what C++ libraries print there (Gloo does) goes to stderr."""
    sys.stdout.flush()
    ours = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(ours, 'w')


def check_named(said: dict[str, str]) -> None:
    """Whether the variables that are set are what jax can take.

    Raises:
      UserError: naming the variable.
    """
    for name, value in said.items():
        pattern, what = NAMED[name]
        if not re.fullmatch(pattern, value):
            raise UserError(f'{name}={value}: want {what}')
    if {COUNT, NUMBER} <= {*said} and int(said[NUMBER]) >= int(said[COUNT]):
        raise UserError(f'{NUMBER}={said[NUMBER]}: want less than {COUNT}={said[COUNT]}')


def failed(code: int) -> None:
    """Called by a process that is about to end with an error: with that exit code, though the others may not come.

    At its end jax waits for all of them; where one alone has failed they are in the middle of a step and would wait for
    it in turn, and all be aborted in the end. So it waits a little, for those that fail alike, and goes; where Python's
    own end hangs, in which no thread of it runs any more, the system ends it.
    """
    if jax.distributed.is_initialized():
        timer = threading.Timer(PATIENCE_SECONDS, os._exit, (code,))
        timer.daemon = True
        timer.start()
        signal.alarm(3 * PATIENCE_SECONDS)


def first() -> bool:
    """Whether this is process 0: the one that writes logs, configs and samples, and speaks."""
    return jax.process_index() == 0


def write(stream, text: str) -> None:
    """Writes to a console; where that is a file on a full disk, or a pipe that nobody reads any more, it is lost."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
        stream.write(text)
        stream.flush()


def say(text: str) -> None:
    """A line on the console, of process 0 alone."""
    if first():
        write(sys.stderr, text + '\n')


def say_own(text: str) -> None:
    """A line on the console of any process but 0, which says whose it is."""
    if not first():
        write(sys.stderr, f'process {jax.process_index()}: {text}\n')


def gather(text: str) -> list[str]:
    """What each process says, in their order, on every process; all have to call it."""
    if jax.process_count() == 1:
        return [text]
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(data)))
    rows = multihost_utils.process_allgather(np.pad(data, (0, 1 + sizes.max() - len(data))))  # never of no bytes
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def by_first(action: Callable):
    """action() on process 0 alone: its value, as JSON brings it back, or its error, on every process.

    So what is read from a disk that others may be slower to see, and what is written once, is the same for all; and
    none goes on before it is done.
    """
    if jax.process_count() == 1:
        return action()
    said, error = None, None
    if first():
        try:
            said = ['', action()]
        except Exception as caught:
            said, error = [kind_of(caught), None, str(caught)], caught
    kind, value, *why = json.loads(gather(json.dumps(said))[0])
    if error:
        raise error
    if why:
        raise KINDS[kind](*why) if kind in KINDS else RuntimeError(f'process 0: {why[0]}')
    return value


KINDS = {'mistake': UserError, 'failure': Failure}


def kind_of(error: Exception) -> str:
    """The name in KINDS of what an error is on the other processes, '' for any other."""
    return next((name for name, kind in KINDS.items() if isinstance(error, kind)), '')


def together(action: Callable):
    """action() on every process; a UserError of one of them is raised on all, so that none waits for it in vain."""
    value, mistake = None, None
    try:
        value = action()
    except UserError as error:
        mistake = error
    said = gather(str(mistake or ''))
    if mistake and len(set(said)) == 1:
        raise mistake
    for process, why in enumerate(said):
        if why:
            raise UserError(f'process {process}: {why}')
    return value


def whole(array: jax.Array) -> np.ndarray:
    """All of a global array, on every process; all have to call it."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return multihost_utils.process_allgather(array, tiled=True)
