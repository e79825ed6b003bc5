"""Where a token stands: fixed sin-cos embeddings and axial rotary embeddings, computed from the clip's shape.

Nothing here is a parameter, so a network runs on more frames or more pixels than it was trained with.
"""

import numpy as np


def sincos(positions, width: int, max_period: float = 10_000.0) -> np.ndarray:
    """Sin-cos embedding of 1-D positions: (P,) -> (P, width), sines first (Vaswani et al. 2017, as in MAE and DiT)."""
    frequencies = max_period ** (-np.arange(width // 2, dtype=np.float64) / (width / 2))
    angles = np.asarray(positions, np.float64)[:, None] * frequencies[None]
    return np.concatenate([np.sin(angles), np.cos(angles)], -1).astype(np.float32)


def sincos_space(rows: int, columns: int, width: int) -> np.ndarray:
    """Sin-cos embedding of a grid of patches: (rows * columns, width).

    The first half of the width codes the column and the second the row, as the official DiT and Latte do.

    Raises:
      ValueError: width is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f'sin-cos positions need a width that is a multiple of 4, found {width}')
    row, column = (grid.ravel() for grid in np.meshgrid(np.arange(rows), np.arange(columns), indexing='ij'))
    return np.concatenate([sincos(column, width // 2), sincos(row, width // 2)], -1)


def rope(coordinates, dims, base: float = 10_000.0) -> np.ndarray:
    """Axial rotary angles (Su et al. 2021): each axis turns its own share of a head's dimensions.

    Args:
      coordinates: one array (P,) of positions per axis.
      dims: head dimensions given to each axis, even numbers that add up to the head dimension E.

    Returns:
      (P, E / 2) angles in radians, float32.
    """
    angles = []
    for position, dim in zip(coordinates, dims, strict=True):
        frequencies = base ** (-np.arange(0, dim, 2, dtype=np.float64) / max(dim, 1))
        angles.append(np.asarray(position, np.float64)[:, None] * frequencies[None])
    return np.concatenate(angles, -1).astype(np.float32)


def split_head(head_dim: int, axes: int) -> tuple[int, ...]:
    """Share a head's dimensions among axes in even numbers; what is left over goes to the first axis (time)."""
    share = head_dim // axes // 2 * 2
    return (head_dim - share * (axes - 1),) + (share,) * (axes - 1)
