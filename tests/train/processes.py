"""Several processes of one run on this machine, each with one device, and what they read."""

import json
import signal
import socket
import subprocess
import sys
import time

from tests import one_device
from tests.imports import ROOT

ENDURANCE = 240  # seconds after which a process that should have ended is killed


class Processes:
    """`count` processes with one command line; use as a context manager, which kills what is left.

    environments, options: additional variables and command line options of single processes; {number: …}.
    """

    def __init__(self, count, place, *argv, seconds=0.0, environments=None, options=None):
        with socket.socket() as free:
            free.bind(('localhost', 0))
            port = free.getsockname()[1]
        self.seen = [place / f'seen_{len(list(place.glob("seen_*")))}_{i}' for i in range(count)]
        self.processes = []
        for i, seen in enumerate(self.seen):
            environment = one_device.environment(place / 'cache') | {
                'JAX_COORDINATOR_ADDRESS': f'localhost:{port}', 'JAX_NUM_PROCESSES': str(count),
                'JAX_PROCESS_ID': str(i),
            }  # fmt: skip
            environment |= (environments or {}).get(i, {})
            command = [sys.executable, '-m', 'tests.train.one_of_several', seen, str(seconds), *argv]
            command += (options or {}).get(i, [])
            pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
            self.processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def stop(self, number, metrics, step, how=signal.SIGTERM):
        """A signal to one of them, once that step is logged."""
        deadline = time.monotonic() + ENDURANCE
        while not (metrics.exists() and f'{{"step": {step}, ' in metrics.read_text()):
            assert time.monotonic() < deadline and self.processes[number].poll() is None, self.ends()
            time.sleep(0.02)
        self.processes[number].send_signal(how)

    def ends(self):
        """[(exit code, stdout, stderr)] of each."""
        ends = []
        for process in self.processes:
            out, err = process.communicate(timeout=ENDURANCE)
            ends.append((process.returncode, out, err))
        return ends


def rows(files):
    """{(step, row): sha256 of the clip}; whoever reads a row finds the same."""
    digests = {}
    for file in files:
        for step, row, sha256 in map(json.loads, file.read_text().splitlines()):
            assert digests.setdefault((step, row), sha256) == sha256
    return digests
