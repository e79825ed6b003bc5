"""Standard normal arrays without compiling a generator for every shape, which would be half the time of these tests."""

import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture
def normals():
    """normals(count, *shape): that many float32 arrays, the same ones in every test."""
    rng = np.random.default_rng(0)
    return lambda count, *shape: tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(count))
