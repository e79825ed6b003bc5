"""Make the parts of all inputs on this machine, in worker processes; an input that hangs or crashes one is broken."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import resource
import threading
from collections.abc import Callable, Iterable
from typing import Any

from data_pipelines.build import part_files
from data_pipelines.build.process_video import InputOutcome, process_video
from data_pipelines.build.recipe import Recipe
from data_pipelines.inputs.item import Item
from data_pipelines.optional_deps import require

AHEAD = 4  # inputs a worker that are handed out before they are asked for

MakePart = Callable[[Item, Recipe, str], None]
Future = concurrent.futures.Future[None]


def make_part(item: Item, recipe: Recipe, folder: str) -> None:
    """Process an input, and write its part below `folder`."""
    part_files.write_part(part_files.part_path(folder, item.name), process_video(item, recipe))


def make_parts(
    items: Iterable[Item],
    recipe: Recipe,
    folder: str,
    workers: int,
    on_done: Callable[[Item], object],
    make: MakePart = make_part,
) -> None:
    """Make the parts of all items.

    Args:
      items: Those that have no part yet.
      recipe: What to make of them.
      folder: The folder of parts.
      workers: Processes; 0: in this process, without the protection of others.
      on_done: Called after each item.
      make: The work on one item.
    """
    if not workers:
        for item in items:
            make(item, recipe, folder)
            on_done(item)
        return

    # Handed out a few at a time: a listing may have millions of inputs.
    pool = open_pool(workers, recipe)
    waiting: dict[Future, Item] = {}

    def collect() -> None:
        ready, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in ready:
            item = waiting.pop(future)
            ensure_part(pool, future, item, recipe, folder, make)
            on_done(item)

    try:
        for item in items:
            future = schedule(pool, item, recipe, folder, make)
            waiting[future] = item
            if len(waiting) >= AHEAD * workers:
                collect()
        while waiting:
            collect()
        pool.close()
    finally:
        pool.stop()
        pool.join()


def open_pool(workers: int, recipe: Recipe) -> Any:
    """Return a pool of worker processes, each of which ends with this one and is held to the recipe's memory."""
    # Pebble's pool, as those of Python neither end a worker that hangs nor outlive one that dies.
    return require('pebble').ProcessPool(
        workers,
        # Workers are spawned, for a forked copy of a process with threads may hang.
        context=multiprocessing.get_context('spawn'),
        initializer=_start_worker,
        initargs=[recipe.limits.memory],
    )


def schedule(pool: Any, item: Item, recipe: Recipe, folder: str, make: MakePart = make_part) -> Future:
    """Begin the work on an item; `ensure_part` waits for it."""
    future: Future = pool.schedule(make, (item, recipe, folder), timeout=recipe.limits.time)
    return future


def ensure_part(pool: Any, future: Future, item: Item, recipe: Recipe, folder: str, make: MakePart = make_part) -> None:
    """Wait until the item has a part, whatever became of its worker.

    Where one died it is tried once more, for it may have been killed from outside, or for memory that others took.

    Raises:
      Exception: what is no fault of the item.
    """
    crash_error = require('pebble').ProcessExpired
    try:
        try:
            future.result()
        except crash_error:
            schedule(pool, item, recipe, folder, make).result()
        return
    except concurrent.futures.TimeoutError:
        detail = f'more than recipe.limits.time={recipe.limits.time:g} seconds of work'
        outcome = InputOutcome('broken', 'timeout', detail)
    except crash_error as error:
        detail = f'its worker died twice, with exit code {error.exitcode}'
        outcome = InputOutcome('broken', 'crashed', detail)
    part_files.write_part(part_files.part_path(folder, item.name), [outcome])


def _start_worker(memory: int) -> None:
    """Hold this worker to `memory` bytes, which a file of a few can claim, and to the life of its parent.

    One that outlived a killed build would write into the directory of the next one.
    """
    _, hard_limit = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory if hard_limit == resource.RLIM_INFINITY else min(memory, hard_limit)
    # Some systems know no such limit.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard_limit))

    def exit_with_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            # At once, whatever it is in the middle of: a part that is not complete has no name yet.
            os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True).start()
