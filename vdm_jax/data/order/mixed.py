"""The order of several sources mixed: exact shares in every block, and whole epochs of each source."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from vdm_jax.data.order.order import MIX_STREAM, Order, philox
from vdm_jax.errors import UserError

# Positions, so that shares are exact to a thousandth.
BLOCK = 1000


@dataclasses.dataclass(frozen=True)
class MixedOrder(Order):
    """The endless sequence of ids of a mixture: source k's clip i has the id sizes[0] + ... + sizes[k - 1] + i.

    In every BLOCK positions each source has the same number of slots, its share of the weights (what is left over by
    rounding goes to the largest remainders), in an order of the block's own. A source fills its slots from its own
    running epochs, each a permutation of all its clips: so all its clips are seen equally often however many there are,
    and nothing depends on more than the position. Without shuffle a source's clips come as they stand; slots do not.

    Attributes:
      sizes: Number of clips of each source.
      weights: How often each source is drawn from, in proportion.
      least: Slots of a block that a source has at least, however small its share.
    """

    sizes: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    least: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size != sum(self.sizes):
            raise ValueError(f'sizes {self.sizes} add up to {sum(self.sizes)}, not to {self.size}')
        for number, count in enumerate(self.slots):
            if not count:
                raise UserError(
                    f'config.data.weights={self.weights}: item {number} is less than a thousandth of their sum, '
                    'so none of its clips would come; raise it, or leave the source out'
                )

    @functools.cached_property
    def slots(self) -> tuple[int, ...]:
        """How many of a block's positions each source has: whole numbers that add up to BLOCK."""
        return apportion(self.weights, self.least)

    def ids_at(self, positions: int | np.ndarray) -> np.ndarray:
        """Return the example ids at these positions: int64 of the same shape."""
        owners, turns = self.turns(positions)
        ids = np.empty_like(owners)
        first_id = 0
        for number, size in enumerate(self.sizes):
            mine = owners == number
            if mine.any():
                # Made anew each time: an order holds nothing, and its permutations are cached by seed and stream.
                order = Order(size, self.batch, self.seed, self.shuffle, stream=self.stream + number)
                ids[mine] = first_id + order.ids_at(turns[mine])
            first_id += size
        return ids

    def turns(self, positions: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which source each position draws from, and how often that one was drawn from before: int64 each."""
        return owners_and_turns(positions, self.slots, MIX_STREAM, self.seed, self.stream)


def apportion(weights: Sequence[float], least: int = 0) -> tuple[int, ...]:
    """Share BLOCK slots in proportion to the weights, by largest remainders.

    Where a weight is above 0, it gets at least `least` slots.
    """
    exact = BLOCK * np.array(weights) / sum(weights)
    slots = np.maximum(np.floor(exact).astype(np.int64), least * (exact > 0))

    while (missing := BLOCK - int(slots.sum())) != 0:
        by_need = np.argsort(slots - exact, kind='stable')  # those that lack most first
        if missing > 0:
            slots[by_need[:missing]] += 1
        else:
            # `least` gave away too many: the one furthest above its share gives one back.
            slots[by_need[slots[by_need] > least][-1]] -= 1
    return tuple(slots.tolist())


def owners_and_turns(
    positions: int | np.ndarray, slots: tuple[int, ...], kind: int, seed: int, stream: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return whose slot each position is, and how many slots the owner had before: int64 each.

    Args:
      positions: Of the run, any shape.
      slots: How many of each block's positions each owner has.
      kind: The random stream that blocks are drawn from, such as MIX_STREAM.
      seed: Of the run.
      stream: Of this order among others of the seed.
    """
    blocks, within = np.divmod(np.asarray(positions, np.int64), BLOCK)
    owners = np.empty_like(within)
    turns = np.empty_like(within)
    for number in np.unique(blocks):
        in_block = blocks == number
        block_owners, ranks = draw_block(slots, kind, seed, int(number), stream)
        owners[in_block] = block_owners[within[in_block]]
        # Each block gives an owner the same number of slots, so those of the blocks before are a product.
        turns[in_block] = int(number) * np.array(slots)[owners[in_block]] + ranks[within[in_block]]
    return owners, turns


@functools.lru_cache(maxsize=64)
def draw_block(
    slots: tuple[int, ...], kind: int, seed: int, number: int, stream: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the order of one block's slots.

    Returns:
      For each position of the block whose slot it is, and how many positions before it are the same owner's.
    """
    # As in `permutation`: by raw words, whose values numpy promises.
    order = np.argsort(philox(kind, seed, number, stream).random_raw(BLOCK), kind='stable')
    owners = np.repeat(np.arange(len(slots)), slots)[order]
    ranks = np.empty(BLOCK, np.int64)
    for owner, count in enumerate(slots):
        ranks[owners == owner] = np.arange(count)
    return owners, ranks
