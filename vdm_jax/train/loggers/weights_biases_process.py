"""The process that talks to Weights & Biases: reads what a run logs from a pipe, a JSON value a line.

It imports nothing of jax. To the run it says, a line each: `ready …`, `mistake …`, and `well` after a mistake.
"""

import base64
import io
import json
import os
import signal
import sys

FINISH_SECONDS = 600  # that it may go on sending once the run has ended


def main() -> int:
    """Serves one run until its pipe ends; the exit code is 1 where W&B made it impossible."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    say = own_voice()
    try:
        serve(sys.stdin.buffer, say)
    except Exception as error:
        say(f'mistake {described(error)}')
        leave(1)
    leave(0)


def own_voice():
    """Prints to whoever started this; whatever else prints goes nowhere."""
    ours = os.fdopen(os.dup(1), 'w')
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def say(text: str) -> None:
        try:
            print(text, file=ours, flush=True)
        except OSError:  # the run is gone
            pass

    return say


def described(error: Exception) -> str:
    """An error in one line."""
    return f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'


def leave(code: int) -> None:
    """Ends without the hooks of packages, which might wait."""
    os._exit(code)


def serve(lines, say) -> None:
    """Logs each line of an open file, of which the first says what to begin with."""
    begin = json.loads(next(iter(lines)))
    os.environ.update(WANDB_CONSOLE='off', WANDB_SILENT='true', WANDB_DISABLE_GIT='true', WANDB_DISABLE_CODE='true')
    import wandb

    config = begin.pop('config')
    run = wandb.init(config=config, resume='allow', **begin)
    say(f'ready {run.url}' if begin['mode'] == 'online' else f'ready offline in {begin["dir"]}; `wandb sync` sends it')
    first = run.step
    exit_code = 1  # without a word of how it ended, the run died
    mistaken = False
    for line in lines:
        try:
            message = json.loads(line)
        except ValueError:  # half a line of a run that was killed
            break
        if message['kind'] == 'finish':
            exit_code = message['exit_code']
            break
        if message['step'] < first:  # W&B has it from an earlier start
            continue
        try:
            log(wandb, run, message)
        except Exception as error:
            if not mistaken:
                say(f'mistake {described(error)}')
            mistaken = True
        else:
            if mistaken:
                say('well')
            mistaken = False
    signal.signal(signal.SIGALRM, lambda *_: leave(1))
    signal.alarm(FINISH_SECONDS)
    run.finish(exit_code=exit_code)


def log(wandb, run, message: dict) -> None:
    """One step's numbers, or a clip of it."""
    if message['kind'] == 'clip':
        gif = io.BytesIO(base64.b64decode(message['gif']))
        values = {message['name']: wandb.Video(gif, format='gif')}
    else:
        values = {name: value for name, value in message['values'].items() if isinstance(value, (int, float))}
    if values:
        run.log(values, step=message['step'])


if __name__ == '__main__':
    main()
