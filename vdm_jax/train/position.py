"""Where the data stream of a run stood when a checkpoint was saved: what a run that resumes is compared with."""

from typing import Any

from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.train.types import Position

SKIPPED = 'skipped_updates'  # because they were not finite: in the metrics, and in a checkpoint's position


def validate_position(position: Any, called: str) -> Position:
    """Return the data position of a checkpoint, which somebody else may have made, with the types that a run writes.

    Args:
      position: The value that was read.
      called: What messages call it.

    Raises:
      UserError: It has other types.
    """
    if not isinstance(position, dict) or not isinstance(position.get('data', {}), dict):
        raise UserError(f'{called} holds no values by their names')

    # A run that has left no update out writes no count of them.
    counts = {'step': position.get('step'), SKIPPED: position.get(SKIPPED, 0)}
    for name, count in counts.items():
        if type(count) is not int or count < 0:
            raise UserError(f'{called}: {name}={position.get(name)!r:.80}: want a whole number from 0 on')
    return position


def check_position(workdir: epath.PathLike, before: Position, now: Position) -> None:
    """Check that the data continues where the run left it.

    Raises:
      UserError: It differs; names each key.
    """
    before = _flatten(before)
    now = _flatten(now)
    changes = [f'{key} was {value} and is {now.get(key)} now' for key, value in before.items() if now.get(key) != value]
    if changes:
        raise UserError(
            f'{workdir}: the run at step {before["step"]} cannot go on, as its data differ: {"; ".join(changes)}'
        )


def _flatten(position: Position) -> Position:
    """Return the keys of the data beside the others."""
    others = {key: value for key, value in position.items() if key != 'data'}
    return {**others, **position.get('data', {})}
