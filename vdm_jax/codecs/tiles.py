"""A function of pictures, run on one tile at a time: tiles overlap, and what they give is blended by linear ramps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def starts_of(length: int, side: int, overlap: int) -> np.ndarray:
    """Where tiles of `side` begin that cover 0 to `length`, as few as can be with neighbours sharing `overlap` or more,
    evenly spread.
    """
    if side >= length:
        return np.zeros(1, int)
    count = -(-(length - overlap) // (side - overlap))
    return np.round(np.linspace(0, length - side, count)).astype(int)


def ramps_of(starts: np.ndarray, side: int) -> np.ndarray:
    """The share of each tile in what lies at each of its places, (tiles, side) float32; the shares of a place sum to 1.

    Where tile i follows tile i - 1 for `shared` places, its share of the k-th of them is k / shared.
    """
    shares = np.zeros((len(starts), starts[-1] + side))
    for number, start in enumerate(starts):
        shared = starts[number - 1] + side - start if number else 0
        rises = np.concatenate([np.arange(shared) / max(shared, 1), np.ones(side - shared)])
        shares[:number, start : start + side] *= 1 - rises
        shares[number, start : start + side] = rises
    return np.stack([row[start : start + side] for row, start in zip(shares, starts, strict=True)]).astype(np.float32)


def tiled(call: Callable, x, side: int, overlap: int, sizes: tuple[int, int]):
    """call(x) for x (..., H, W, I), from tiles of `side` x `side` units that share `overlap` or more units.

    sizes: pixels of one unit in x and in call(x): a latent is (1, 8) when decoding and (8, 1) when encoding. A picture
    no larger than a tile is not cut, and none is where side is 0.
    """
    before, after = sizes
    lengths = [length // before for length in x.shape[-3:-1]]
    sides = [min(side or length, length) for length in lengths]
    starts = [starts_of(length, each, overlap) for length, each in zip(lengths, sides, strict=True)]
    if all(len(each) == 1 for each in starts):
        return call(x)
    ramps = [jnp.asarray(ramps_of(at * after, each * after)) for at, each in zip(starts, sides, strict=True)]
    part = (*x.shape[:-3], *(each * before for each in sides), x.shape[-1])
    made = jax.eval_shape(call, jax.ShapeDtypeStruct(part, x.dtype))
    canvas = jnp.zeros((*made.shape[:-3], *(length * after for length in lengths), made.shape[-1]), made.dtype)

    def step(canvas, tile):
        numbers, places = tile

        def at(unit):
            return (*(0,) * (x.ndim - 3), places[0] * unit, places[1] * unit, 0)

        rows, columns = (ramp[number] for ramp, number in zip(ramps, numbers, strict=True))
        share = jnp.expand_dims((rows[:, None] * columns[None]).astype(made.dtype)[..., None], range(made.ndim - 3))
        y = call(jax.lax.dynamic_slice(x, at(before), part)) * share
        y = y + jax.lax.dynamic_slice(canvas, at(after), made.shape)
        return jax.lax.dynamic_update_slice(canvas, y, at(after)), None

    numbers = np.stack(np.meshgrid(*(np.arange(len(each)) for each in starts), indexing='ij'), -1).reshape(-1, 2)
    places = np.stack([each[number] for each, number in zip(starts, numbers.T, strict=True)], -1)
    return jax.lax.scan(step, canvas, (numbers, places))[0]
