"""The process that talks to Weights & Biases: reads what a run logs from a pipe, a JSON value a line.

It imports nothing of jax. To the run it says, a line each: `ready …`, `mistake …`, and `well` after a mistake.
"""

import base64
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

FINISH_SECONDS = 600  # that it may go on sending once the run has ended

Say = Callable[[str], None]


def main() -> NoReturn:
    """Serve one run until its pipe ends; the exit code is 1 where W&B made it impossible."""
    # Ctrl-C at the terminal is for the run, which tells this process to end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    say = claim_stdout()
    try:
        serve(sys.stdin.buffer, say)
    except Exception as error:
        say(f'mistake {describe_error(error)}')
        leave(1)
    leave(0)


def claim_stdout() -> Say:
    """Return what prints a line to whoever started this; whatever else prints goes nowhere."""
    stdout = os.fdopen(os.dup(1), 'w')
    # The package prints what it likes, and the run reads each line.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def say(text: str) -> None:
        try:
            print(text, file=stdout, flush=True)
        except OSError:  # the run is gone
            pass

    return say


def describe_error(error: Exception) -> str:
    """Return an error in one line."""
    return f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'


def leave(code: int) -> NoReturn:
    """End without the hooks of packages, which might wait."""
    os._exit(code)


def serve(lines: Iterable[bytes], say: Say) -> None:
    """Log each line of an open file, of which the first says what to begin with."""
    lines = iter(lines)
    start = json.loads(next(lines))
    os.environ.update(WANDB_CONSOLE='off', WANDB_SILENT='true', WANDB_DISABLE_GIT='true', WANDB_DISABLE_CODE='true')
    import wandb

    config = start.pop('config')
    run = wandb.init(config=config, resume='allow', **start)
    say(f'ready {run.url}' if start['mode'] == 'online' else f'ready offline in {start["dir"]}; `wandb sync` sends it')

    exit_code = log_lines(wandb, run, lines, say)
    # finish() waits for the network, perhaps for ever.
    signal.signal(signal.SIGALRM, lambda *_: leave(1))
    signal.alarm(FINISH_SECONDS)
    run.finish(exit_code=exit_code)


def log_lines(wandb: Any, run: Any, lines: Iterable[bytes], say: Say) -> int:
    """Log lines until the run ends; return the exit code that it ends with, 1 where it says none."""
    first_step = run.step
    fails = False
    for line in lines:
        try:
            message = json.loads(line)
        except ValueError:  # half a line of a run that was killed
            break
        if message['kind'] == 'finish':
            exit_code: int = message['exit_code']
            return exit_code
        # W&B has it from an earlier start.
        if message['step'] < first_step:
            continue

        try:
            log(wandb, run, message)
        except Exception as error:
            # One line for a series of failures.
            if not fails:
                say(f'mistake {describe_error(error)}')
            fails = True
        else:
            if fails:
                say('well')
            fails = False
    return 1


def log(wandb: Any, run: Any, message: dict[str, Any]) -> None:
    """Log one step's numbers, or a clip of it."""
    if message['kind'] == 'clip':
        gif = io.BytesIO(base64.b64decode(message['gif']))
        values = {message['name']: wandb.Video(gif, format='gif')}
    else:
        values = {name: value for name, value in message['values'].items() if isinstance(value, (int, float))}
    if values:
        run.log(values, step=message['step'])


if __name__ == '__main__':
    main()
