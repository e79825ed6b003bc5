"""How conditioning shifts, scales and gates a block: the kinds of adaLN. A kind is one small class.

Each gives `chunks` vectors of width D for a video or frame, from its conditioning c (B, F, D) and, for the kinds that
share weights between blocks, from what the shared part made of c once for all of them: -> (B, F, chunks D).
"""

from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.nn.linear import Linear, normal_002, zeros
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.sharding import constrain


class Modulation(Protocol):
    """What every kind has.

    Attributes:
      shares_map: Whether all blocks share one map from c to (B, F, chunks D), and so have equally many chunks.
      head: The kind that the network's head has with this one.
    """

    shares_map: ClassVar[bool]
    head: ClassVar[str]

    def __init__(self, width: int, chunks: int, rank: int, *, rngs: nnx.Rngs): ...

    def __call__(self, c: jax.Array, shared: jax.Array | None) -> jax.Array:
        """Return (B, F, chunks D) from c (B, F, D) and from what the shared part made of it."""

    @staticmethod
    def make_shared(width: int, chunks: int, *, rngs: nnx.Rngs) -> Linear | None:
        """Make the part that all blocks share, None where they share nothing."""

    @staticmethod
    def flops(width: int, chunks: int, rank: int) -> int:
        """Return the floating-point operations of one block, for one conditioning vector."""


def silu_of(c: jax.Array) -> jax.Array:
    """Return the SiLU of the conditioning, each video's where the video is: its gradient moves between no devices."""
    return constrain(jax.nn.silu(c), BATCH)


class Zero(Linear):
    """adaLN-zero: every block has a linear map of its own, zero at the start (DiT, Peebles & Xie 2023, section 3.2)."""

    shares_map: ClassVar[bool] = False
    head: ClassVar[str] = 'adaln_zero'

    def __init__(self, width: int, chunks: int, rank: int, *, rngs: nnx.Rngs):
        # Zeros: all gates are 0, so that every block is the identity at first.
        super().__init__(width, chunks * width, zeros, rngs=rngs)

    def __call__(self, c: jax.Array, shared: jax.Array | None) -> jax.Array:  # type: ignore[override]  # no bare Linear
        return super().__call__(silu_of(c))

    @staticmethod
    def make_shared(width: int, chunks: int, *, rngs: nnx.Rngs) -> None:
        return None

    @staticmethod
    def flops(width: int, chunks: int, rank: int) -> int:
        return 2 * chunks * width * width


class Single(nnx.Module):
    """adaLN-single: one map for all blocks, and a learned table added in each (PixArt-alpha, Chen et al. 2023)."""

    shares_map: ClassVar[bool] = True
    head: ClassVar[str] = 'adaln_single'

    def __init__(self, width: int, chunks: int, rank: int, *, rngs: nnx.Rngs):
        # Table and shared map begin as in PixArt-alpha's code.
        self.table = nnx.Param(jax.random.normal(rngs.params(), (chunks * width,), jnp.float32) * width**-0.5)

    def __call__(self, c: jax.Array, shared: jax.Array | None) -> jax.Array:
        assert shared is not None
        return shared + self.table[...].astype(c.dtype)[None, None]

    @staticmethod
    def make_shared(width: int, chunks: int, *, rngs: nnx.Rngs) -> Linear:
        return Linear(width, chunks * width, normal_002, rngs=rngs)

    @staticmethod
    def flops(width: int, chunks: int, rank: int) -> int:
        return 0


class LoRA(nnx.Module):
    """adaLN-LoRA: one map for all blocks, 0 at first, and a low-rank one in each (W.A.L.T, Gupta et al. 2023)."""

    shares_map: ClassVar[bool] = True
    head: ClassVar[str] = 'adaln_zero'

    def __init__(self, width: int, chunks: int, rank: int, *, rngs: nnx.Rngs):
        self.low = Linear(width, rank, rngs=rngs)
        # Only one of the two is 0: of two zeros neither would ever get a gradient.
        self.high = Linear(rank, chunks * width, zeros, rngs=rngs)

    def __call__(self, c: jax.Array, shared: jax.Array | None) -> jax.Array:
        assert shared is not None
        return shared + self.high(self.low(silu_of(c)))

    @staticmethod
    def make_shared(width: int, chunks: int, *, rngs: nnx.Rngs) -> Linear:
        return Linear(width, chunks * width, zeros, rngs=rngs)

    @staticmethod
    def flops(width: int, chunks: int, rank: int) -> int:
        return 2 * rank * width * (1 + chunks)


MODULATIONS: dict[str, type[Modulation]] = {'adaln_zero': Zero, 'adaln_single': Single, 'adaln_lora': LoRA}
