"""Where the data stream of a run stood when a checkpoint was saved: what a run that goes on is held against."""

from vdm_jax.errors import UserError

SKIPPED = 'skipped_updates'  # because they were not finite: in the metrics, and in a checkpoint's position


def validate_position(where, called: str) -> dict:
    """Returns the data position of a checkpoint, which somebody else may have made: with the types that a run writes.

    Raises:
      UserError: it has others.
    """
    if not isinstance(where, dict) or not isinstance(where.get('data', {}), dict):
        raise UserError(f'{called} holds no values by their names')

    def is_count(value):
        return type(value) is int and value >= 0

    for name in ('step', SKIPPED):
        if not is_count(where.get(name, 0 if name == SKIPPED else None)):
            raise UserError(f'{called}: {name}={where.get(name)!r:.80}: want a whole number from 0 on')
    return where


def check_position(workdir, was: dict, now: dict) -> None:
    """Whether the data goes on where the run left it."""

    def flat(where):
        return {k: v for k, v in where.items() if k != 'data'} | where.get('data', {})

    was, now = flat(was), flat(now)
    if found := [f'{key} was {value} and is {now.get(key)} now' for key, value in was.items() if now.get(key) != value]:
        raise UserError(
            f'{workdir}: the run at step {was["step"]} cannot go on, as its data differ: {"; ".join(found)}'
        )
