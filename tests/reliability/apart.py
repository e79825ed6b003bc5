"""Reads files of a kind in a process of its own, so that one that dies, or does not come back, is seen and counted.

`python -m tests.reliability.apart KIND DIR` reads once for each line of its input, and answers with a line of JSON.
"""

import dataclasses
import json
import os
import selectors
import subprocess
import sys
from pathlib import Path

from tests.reliability.damage import HANG, Reading, attempt

LIMIT = 60.0  # seconds that one reading may take
START = 180.0  # seconds that the process may take for its first result


class Reader:
    """Readings of the files of a kind in a directory; closed as a context."""

    def __init__(self, name: str, directory: Path, limit: float = LIMIT):
        self._command = [sys.executable, '-m', 'tests.reliability.apart', name, str(directory)]
        self._limit = limit
        self._process = None

    def __call__(self) -> Reading:
        """Reads them once."""
        limit = self._limit
        if self._process is None:
            limit += START
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        try:
            self._process.stdin.write('\n')
            self._process.stdin.flush()
            line = self._line(limit)
        except BrokenPipeError:
            line = ''
        if line:
            return Reading(**json.loads(line))
        code = self.close()
        return Reading(fault=HANG if line is None else f'its process died, with {code}')

    def close(self) -> int:
        """Ends the process; returns its exit code, that of a kill where it did not end by itself."""
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.kill()
        process.stdin.close()
        process.stdout.close()
        return process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _line(self, limit):
        """The next line of its output, '' where it ends, None where nothing comes in so many seconds."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(limit):
                return None
        return self._process.stdout.readline()


def serve(name: str, directory: str) -> None:
    """Read once for each request."""
    from tests.reliability.kinds import KINDS

    answers = os.fdopen(os.dup(sys.stdout.fileno()), 'w')
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no result
    for _ in sys.stdin:
        reading = attempt(KINDS[name], Path(directory))
        answers.write(json.dumps(dataclasses.asdict(reading)) + '\n')
        answers.flush()


if __name__ == '__main__':
    serve(*sys.argv[1:])
