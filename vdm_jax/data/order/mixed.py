"""Which example of several sources comes when: exact shares in every block, and whole epochs of each source."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from vdm_jax.data.order.order import MIX_STREAM, Order, philox
from vdm_jax.errors import UserError

BLOCK = 1000  # positions, so that shares are exact to a thousandth


@dataclasses.dataclass(frozen=True)
class MixedOrder(Order):
    """The endless sequence of ids of a mixture: source k's clip i has the id sizes[0] + ... + sizes[k - 1] + i.

    In every BLOCK positions each source has the same number of places, its share of the weights (what is left over by
    rounding goes to the largest remainders), in an order of the block's own. A source fills its places from its own
    running epochs, each a permutation of all its clips: so all its clips are seen equally often however many there are,
    and nothing depends on more than the position. Without shuffle a source's clips come as they stand; places do not.
    `least`: places that a source has at least, however small its share.
    """

    sizes: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    least: int = 0

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
        return apportion(self.weights, self.least)

    def at(self, positions):
        """The example ids at these positions, int64 of the same shape."""
        which, turns = self.turns(positions)
        ids, first = np.empty_like(which), 0
        for number, size in enumerate(self.sizes):
            mine = which == number
            if mine.any():
                own = Order(size, self.batch, self.seed, self.shuffle, stream=self.stream + number)
                ids[mine] = first + own.at(turns[mine])
            first += size
        return ids

    def turns(self, positions):
        """(which source each position draws from, how many times that one was drawn from before), both int64."""
        return turns(positions, self.places, MIX_STREAM, self.seed, self.stream)


def apportion(weights: Sequence[float], least: int = 0) -> tuple[int, ...]:
    """BLOCK places shared in proportion to the weights, by largest remainders; where a weight is above 0, at least
    `least`.
    """
    exact = BLOCK * np.array(weights) / sum(weights)
    places = np.maximum(np.floor(exact).astype(np.int64), least * (exact > 0))
    while (over := BLOCK - int(places.sum())) != 0:
        most = np.argsort(places - exact, kind='stable')  # those that lack most first
        if over > 0:
            places[most[:over]] += 1
        else:
            places[most[places[most] > least][-1]] -= 1
    return tuple(places.tolist())


def turns(positions, places: tuple[int, ...], kind: int, seed: int, stream: int = 0):
    """(whose place each position is, how many of its places came before), both int64, for blocks shared by `places`."""
    blocks, within = np.divmod(np.asarray(positions, np.int64), BLOCK)
    which, before = np.empty_like(within), np.empty_like(within)
    for number in np.unique(blocks):
        here = blocks == number
        owners, ranks = block(places, kind, seed, int(number), stream)
        which[here] = owners[within[here]]
        before[here] = int(number) * np.array(places)[which[here]] + ranks[within[here]]
    return which, before


@functools.lru_cache(maxsize=64)
def block(places: tuple[int, ...], kind: int, seed: int, number: int, stream: int = 0):
    """For each position of a block: (whose place it is, how many of the block's positions before it are the same's)."""
    order = np.argsort(philox(kind, seed, number, stream).random_raw(BLOCK), kind='stable')
    owners = np.repeat(np.arange(len(places)), places)[order]
    ranks = np.empty(BLOCK, np.int64)
    for owner, count in enumerate(places):
        ranks[owners == owner] = np.arange(count)
    return owners, ranks
