"""Whether the inputs of a set are still those that it was made of.

A digest knows what was listed of an input, and its file's size, head and tail. A file that changed between them has a
later time; but so has one that was copied or touched. So the time decides nothing: where it is later than the work on
the file, all bytes are read and compared with the sha256 of what was read then.
"""

import concurrent.futures
import hashlib
import os
from collections.abc import Mapping, Sequence

from data_pipelines.inputs import frame_sources
from data_pipelines.inputs.listing import Item, digest, former_digest

LEEWAY = 600.0  # seconds by which the clocks of two machines may differ
THREADS = 16  # that wait for a disk, perhaps one behind a network


def digests(items: Sequence[Item]) -> dict[str, str]:
    """{name: digest} of all items."""
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return dict(zip((item.name for item in items), pool.map(digest, items), strict=True))


def difference(
    items: Sequence[Item], before: Mapping[str, str], now: Mapping[str, str], read: Mapping[str, tuple[str, float]]
) -> str:
    """What of a source is other than it was, '' for nothing.

    Args:
      items: of the source as it is.
      before, now: {name: digest} of the source as it was and as it is.
      read: {name: (sha256, when)} of the inputs that were read, when: seconds of the epoch.
    """
    if moved := sorted(before.keys() ^ now.keys()):
        return f'{moved[0]} was not in the source' if moved[0] in now else f'{moved[0]} is no longer in the source'

    def differs(item):
        code = before[item.name]
        if code not in (now[item.name], former_digest(item)):
            if code[:8] == now[item.name][:8]:
                return f'{item.name} is another file than it was: its size, its head or its tail'
            return f'{item.name} has another size, captions, label, scores or times than it had'
        if item.problem or item.name not in read:
            return ''
        sha256, when = read[item.name]
        if last_change(item) > when - LEEWAY and sha256_of(item) != sha256:
            return f'{item.name} is another file than it was, of the same size'
        return ''

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return next(filter(None, pool.map(differs, items)), '')


def last_change(item: Item) -> float:
    """When the files of an item were last changed, renamed or copied: seconds of the epoch, 0 where nobody knows."""
    paths = [item.path]
    if isinstance(item.stills, frame_sources.Images):
        paths = [os.path.join(item.stills.path, name) for name in item.stills.names]
    elif item.stills is not None:
        paths = [item.stills.path]
    times = [0.0]
    for path in paths:
        try:
            about = os.stat(path)
        except OSError:
            continue
        times.append(max(about.st_mtime, about.st_ctime))
    return max(times)


def sha256_of(item: Item) -> str:
    """Of all that an item is, as the work on it notes it; '' for what cannot be read."""
    found = hashlib.sha256()
    try:
        for part in frame_sources.content(item):
            found.update(part)
    except (OSError, frame_sources.BrokenVideoError):
        return ''
    return found.hexdigest()
