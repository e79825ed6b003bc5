"""One process of a run of several: the command line itself, with each batch noted down and time between the steps.

python -m tests.train.one_of_several SEEN SECONDS ARGUMENTS…: writes a line [step, row, sha256 of the clip] into
SEEN for each row that this process reads. With FAILS_AT=step in the environment there is no batch for that step; with
SIGTERM_AT=restoring or committed the process sends itself one when it begins to restore, or has committed a step; with
SIGINT_AFTER=seconds it gets a Ctrl-C so long after the first clips are asked for.
"""

import hashlib
import json
import os
import signal
import sys
import threading
import time

from vdm_jax import cli, generate
from vdm_jax.errors import UserError
from vdm_jax.train import loop
from vdm_jax.train.checkpoint import Checkpoints


def noting(batches, seen, seconds):
    """loop.batches, watched."""

    class Watched:
        def __init__(self, source, order, start, stop, rows, scalars):
            self._inner, self._step, self._rows = batches(source, order, start, stop, rows, scalars), start, rows

        def __enter__(self):
            self._inner.__enter__()
            return self

        def __exit__(self, *exc):
            self._inner.__exit__(*exc)

        def __next__(self):
            time.sleep(seconds)
            if str(self._step) == os.environ.get('FAILS_AT'):
                raise UserError('its disk is gone')
            batch = next(self._inner)
            with open(seen, 'a') as file:
                for row, clip in zip(self._rows.tolist(), batch['video'], strict=True):
                    file.write(json.dumps([self._step, row, hashlib.sha256(clip.tobytes()).hexdigest()]) + '\n')
            self._step += 1
            return batch

    return Watched


def stop_at(moment):
    """Has this process get a SIGTERM when it is there."""
    restore, vouch = Checkpoints.restore, Checkpoints._vouch
    stop = lambda: os.kill(os.getpid(), signal.SIGTERM)

    def restoring(*args):
        stop()
        return restore(*args)

    def committed(*args):
        vouch(*args)
        stop()

    if moment == 'restoring':
        Checkpoints.restore = restoring
    else:
        Checkpoints._vouch = committed


def interrupt_after(seconds):
    """Has this process get a SIGINT a while after it began to make clips."""
    inner = generate.generate_videos

    def generate_videos(*args):
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
        return inner(*args)

    generate.generate_videos = generate_videos


if __name__ == '__main__':
    loop.batches = noting(loop.batches, sys.argv[1], float(sys.argv[2]))
    if 'SIGTERM_AT' in os.environ:
        stop_at(os.environ['SIGTERM_AT'])
    if 'SIGINT_AFTER' in os.environ:
        interrupt_after(float(os.environ['SIGINT_AFTER']))
    sys.exit(cli.main(sys.argv[3:]))
