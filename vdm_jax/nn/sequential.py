"""Modules one after another, where they are too unlike to be stacked."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx


class Sequential(nnx.Module):
    """x -> last(… first(x)), each called with `extra` as well.

    Modules are stored under their numbers as names, '0', '1', …: a list's would be integers, which not every format of
    checkpoints gives back as such.
    """

    def __init__(self, modules: Sequence[nnx.Module]):
        self.count = len(modules)
        for number, module in enumerate(modules):
            setattr(self, str(number), module)

    def __call__(self, x: jax.Array, *extra: Any) -> jax.Array:
        for number in range(self.count):
            x = getattr(self, str(number))(x, *extra)
        return x
