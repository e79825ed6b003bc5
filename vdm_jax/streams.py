"""Where randomness comes from: one seed, and for each purpose a stream of its own that no other purpose draws from."""

import jax

STREAMS = ('parameters', 'training', 'validation', 'samples')


def stream(seed: int, purpose: str):
    """The key of one of STREAMS in a run of this seed."""
    return jax.random.fold_in(jax.random.key(seed), STREAMS.index(purpose))
