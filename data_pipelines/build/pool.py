"""Inputs -> parts on this machine, in worker processes that may hang or crash: the input is then broken."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import resource
import threading
from collections.abc import Callable, Iterable

from data_pipelines.build import part_files
from data_pipelines.build.process_video import Input, work
from data_pipelines.build.recipe import Recipe
from data_pipelines.inputs.listing import Item
from data_pipelines.optional_deps import require

AHEAD = 4  # inputs a worker that are handed out before they are asked for


def make(item: Item, recipe: Recipe, folder: str) -> None:
    """Writes the part of an input below `folder`."""
    part_files.write(part_files.path_of(folder, item.name), work(item, recipe))


def run(
    items: Iterable[Item],
    recipe: Recipe,
    folder: str,
    workers: int,
    done: Callable[[Item], None],
    make: Callable = make,
) -> None:
    """Makes the parts of all items, calling `done` after each; 0 workers: in this process, without its protection."""
    if not workers:
        for item in items:
            make(item, recipe, folder)
            done(item)
        return
    pool, waiting = opened(workers, recipe), {}
    try:
        for item in items:
            waiting[schedule(pool, item, recipe, folder, make)] = item
            if len(waiting) >= AHEAD * workers:
                _collect(pool, waiting, recipe, folder, done, make)
        while waiting:
            _collect(pool, waiting, recipe, folder, done, make)
        pool.close()
    finally:
        pool.stop()
        pool.join()


def opened(workers: int, recipe: Recipe):
    """A pool of worker processes, each of which ends with this one, however that ends, and has so much memory."""
    context = multiprocessing.get_context('spawn')
    return require('pebble').ProcessPool(workers, context=context, initializer=_begin, initargs=[recipe.limits.memory])


def schedule(pool, item, recipe, folder, make: Callable = make) -> concurrent.futures.Future:
    """Begins the work on an item; `settle` waits for it."""
    return pool.schedule(make, (item, recipe, folder), timeout=recipe.limits.time)


def settle(pool, future, item, recipe, folder, make: Callable = make) -> None:
    """Sees to it that the item has a part, whatever became of its worker.

    Where one died it is tried once more, for it may have been killed from outside, or for memory that others took.
    Raises: what is no fault of the item.
    """
    try:
        try:
            return future.result()
        except require('pebble').ProcessExpired:
            return schedule(pool, item, recipe, folder, make).result()
    except concurrent.futures.TimeoutError:
        why = 'timeout', f'more than recipe.limits.time={recipe.limits.time:g} seconds of work'
    except require('pebble').ProcessExpired as error:
        why = 'crashed', f'its worker died twice, with exit code {error.exitcode}'
    part_files.write(part_files.path_of(folder, item.name), [Input('broken', *why)])


def _collect(pool, waiting, recipe, folder, done, make):
    ready, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
    for future in ready:
        item = waiting.pop(future)
        settle(pool, future, item, recipe, folder, make)
        done(item)


def _begin(memory):
    """Lets no worker outlive a killed build, for it would write into the directory of the next one; nor take more than
    `memory` bytes, which a file of a few can claim.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    with contextlib.suppress(OSError, ValueError):  # systems that know no such limit
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
