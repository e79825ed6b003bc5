"""Features of any number of clips, a batch at a time: memory does not grow with their number, but for the features."""

import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from vdm_jax.errors import UserError
from vdm_jax.evals.features.layers import Params
from vdm_jax.evals.features.network import FeatureNetwork
from vdm_jax.parallel.mesh import BATCH, local_rows, pad_rows, to_global
from vdm_jax.parallel.processes import to_host

LISTED = 8  # numbers of clips in a message


@dataclass(frozen=True)
class Extraction:
    """Features of clips, in their order.

    Attributes:
      features: float32 (N, D), a row for each clip; of a network of frames for each frame, clip by clip.
      probabilities: Of the network's classes, float32 (N, K); None where they were not wanted.
      num_clips: How many clips there were.
      frames: Of each clip.
      clips_sha256: Of the clips' shape and bytes, the same for any size of batches.
    """

    features: np.ndarray
    probabilities: np.ndarray | None
    num_clips: int
    frames: int
    clips_sha256: str


def extract_features(
    network: FeatureNetwork,
    params: Params,
    batches: Iterable[np.ndarray],
    batch_size: int = 8,
    with_probabilities: bool = False,
) -> Extraction:
    """Return the features of all clips of an iterator.

    Within a mesh (jax.set_mesh) the clips of a batch are split over its data axes. Where several processes run, all
    call this with the same clips, and get all features. At most two batches are in memory: the one that is computed,
    and the next one, which is read meanwhile.

    Args:
      network: Whose features.
      params: Its parameters.
      batches: uint8 arrays (B, T, H, W, C), of any B and of one clip shape; C is 3, or 1 for grey.
      batch_size: Clips that are computed at once, with all of their frames, rounded up to the devices of the mesh. The
        last batch is filled up, so that nothing compiles twice.
      with_probabilities: Whether to return the probabilities of the network's classes, too.

    Raises:
      UserError: batch_size is less than 1; there are no clips, they are of several shapes or not uint8, or the network
        does not take them; or features are not finite, as those of damaged weights.
    """
    if batch_size < 1:
        raise UserError(f'batch_size={batch_size}: want 1 or more clips at once')
    mesh = jax.sharding.get_mesh()
    size = batch_size if mesh.empty else pad_rows(batch_size, mesh)
    if not mesh.empty:
        params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
    clips = _ClipCounter(network)
    program = make_program(network, with_probabilities, None if mesh.empty else mesh)

    results: list[tuple[np.ndarray, ...]] = []
    pending: tuple[tuple[jax.Array, ...], int] | None = None
    for batch, count in _fill_batches(clips.check(batches), size):
        # The batch before is done before this one starts: two are in memory, and no more.
        if pending:
            results.append(_fetch(*pending))
        pending = program(params, _to_device(batch, mesh)), count * clips.rows
        del batch
    if pending is None:
        raise UserError(f'{network.name}: there are no clips to compute features of; want 1 or more')
    results.append(_fetch(*pending))

    features, *others = (np.concatenate(parts) for parts in zip(*results, strict=True))
    _check_finite(network.name, features, clips.rows)
    return Extraction(features, others[0] if others else None, clips.count, clips.shape[0], clips.hash.hexdigest())


