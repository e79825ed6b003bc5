"""Check that all processes run the same config on the same data: a mismatch would diverge silently."""

import json
from collections.abc import Callable
from typing import Any

from vdm_jax.config.schema import find_differences
from vdm_jax.errors import UserError
from vdm_jax.parallel import processes


def check_same_on_all(describe: Callable[[], dict[str, Any]]) -> None:
    """Check that all processes describe their run in the same way; all of them call it.

    Args:
      describe: Returns what this process runs, and on what: nested dicts of JSON values.

    Raises:
      UserError: On every process: what describe() raised on one, or the first key that differs.
    """

    def describe_as_json() -> str:
        return json.dumps(describe())

    # As JSON, so that what is compared is what config.json would hold.
    descriptions = [json.loads(text) for text in processes.gather_texts(processes.raise_on_all(describe_as_json))]
    for process, description in enumerate(descriptions[1:], 1):
        for key, (first, other) in find_differences(descriptions[0], description, '').items():
            raise UserError(
                f'{key[1:]} is {first} for process 0 and {other} for process {process}: give all processes the same '
                'command and the same data'
            )
