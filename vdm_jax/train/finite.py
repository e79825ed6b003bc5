"""Checks for numbers that are not finite: every update is checked before its state is kept."""

import shlex

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.train.types import ArrayTree, Scalars

CHECKED_SCALARS = ('loss', 'grad_norm', 'update_norm', 'param_norm')  # which say whether an update is finite


class NonFiniteError(ArithmeticError):
    """An update of a run was not finite, and its state must not be saved; the message names the step and the scalar.

    Attributes:
      limit: How many updates may be left out, None where none may.
    """

    def __init__(self, message: str, limit: int | None = None):
        super().__init__(message)
        self.limit = limit


def is_finite(scalars: Scalars) -> jax.Array:
    """Return whether the loss and the norms of an update are finite, () bool.

    They cover all of the state: a gradient whose square overflows in Adam's second moment has an infinite norm, and an
    average of finite parameters is finite.
    """
    return jnp.all(jnp.isfinite(jnp.stack([scalars[name] for name in CHECKED_SCALARS])))


def keep_if_finite(finite: jax.Array, new: ArrayTree, old: ArrayTree) -> ArrayTree:
    """Return `new` where an update was finite, else `old`: trees of the same structure."""
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)


@jax.jit
def all_finite(tree: ArrayTree) -> jax.Array:
    """Return whether every number of a tree of arrays is finite, () bool."""
    # Whole numbers, such as counts of steps, are always finite.
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]))


class Budget:
    """Counter of the updates that were left out because they were not finite.

    Attributes:
      count: How many the run has left out so far.
    """

    def __init__(self, skips: bool, limit: int, count: int = 0):
        """Start counting.

        Args:
          skips: Whether any may be left out, config.train.nonfinite=skip.
          limit: How many a run may leave out in all, config.train.nonfinite_budget.
          count: How many it has left out already, where it resumes.
        """
        self._skips = skips
        self._limit = limit
        self.count = count

    def check(self, step: int, scalars: Scalars) -> bool:
        """Return whether update `step` is finite; one that is not is counted.

        Args:
          step: Number of the update, for messages.
          scalars: What its train step returned.

        Raises:
          NonFiniteError: It was not, and is one too many.
        """
        # Here the host waits for the device, where the scalars are still on their way.
        if bool(scalars['finite']):
            return True
        self.count += 1

        values = {name: float(scalars[name]) for name in CHECKED_SCALARS}
        reason = ' and '.join(f'{name} is {value}' for name, value in values.items() if not np.isfinite(value))
        if not self._skips:
            raise NonFiniteError(f'step {step}: {reason}')
        if self.count > self._limit:
            raise NonFiniteError(
                f'step {step}: {reason}, and so were {self.count} updates in all, of which '
                f'config.train.nonfinite_budget={self._limit} may be left out',
                self._limit,
            )
        return False


def advise(error: NonFiniteError, workdir: epath.PathLike, saved: int | None, learning_rate: float) -> UserError:
    """Return the mistake that a run ends with: what was not finite, the last step that is kept, and what to do.

    Args:
      error: What was not finite.
      workdir: The run directory.
      saved: The newest checkpoint, None where there is none.
      learning_rate: Of the run; half of it is proposed.
    """
    rate = f'--config.optim.learning_rate={learning_rate / 2:g}'
    if saved is None:
        return UserError(f'{error}; no step before it was saved: train in another --workdir with a lower rate, {rate}')

    run = shlex.quote(str(workdir))
    command = f'python -m vdm_jax train --from={run} --step={saved} --ema=raw --workdir=NEW {rate}'
    options = '--config.train.nonfinite=skip'
    # The budget was used up: propose twice as much.
    if error.limit is not None:
        options += f' --config.train.nonfinite_budget={2 * max(error.limit, 1)}'
    return UserError(
        f'{error}; the last finite step that is saved is {saved}. Go on from it, or from an earlier one where its '
        f'loss is far off already, with a lower rate: {command}; or go on '
        f'in this directory and leave such updates out: {options}'
    )
