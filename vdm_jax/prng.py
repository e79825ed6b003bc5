"""Where randomness comes from: one seed, and for each purpose a stream of its own that no other purpose draws from."""

import jax

from vdm_jax.config.ranges import Seed, refusal
from vdm_jax.errors import UserError

STREAMS = ('parameters', 'training', 'validation', 'samples')


def stream_key(seed: int, purpose: str) -> jax.Array:
    """Return the key of one of STREAMS in a run of this seed.

    Raises:
      UserError: jax does not tell this seed from others.
    """
    if reason := refusal(Seed, seed):
        raise UserError(f'seed={seed}: {reason}')
    return jax.random.fold_in(jax.random.key(seed), STREAMS.index(purpose))