class _ClipCounter:
    """Checks and counts the clips that go by.

    Attributes:
      count: Clips so far.
      shape: Of a clip, (T, H, W, C); () before the first.
      hash: Of their shape and bytes.
    """

    def __init__(self, network: FeatureNetwork):
        self._network = network
        self.count = 0
        self.shape: tuple[int, ...] = ()
        self.hash = hashlib.sha256()

    @property
    def rows(self) -> int:
        """Rows of features of each clip."""
        return self._network.rows_per_clip(self.shape[0])

    def check(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the batches that have clips.

        Raises:
          UserError: one is not uint8 (B, T, H, W, C), or its clips have another shape than those before.
        """
        for batch in batches:
            if not isinstance(batch, np.ndarray) or batch.dtype != np.uint8 or batch.ndim != 5:
                raise UserError(
                    f'{self._network.name}: want clips as uint8 (B, T, H, W, C) in 0..255; found '
                    f'{getattr(batch, "dtype", type(batch).__name__)} {np.shape(batch)}'
                )
            if not len(batch):
                continue
            if not self.shape:
                self._network.check_shape(batch.shape)
                self.shape = batch.shape[1:]
                self.hash.update(repr(self.shape).encode())
            elif batch.shape[1:] != self.shape:
                raise UserError(
                    f'{self._network.name}: clip {self.count} is {batch.shape[1:]} (T, H, W, C), those before are '
                    f'{self.shape}: want clips of one shape'
                )
            self.count += len(batch)
            self.hash.update(np.ascontiguousarray(batch).data)
            yield batch
            # Whoever made it may make the next one before this name is bound anew.
            del batch


def _fill_batches(batches: Iterable[np.ndarray], size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (batch of `size` clips, how many of them count), from batches of any size; the last one is filled up."""
    buffer: np.ndarray | None = None
    count = 0
    for batch in batches:
        if count == 0 and len(batch) == size:
            # Passed on as it is: a copy would be one more batch in memory.
            yield batch, size
            del batch
            continue
        start = 0
        while start < len(batch):
            if buffer is None:
                buffer = np.empty((size, *batch.shape[1:]), np.uint8)
            rows = min(size - count, len(batch) - start)
            buffer[count : count + rows] = batch[start : start + rows]
            start += rows
            count += rows
            if count == size:
                # A new buffer each time, as the device may still read this one.
                full = buffer
                buffer = None
                count = 0
                yield full, size
                del full
        del batch
    if buffer is not None:
        buffer[count:] = buffer[0]
        yield buffer, count


@functools.lru_cache(maxsize=8)
def make_program(
    network: FeatureNetwork, with_probabilities: bool, mesh: jax.sharding.Mesh | None
) -> jax.stages.Wrapped:
    """Return the jitted program of a network: (params, videos) -> (features,), or (features, probabilities).

    Args:
      network: What is computed.
      with_probabilities: Whether to return the probabilities of its classes, too.
      mesh: The devices, over which videos are split and params are not; None for one device.
    """

    def compute(params: Params, videos: jax.Array) -> tuple[jax.Array, ...]:
        outputs = network.outputs(params, videos)
        return (outputs.features, jax.nn.softmax(outputs.logits)) if with_probabilities else (outputs.features,)

    if mesh is None:
        return jax.jit(compute)
    # Each device runs the program of one device on its clips: the partitioner could only make it slower.
    return jax.jit(
        jax.shard_map(
            compute, mesh=mesh, in_specs=(PartitionSpec(), PartitionSpec(BATCH)), out_specs=PartitionSpec(BATCH)
        )
    )


def _to_device(batch: np.ndarray, mesh: jax.sharding.Mesh) -> jax.Array:
    if mesh.empty:
        return jnp.asarray(batch)
    rows = local_rows(len(batch), mesh)
    local = batch if len(rows) == len(batch) else batch[rows]
    return to_global({'videos': local}, mesh, len(batch))['videos']


def _fetch(arrays: tuple[jax.Array, ...], rows: int) -> tuple[np.ndarray, ...]:
    """Return the first `rows` rows of arrays on the host, on every process."""
    # A copy, as a view would keep the rows that only fill up.
    return tuple(np.array(to_host(array)[:rows], np.float32) for array in arrays)


def _check_finite(name: str, features: np.ndarray, rows_per_clip: int) -> None:
    bad_rows = np.flatnonzero(~np.isfinite(features).all(1))
    clips = np.unique(bad_rows // rows_per_clip)
    if len(clips):
        more = ' …' if len(clips) > LISTED else ''
        raise UserError(
            f'{name}: features of {len(clips)} of {len(features) // rows_per_clip} clips are not finite (clip '
            f'{", ".join(map(str, clips[:LISTED]))}{more}): its weights are damaged, or of another network'
        )
