"""One process of a run of several: the command line itself, with each batch noted down and time between the steps.

python -m tests.train.one_of_several SEEN SECONDS ARGUMENTS…: writes a line [step, row, sha256 of the clip] into
SEEN for each row that this process reads. With FAILS_AT=step in the environment there is no batch for that step.
"""

import hashlib
import json
import os
import sys
import time

from vdm_jax import cli
from vdm_jax.errors import UserError
from vdm_jax.train import loop


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


if __name__ == '__main__':
    loop.batches = noting(loop.batches, sys.argv[1], float(sys.argv[2]))
    sys.exit(cli.main(sys.argv[3:]))
