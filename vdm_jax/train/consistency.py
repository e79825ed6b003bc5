"""Whether all processes of a run were asked for the same: else they compute nonsense together, and nothing tells."""

import json
from collections.abc import Callable

from vdm_jax.config import differences
from vdm_jax.errors import UserError
from vdm_jax.parallel import processes


def check_alike(say: Callable[[], dict]) -> None:
    """All processes call it. say() is what this one is asked for and found: nested dicts of JSON values.

    Raises:
      UserError: on all processes alike, what say() raised on one, or the first key that differs.
    """
    said = [json.loads(each) for each in processes.gather(processes.together(lambda: json.dumps(say())))]
    for process, other in enumerate(said[1:], 1):
        for key, (one, another) in differences(said[0], other, '').items():
            raise UserError(
                f'{key[1:]} is {one} for process 0 and {another} for process {process}: give all processes the same '
                'command and the same data'
            )
