"""Run a function of pictures on one tile at a time: tiles overlap, and their results are blended by linear ramps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def tile_starts(length: int, side: int, overlap: int) -> np.ndarray:
    """Return where tiles of `side` begin that cover 0 to `length`.

    They are as few as can be where neighbours share `overlap` or more, evenly spread.
    """
    if side >= length:
        return np.zeros(1, int)
    count = -(-(length - overlap) // (side - overlap))
    return np.round(np.linspace(0, length - side, count)).astype(int)


def blend_ramps(starts: np.ndarray, side: int) -> np.ndarray:
    """Return the weight of each tile at each of its positions, (tiles, side) float32; those of a position sum to 1.

    Where tile i overlaps tile i - 1 in `shared` positions, its weight at the k-th of them is k / shared.
    """
    weights = np.zeros((len(starts), starts[-1] + side))
    for number, start in enumerate(starts):
        shared = starts[number - 1] + side - start if number else 0
        ramp = np.concatenate([np.arange(shared) / max(shared, 1), np.ones(side - shared)])
        # Several tiles may overlap: a new one takes its weight from all before it.
        weights[:number, start : start + side] *= 1 - ramp
        weights[number, start : start + side] = ramp
    rows = [row[start : start + side] for row, start in zip(weights, starts, strict=True)]
    return np.stack(rows).astype(np.float32)


def apply_in_tiles(
    call: Callable[[jax.Array], jax.Array], x: jax.Array, side: int, overlap: int, sizes: tuple[int, int]
) -> jax.Array:
    """Compute call(x) of pictures x (…, H, W, I) from tiles of side x side units that share `overlap` units or more.

    Args:
      call: (…, h, w, I) -> (…, h', w', O).
      x: Pictures; one no larger than a tile is not cut.
      side: Of a tile, in units; 0: nothing is cut.
      overlap: Of neighbours, in units.
      sizes: Pixels along a side of one unit in x and in call(x): a latent is (1, 8) in decoding and (8, 1) in encoding.
    """
    unit_in, unit_out = sizes
    height = x.shape[-3] // unit_in
    width = x.shape[-2] // unit_in
    tile_height = min(side or height, height)
    tile_width = min(side or width, width)
    row_starts = tile_starts(height, tile_height, overlap)
    column_starts = tile_starts(width, tile_width, overlap)
    if len(row_starts) == len(column_starts) == 1:
        return call(x)

    row_ramps = jnp.asarray(blend_ramps(row_starts * unit_out, tile_height * unit_out))
    column_ramps = jnp.asarray(blend_ramps(column_starts * unit_out, tile_width * unit_out))
    tile_shape = (*x.shape[:-3], tile_height * unit_in, tile_width * unit_in, x.shape[-1])
    result = jax.eval_shape(call, jax.ShapeDtypeStruct(tile_shape, x.dtype))

    def step(canvas: jax.Array, tile: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        numbers, starts = tile  # of its row and its column of tiles; in units

        def corner(unit: int) -> tuple[int | jax.Array, ...]:
            return (*(0,) * (x.ndim - 3), starts[0] * unit, starts[1] * unit, 0)

        # The ramps of both axes multiply, and sums to 1 along each give a sum of 1 in the plane.
        weight = row_ramps[numbers[0]][:, None] * column_ramps[numbers[1]][None]
        weight = jnp.expand_dims(weight.astype(result.dtype)[..., None], range(len(result.shape) - 3))
        # Added to what is there: weights of all tiles of a pixel sum to 1.
        y = call(jax.lax.dynamic_slice(x, corner(unit_in), tile_shape)) * weight
        y = y + jax.lax.dynamic_slice(canvas, corner(unit_out), result.shape)
        return jax.lax.dynamic_update_slice(canvas, y, corner(unit_out)), None

    canvas_shape = (*result.shape[:-3], height * unit_out, width * unit_out, result.shape[-1])
    grid = np.meshgrid(np.arange(len(row_starts)), np.arange(len(column_starts)), indexing='ij')
    numbers = np.stack(grid, -1).reshape(-1, 2)
    starts = np.stack([row_starts[numbers[:, 0]], column_starts[numbers[:, 1]]], -1)
    # One program for all tiles, which holds one of them at a time.
    canvas, _ = jax.lax.scan(step, jnp.zeros(canvas_shape, result.dtype), (jnp.asarray(numbers), jnp.asarray(starts)))
    return canvas
