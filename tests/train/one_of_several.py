"""One process of a run of several: the command line itself, with each batch noted down and time between the steps.

python -m tests.train.one_of_several SEEN SECONDS ARGUMENTS…: writes a line [step, row, sha256 of the clip] into
SEEN for each row that this process reads. In the environment:
  FAILS_AT=step: there is no batch for that step.
  LATE_AT=step: the batch of that step comes late.
  SIGTERM_AT=restoring: the process sends itself one when it begins to restore; or committed: process 0 when
    Orbax is done with a save, which is late; or evaluating: when the first samples are measured.
  SIGINT_AFTER=seconds: it gets a Ctrl-C so long after the first clips are asked for.
"""

import hashlib
import json
import os
import signal
import sys
import threading
import time

from jax.experimental import multihost_utils

from vdm_jax import cli
from vdm_jax.errors import UserError
from vdm_jax.sampling import generate
from vdm_jax.train import loop
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.run_log import RunLog

LATE_SECONDS = 2


def noting(batches, seen, seconds):
    """loop.batches, watched."""

    class Watched:
        def __init__(self, source, order, start, stop, rows, scalars):
            self._inner = batches(source, order, start, stop, rows, scalars)
            self._step = start
            self._rows = lambda step: rows[order.bucket(step)].tolist()

        def __enter__(self):
            self._inner.__enter__()
            return self

        def __exit__(self, *exc):
            self._inner.__exit__(*exc)

        def __next__(self):
            time.sleep(2 * LATE_SECONDS if str(self._step) == os.environ.get('LATE_AT') else seconds)
            if str(self._step) == os.environ.get('FAILS_AT'):
                raise UserError('its disk is gone')
            batch = next(self._inner)
            with open(seen, 'a') as file:
                for row, clip in zip(self._rows(self._step), batch['video'], strict=True):
                    file.write(json.dumps([self._step, row, hashlib.sha256(clip.tobytes()).hexdigest()]) + '\n')
            self._step += 1
            return batch

    return Watched


def stop_while_restoring():
    """Has this process get a SIGTERM when it begins to restore."""
    restore = Checkpoints.restore

    def restoring(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        return restore(*args)

    Checkpoints.restore = restoring


def stop_late_after_a_commit():
    """Has Orbax finish a save while a later step is under way, and this process get a SIGTERM right then."""
    inner = multihost_utils.reached_preemption_sync_point

    def finishing(step):
        if threading.current_thread() is threading.main_thread():
            return inner(step)
        time.sleep(LATE_SECONDS)
        try:
            return inner(step)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    multihost_utils.reached_preemption_sync_point = finishing


def stop_while_evaluating():
    """Has this process get a SIGTERM when the first samples that are to be scored are measured."""
    evaluating = RunLog.evaluating

    def show(log, step, done, count):
        os.kill(os.getpid(), signal.SIGTERM)
        evaluating(log, step, done, count)

    RunLog.evaluating = show


def interrupt_after(seconds):
    """Has this process get a SIGINT a while after it began to make clips."""
    inner = generate.generate_batches
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell gives its background jobs none

    def generate_batches(*args):
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
        return inner(*args)

    generate.generate_batches = generate_batches


if __name__ == '__main__':
    loop.batches = noting(loop.batches, sys.argv[1], float(sys.argv[2]))
    if os.environ.get('SIGTERM_AT') == 'restoring':
        stop_while_restoring()
    if os.environ.get('SIGTERM_AT') == 'evaluating':
        stop_while_evaluating()
    if os.environ.get('SIGTERM_AT') == 'committed':
        stop_late_after_a_commit()
    if 'SIGINT_AFTER' in os.environ:
        interrupt_after(float(os.environ['SIGINT_AFTER']))
    sys.exit(cli.main(sys.argv[3:]))
