"""Which example of several sources comes when: exact shares in every block, and whole epochs of each source."""

import dataclasses
import functools

import numpy as np

from vdm_jax.data.order import MIX_STREAM, Order, philox
from vdm_jax.errors import UserError

BLOCK = 1000  # positions, so that shares are exact to a thousandth


@dataclasses.dataclass(frozen=True)
class MixedOrder(Order):
    """The endless sequence of ids of a mixture: source k's clip i has the id sizes[0] + ... + sizes[k - 1] + i.

    In every BLOCK positions each source has the same number of places, its share of the weights (what is left over by
    rounding goes to the largest remainders), in an order of the block's own. A source fills its places from its own
    running epochs, each a permutation of all its clips: so all its clips are seen equally often however many there are,
    and nothing depends on more than the position. Without shuffle a source's clips come as they stand; places do not.
    """

    sizes: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        if self.size != sum(self.sizes):
            raise ValueError(f'sizes {self.sizes} add up to {sum(self.sizes)}, not to {self.size}')
        for number, places in enumerate(self.places):
            if not places:
                raise UserError(
                    f'config.data.weights={self.weights}: item {number} is less than a thousandth of their sum, '
                    'so none of its clips would come; raise it, or leave the source out'
                )

    @functools.cached_property
    def places(self):
        """How many of a block's positions each source has: whole numbers that add up to BLOCK."""
        exact = BLOCK * np.array(self.weights) / sum(self.weights)
        places = np.floor(exact).astype(np.int64)
        places[np.argsort(places - exact, kind='stable')[: BLOCK - places.sum()]] += 1
        return tuple(places.tolist())

    def at(self, positions):
        """The example ids at these positions, int64 of the same shape."""
        which, turns = self.turns(positions)
        ids, first = np.empty_like(which), 0
        for number, size in enumerate(self.sizes):
            mine = which == number
            if mine.any():
                own = Order(size, self.batch, self.seed, self.shuffle, stream=number)
                ids[mine] = first + own.at(turns[mine])
            first += size
        return ids

    def turns(self, positions):
        """(which source each position draws from, how many times that one was drawn from before), both int64."""
        blocks, within = np.divmod(np.asarray(positions, np.int64), BLOCK)
        which, turns = np.empty_like(within), np.empty_like(within)
        for block in np.unique(blocks):
            here = blocks == block
            sources, ranks = _block(self.places, self.seed, int(block))
            which[here] = sources[within[here]]
            turns[here] = int(block) * np.array(self.places)[which[here]] + ranks[within[here]]
        return which, turns


@functools.lru_cache(maxsize=8)
def _block(places, seed, block):
    """For each position of a block: (its source, how many of the block's positions before it have the same one)."""
    order = np.argsort(philox(MIX_STREAM, seed, block).random_raw(BLOCK), kind='stable')
    sources = np.repeat(np.arange(len(places)), places)[order]
    ranks = np.empty(BLOCK, np.int64)
    for number, count in enumerate(places):
        ranks[sources == number] = np.arange(count)
    return sources, ranks
