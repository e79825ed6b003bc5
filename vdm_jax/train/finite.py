"""Numbers that are not finite: every update is asked for them before its state is kept."""

import shlex

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.errors import UserError

NORMS = ('loss', 'grad_norm', 'update_norm', 'param_norm')  # scalars that tell whether an update is finite


class NonFiniteError(ArithmeticError):
    """An update of a run was not finite; its message says which step and what, its state must not be saved.

    limit: how many updates may be left out, where any may.
    """

    def __init__(self, message: str, limit: int | None = None):
        super().__init__(message)
        self.limit = limit


def is_finite(scalars: dict) -> jax.Array:
    """Whether the loss and the norms of an update are finite, () bool.

    They cover all of the state: a gradient whose square overflows in Adam's second moment has an infinite norm, and an
    average of finite parameters is finite.
    """
    return jnp.all(jnp.isfinite(jnp.stack([scalars[name] for name in NORMS])))


def keep_if_finite(finite, new, old):
    """`new` where an update was finite, else `old`: trees of arrays alike."""
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)


@jax.jit
def all_finite(tree) -> jax.Array:
    """Whether every number of a tree of arrays is finite, () bool."""
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]))


class Budget:
    """Counts the updates of a run that were left out because they were not finite, and says when they are too many.

    Args:
      skips: config.train.nonfinite=skip; otherwise the first one is one too many.
      limit: config.train.nonfinite_budget, how many a run may leave out in all.
      count: how many it has left out so far, of a run that goes on.
    """

    def __init__(self, skips: bool, limit: int, count: int = 0):
        self._skips, self._limit = skips, limit
        self.count = count

    def take(self, step: int, scalars: dict) -> bool:
        """Whether update `step` was finite; scalars: those of its train step, on the host or on their way there.

        Raises:
          NonFiniteError: it was not, and is one too many.
        """
        if bool(scalars['finite']):
            return True
        self.count += 1
        values = {name: float(scalars[name]) for name in NORMS}
        wrong = ' and '.join(f'{name} is {value}' for name, value in values.items() if not np.isfinite(value))
        if not self._skips:
            raise NonFiniteError(f'step {step}: {wrong}')
        if self.count > self._limit:
            raise NonFiniteError(
                f'step {step}: {wrong}, and so were {self.count} updates in all, of which '
                f'config.train.nonfinite_budget={self._limit} may be left out',
                self._limit,
            )
        return False


def advise(error: NonFiniteError, workdir, saved: int | None, learning_rate: float) -> UserError:
    """The mistake to end a run with: what was not finite, the last step that is kept, and what to do.

    saved: the newest checkpoint, None where there is none.
    """
    rate = f'--config.optim.learning_rate={learning_rate / 2:g}'
    if saved is None:
        return UserError(f'{error}; no step before it was saved: train in another --workdir with a lower rate, {rate}')
    run = shlex.quote(str(workdir))
    command = f'python -m vdm_jax train --from={run} --step={saved} --ema=raw --workdir=NEW {rate}'
    options = '--config.train.nonfinite=skip'
    if error.limit is not None:
        options += f' --config.train.nonfinite_budget={2 * max(error.limit, 1)}'
    return UserError(
        f'{error}; the last finite step that is saved is {saved}. Go on from it, or from an earlier one where its '
        f'loss is far off already, with a lower rate: {command}; or go on '
        f'in this directory and leave such updates out: {options}'
    )
