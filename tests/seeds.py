"""Seeds of tests that draw anew in every run: printed, so that pytest shows that of a failure, and repeatable."""

import os
import secrets

import numpy as np

VARIABLE = 'VDM_JAX_TEST_SEED'


def seed() -> int:
    """A fresh seed of 32 bits, or the one that VDM_JAX_TEST_SEED holds."""
    value = int(os.environ.get(VARIABLE) or secrets.randbits(32))
    print(f'to draw the same again: {VARIABLE}={value}')
    return value


def generator() -> np.random.Generator:
    """A generator with such a seed."""
    return np.random.default_rng(seed())
