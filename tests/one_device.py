"""The environment of a command that a test starts: it sees one device, not the tests' eight."""

import os
from pathlib import Path


def environment(cache: Path | str) -> dict[str, str]:
    """This process's own, but for the number of devices, and with `cache` as the user's folder of caches."""
    flags = os.environ['XLA_FLAGS'].replace('device_count=8', 'device_count=1')
    return os.environ | {'XLA_FLAGS': flags, 'XDG_CACHE_HOME': str(cache)}
