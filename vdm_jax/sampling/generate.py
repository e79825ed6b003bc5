"""One video for each row of conditions, a batch at a time."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.errors import NotFinite
from vdm_jax.parallel.mesh import local_rows, pad_rows, to_global
from vdm_jax.parallel.processes import to_host
from vdm_jax.prng import stream_key

Rows = dict[str, Any]  # arrays or lists of one row a video, by name


class VideoBatch(NamedTuple):
    """Videos that were made together.

    Attributes:
      numbers: Which of all videos these are, ascending, (n,).
      videos: uint8 (n, T, H, W, C).
      finite: Whether each is; one that is not shows nothing, bool (n,).
    """

    numbers: np.ndarray
    videos: np.ndarray
    finite: np.ndarray


def generate_batches(
    generate: Callable[..., Any],
    params: Any,
    conditions_of: Callable[[np.ndarray], Rows],
    count: int,
    seed: int,
    batch_size: int = 16,
    first: int = 0,
) -> Iterator[VideoBatch]:
    """Yield the videos of `generate_videos` a batch at a time, in order: memory does not grow with their number.

    Args:
      generate: `Run.generate`.
      params: Of the network.
      conditions_of: rows (n,) of 0 to `count` - 1 -> arrays of these rows, for those that this process makes.
      count: How many videos.
      seed: Of the noise.
      batch_size: Videos that are made at once at most.
      first: The first of the videos that are made.
    """
    mesh = jax.sharding.get_mesh()
    size = rows_of_batch(count, batch_size, mesh)
    local = np.arange(size) if mesh.empty else local_rows(size, mesh)

    def key_of(number: jax.Array) -> jax.Array:
        # By the video's number, so that a video depends neither on its batch nor on how many there are.
        return jax.random.fold_in(stream_key(seed, 'samples'), number)

    # The last batch has the same shape as the others, so that nothing compiles again: its rows begin anew.
    for start in range(first, count, size):
        numbers = start + local
        # Typed keys are no numpy arrays: their bits travel to the devices like any row, and are wrapped again there.
        keys = np.asarray(jax.random.key_data(jax.vmap(key_of)(jnp.asarray(numbers))))
        batch = conditions_of(numbers % count) | {'key': keys}

        batch = jax.tree.map(jnp.asarray, batch) if mesh.empty else to_global(batch, mesh, size)
        keys = jax.random.wrap_key_data(batch.pop('key'))
        videos, finite = map(to_host, generate(params, batch, keys))

        stop = min(start + size, count)
        yield VideoBatch(np.arange(start, stop), videos[: stop - start], finite[: stop - start])


def rows_of_batch(count: int, batch_size: int, mesh: jax.sharding.Mesh) -> int:
    """Return the rows of each batch of `count` videos.

    They are `batch_size` at most, no more than are needed for as many batches, and rounded up to the devices of the
    mesh alone.
    """
    # Even batches: 17 videos, at most 16 at once, are 9 and 9. Two batches of 16 would compute 15 rows for nothing.
    batches = -(-count // batch_size)
    rows = -(-count // batches)
    return rows if mesh.empty else pad_rows(rows, mesh)


def generate_videos(
    generate: Callable[..., Any], params: Any, conditions: Rows, seed: int, batch_size: int = 16
) -> np.ndarray:
    """Return one video for each row of the conditions: uint8 (N, T, H, W, C) on the host.

    Within a mesh a batch is split over its devices, and filled up to a multiple of them; where several processes run,
    all call this with the same, and get all videos.

    Args:
      generate: `Run.generate`.
      params: Of the network.
      conditions: Arrays or lists of N rows, such as {'label': [0, 1, 2]}.
      seed: Video i is drawn from the seed's key of samples and i: it does not depend on batch_size or on N.
      batch_size: Videos that are made at once at most.

    Raises:
      NotFinite: Some have numbers that are not; its `numbers` says which.
    """
    arrays = {name: np.asarray(value) for name, value in conditions.items()}
    (count,) = {len(value) for value in arrays.values()}

    def take_rows(rows: np.ndarray) -> Rows:
        return {name: value[rows] for name, value in arrays.items()}

    batches = generate_batches(generate, params, take_rows, count, seed, batch_size)
    return np.concatenate(list(take_videos(batches, count)))


def take_videos(batches: Iterable[VideoBatch], count: int) -> Iterator[np.ndarray]:
    """Yield the videos of batches, uint8 (n, T, H, W, C) each, as long as all are finite.

    Args:
      batches: Of `generate_batches`.
      count: How many videos there are to be in all.

    Raises:
      NotFinite: Some have numbers that are not; its `numbers` says which of all.
    """
    not_finite: list[int] = []
    for batch in batches:
        not_finite += batch.numbers[~batch.finite].tolist()
        # The others are made all the same: whoever looks for the reason wants to know how many there are.
        if not not_finite:
            yield batch.videos
    if not_finite:
        raise NotFinite(not_finite, count)
