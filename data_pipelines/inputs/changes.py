"""Detect that the inputs of a set are no longer those that it was made of.

A digest covers what was listed of an input, and its file's size, head and tail. A file that changed between them has a
later time; but so has one that was copied or touched. So the time decides nothing: where it is later than the work on
the file, all bytes are read and compared with the sha256 of what was read then.
"""

import concurrent.futures
import os
from collections.abc import Mapping, Sequence

from data_pipelines.inputs import frame_sources
from data_pipelines.inputs.digest import digest_item, digest_item_before_edges
from data_pipelines.inputs.item import Item
from vdm_jax.data.video.broken import BrokenVideoError

CLOCK_SECONDS = 600.0  # by which the clocks of two machines may differ
THREADS = 16  # that wait for a disk, perhaps one behind a network


def digest_items(items: Sequence[Item]) -> dict[str, str]:
    """Return {name: digest} of all items."""
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        # Threads, as each waits for a file's head and tail.
        digests = pool.map(digest_item, items)
        return {item.name: digest for item, digest in zip(items, digests, strict=True)}


def find_change(
    items: Sequence[Item], before: Mapping[str, str], now: Mapping[str, str], read: Mapping[str, tuple[str, float]]
) -> str:
    """Return what of a source is other than it was, in words; '' for nothing.

    Args:
      items: Those of the source as it is.
      before: {name: digest} of the source as it was.
      now: {name: digest} of the source as it is.
      read: {name: (sha256, when)} of the inputs that were read, when: seconds of the epoch.
    """
    moved = sorted(before.keys() ^ now.keys())
    if moved:
        name = moved[0]
        return f'{name} was not in the source' if name in now else f'{name} is no longer in the source'

    def describe_change(item: Item) -> str:
        old = before[item.name]
        new = now[item.name]
        # Older sets have the former digest, which is as good as the new one where it agrees.
        if old not in (new, digest_item_before_edges(item)):
            # The first half of a digest is of what was listed, the second of the file.
            if old[:8] == new[:8]:
                return f'{item.name} is another file than it was: its size, its head or its tail'
            return f'{item.name} has another size, captions, label, scores or times than it had'
        if item.problem or item.name not in read:
            return ''
        sha256, when = read[item.name]
        if last_change(item) > when - CLOCK_SECONDS and sha256_of(item) != sha256:
            return f'{item.name} is another file than it was, of the same size'
        return ''

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return next(filter(None, pool.map(describe_change, items)), '')


def last_change(item: Item) -> float:
    """Return when an item's files were last changed, renamed or copied: seconds of the epoch, 0 where unknown."""
    paths = [item.path]
    if item.stills is not None:
        paths = item.stills.files or [item.stills.path]

    times = [0.0]
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        times.append(max(status.st_mtime, status.st_ctime))
    return max(times)


def sha256_of(item: Item) -> str:
    """Return the sha256 of all bytes of an item, as the work on it notes it; '' for what cannot be read."""
    try:
        _, sha256 = frame_sources.hash_bytes(item)
    except (OSError, BrokenVideoError):
        return ''
    return sha256
