"""Short digests of inputs, by which a build that goes on recognises them."""

import dataclasses
import hashlib
import json
import os
import stat
from typing import Any

from data_pipelines.inputs.item import Item
from data_pipelines.inputs.stills import identify

EDGE_BYTES = 2**16  # at either end of a file


def digest_item(item: Item) -> str:
    """Return 16 hex digits: eight of all that is listed of an item, eight of its file's size, head and tail."""
    identity = None if item.stills is None else identify(item.stills)
    # Reading all of every file would take as long as a build; changes.py does so where times tell it to.
    edges = _digest_edges(item.path) if _has_file(item) else None
    listed = _listed_values(item) | {'stills': None}
    return _digest_json(listed)[:8] + _digest_json([identity, edges])[:8]


def digest_item_before_edges(item: Item) -> str:
    """Return the digest that older sets have: 16 hex digits of all that is listed, and of the size of the file."""
    identity = None if item.stills is None else identify(item.stills)
    size = None
    if _has_file(item) and os.path.exists(item.path):
        size = os.stat(item.path).st_size
    return _digest_json(_listed_values(item) | {'stills': identity, 'size': size})[:16]


def _has_file(item: Item) -> bool:
    return bool(item.path) and not item.problem and item.stills is None


def _listed_values(item: Item) -> dict[str, Any]:
    captions = [dataclasses.astuple(caption) for caption in item.captions]
    # Where a source lies may change, so the path is no part of it.
    return vars(item) | {'captions': captions, 'path': None}


def _digest_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _digest_edges(path: str) -> list[int | str] | None:
    """Return [size, sha256 of the first EDGE_BYTES and the last], None for what is no file that can be read."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            return None
        with open(path, 'rb') as file:
            sha256 = hashlib.sha256(file.read(EDGE_BYTES))
            if status.st_size > EDGE_BYTES:
                file.seek(max(status.st_size - EDGE_BYTES, EDGE_BYTES))
                sha256.update(file.read(EDGE_BYTES))
        return [status.st_size, sha256.hexdigest()]
    except OSError:
        return None
