"""Random streams of a run: one seed, and for each purpose a stream that no other purpose draws from."""

import jax

from vdm_jax.config.ranges import Seed, refusal
from vdm_jax.errors import UserError

STREAMS = ('parameters', 'training', 'validation', 'samples')


def stream_key(seed: int, purpose: str) -> jax.Array:
    """Return the key of one of STREAMS in a run of this seed.

    Raises:
      UserError: It is out of the range in which jax tells seeds from one another.
    """
    if reason := refusal(Seed, seed):
        raise UserError(f'seed={seed}: {reason}')
    # Appending to STREAMS keeps the keys of those that are there; another order would change every run.
    return jax.random.fold_in(jax.random.key(seed), STREAMS.index(purpose))
