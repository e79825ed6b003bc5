"""What can befall a worker, in place of data_pipelines.build.pool.make."""

import os
import time
from pathlib import Path

from data_pipelines.build import pool


def sometimes(item, recipe, folder):
    """Hang, die, or fail by the name of the item; else do the work."""
    if 'hangs' in item.name:
        time.sleep(1000)
    if 'dies' in item.name:
        os.kill(os.getpid(), 11)
    if 'exits' in item.name:
        os._exit(3)
    if 'fails' in item.name:
        raise RuntimeError('no fault of the item')
    if 'once' in item.name and not (note := Path(folder, item.name)).exists():
        note.touch()
        os.kill(os.getpid(), 9)
    pool.make_part(item, recipe, folder)


def note_memory(item, recipe, folder):
    """Do the work and note the most bytes of memory that its process ever held (Linux)."""
    pool.make_part(item, recipe, folder)
    most = Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]
    Path(folder, item.name).write_text(str(int(most) * 1024))


def endless(item, recipe, folder):
    """Notes who works, then goes on for ever."""
    Path(folder, item.name).write_text(str(os.getpid()))
    while True:
        time.sleep(0.1)
