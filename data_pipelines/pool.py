"""Inputs -> parts on this machine, in worker processes that may hang or crash: the input is then broken."""

import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable

from data_pipelines import parts
from data_pipelines.extras import need
from data_pipelines.listing import Item
from data_pipelines.recipe import Recipe
from data_pipelines.work import Input, work

AHEAD = 4  # inputs a worker that are handed out before they are asked for


def make(item: Item, recipe: Recipe, folder: str) -> None:
    """Writes the part of an input below `folder`."""
    parts.write(parts.path_of(folder, item.name), work(item, recipe))


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
    pool, waiting = opened(workers), {}
    try:
        for item in items:
            waiting[schedule(pool, item, recipe, folder, make)] = item
            if len(waiting) >= AHEAD * workers:
                _collect(waiting, recipe, folder, done)
        while waiting:
            _collect(waiting, recipe, folder, done)
        pool.close()
    finally:
        pool.stop()
        pool.join()


def opened(workers: int):
    """A pool of worker processes, each of which ends with this one, however that ends."""
    context = multiprocessing.get_context('spawn')
    return need('pebble').ProcessPool(workers, context=context, initializer=_end_with_parent)


def schedule(pool, item, recipe, folder, make: Callable = make) -> concurrent.futures.Future:
    """Begins the work on an item; `settle` waits for it."""
    return pool.schedule(make, (item, recipe, folder), timeout=recipe.limits.time)


def settle(future, item, recipe, folder) -> None:
    """Sees to it that the item has a part, whatever became of its worker. Raises: what is no fault of the item."""
    try:
        future.result()
    except concurrent.futures.TimeoutError:
        limit = f'more than recipe.limits.time={recipe.limits.time:g} seconds of work'
        parts.write(parts.path_of(folder, item.name), [Input('broken', 'timeout', limit)])
    except need('pebble').ProcessExpired as error:
        detail = f'its worker died with exit code {error.exitcode}'
        parts.write(parts.path_of(folder, item.name), [Input('broken', 'crashed', detail)])


def _collect(waiting, recipe, folder, done):
    ready, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
    for future in ready:
        item = waiting.pop(future)
        settle(future, item, recipe, folder)
        done(item)


def _end_with_parent():
    """Lets no worker outlive a killed build, for it would write into the directory of the next one."""

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
