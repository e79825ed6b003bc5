"""The device mesh: made in one place, with Auto axes, and how a host's batch becomes a global array on it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vdm_jax.config.ranges import Between, Ranged
from vdm_jax.errors import UserError

AXES = ('slices', 'data', 'fsdp', 'sequence', 'tensor')  # slowest network first
BATCH = ('slices', 'data', 'fsdp')  # the axes that the batch dimension is split over
Ways = Literal[-1] | Annotated[int, Between(1, 2**20)]


@dataclass(frozen=True)
class MeshConfig(Ranged, where='config.mesh'):
    """Devices along each mesh axis; one of them may be -1: all devices that the others leave.

    Attributes:
      slices: Copies of the rest of the mesh, joined by the slower network (several TPU slices, GPU nodes).
      data: Splits the batch, as slices does, and replicates parameters.
      fsdp: Splits the batch and the parameters.
      sequence: Splits a clip's frames or tokens.
      tensor: Splits heads and hidden units.
    """

    slices: Ways = 1
    data: Ways = -1
    fsdp: Ways = 1
    sequence: Ways = 1
    tensor: Ways = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = [getattr(self, axis) for axis in AXES]
        if sizes.count(-1) > 1:
            raise UserError(f'config.mesh: sizes {sizes} of {AXES}: at most one of them may be -1')

    def sizes(self, devices: int) -> tuple[int, ...]:
        """Return the devices along each axis of AXES, for so many in all.

        Raises:
          UserError: the sizes do not multiply to the number of devices.
        """
        wanted: list[int] = [getattr(self, axis) for axis in AXES]
        rest = math.prod(size for size in wanted if size != -1)
        sizes = tuple(devices // rest if size == -1 else size for size in wanted)
        if math.prod(sizes) != devices:
            not_one = {axis: size for axis, size in zip(AXES, wanted, strict=True) if size != 1}
            raise UserError(
                f'config.mesh: {not_one} does not make up the {devices} devices found; {self._nearest(devices)}'
            )
        return sizes

    def _nearest(self, devices: int) -> str:
        """Name the mesh with one axis changed least that takes so many devices."""
        sizes: dict[str, int] = {axis: getattr(self, axis) for axis in AXES}
        candidates = []
        for axis, size in sizes.items():
            if size == -1:
                continue
            rest = math.prod(other for name, other in sizes.items() if name != axis and other != -1)
            for other in range(1, devices + 1):
                fills = -1 in sizes.values() and devices % (rest * other) == 0
                if fills or rest * other == devices:
                    # Rather an axis that was set than one left at 1, then the least change, where half is as near as
                    # double.
                    candidates.append((size == 1, abs(math.log(other / size)), other, axis))
        if not candidates:
            return 'set one axis to -1 to fill up'
        *_, other, axis = min(candidates)
        return f'the nearest mesh that works: --config.mesh.{axis}={other}'


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
    """Make the mesh over all devices (a mesh of one device is still a mesh), axes laid along the faster networks.

    Raises:
      UserError: the sizes do not multiply to the number of devices, or slices is not what the devices say.
    """
    devices = jax.devices() if devices is None else devices
    sizes = config.sizes(len(devices))
    # Only TPUs say which slice they are of.
    count = len({getattr(device, 'slice_index', None) for device in devices})
    if count not in (1, sizes[0]):
        raise UserError(f'config.mesh.slices={sizes[0]}: the devices lie in {count} slices; set it to that')

    # jax takes the last axes for those that communicate most. Slices are laid out one by one, so that no axis but
    # `slices` crosses the network between them.
    if sizes[0] == 1:
        device_grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    else:
        slice_grids = [
            mesh_utils.create_device_mesh(sizes[1:], part, allow_split_physical_axes=True)
            for part in slices_of(devices, sizes[0])
        ]
        device_grid = np.stack(slice_grids)
    # Auto is said, as jax's own default is Explicit in some places: operations would then have to say how each result
    # is split.
    return jax.sharding.Mesh(device_grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def slices_of(devices: Sequence[jax.Device], count: int) -> list[list[jax.Device]]:
    """List the devices of each of `count` slices: by their own index (TPU slices), else by host, or in equal runs."""
    for attribute in ('slice_index', 'process_index'):

        def index_of(device: jax.Device) -> int:
            return getattr(device, attribute, None) or 0  # noqa: B023, used at once

        indices = sorted(set(map(index_of, devices)))
        groups = [[device for device in devices if index_of(device) == index] for index in indices]
        if len(groups) == count and len({len(group) for group in groups}) == 1:
            return groups
    size = len(devices) // count
    return [list(devices[i : i + size]) for i in range(0, len(devices), size)]


def platform() -> str:
    """Return 'cpu', 'gpu' (NVIDIA's), 'rocm' or 'tpu': of the mesh in context, else of jax's own devices."""
    # `plan` compiles for machines that are not there: the mesh in context then says for which.
    device = jax.sharding.get_abstract_mesh().abstract_device or jax.devices()[0]
    if device.platform in ('gpu', 'cuda'):
        return 'rocm' if device.device_kind.startswith(('AMD', 'Radeon')) else 'gpu'
    return str(device.platform)


def device_kind() -> str:
    """Return jax's name of those devices, such as 'NVIDIA H200'."""
    return str((jax.sharding.get_abstract_mesh().abstract_device or jax.devices()[0]).device_kind)


def batch_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
    """Return the sharding of a batch: the leading dimension over the batch axes, everything else whole."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def batch_parts(mesh: jax.sharding.Mesh) -> int:
    """Count the parts that a batch is split into."""
    return math.prod(mesh.shape[axis] for axis in BATCH)


def pad_rows(batch_size: int, mesh: jax.sharding.Mesh, parts: int = 1) -> int:
    """Return batch_size, filled up so that every device of the mesh has as many rows in each of `parts`."""
    step = batch_parts(mesh) * parts
    return -(-batch_size // step) * step


def local_rows(size: int, mesh: jax.sharding.Mesh) -> np.ndarray:
    """Return which of the `size` rows of a global batch lie on this process's devices, ascending.

    They need not be one run of rows, and other processes may hold the same ones (where an axis that splits no batch
    crosses processes).
    """
    # jax itself is asked: which rows a device has depends on how the mesh was laid out.
    slices = batch_sharding(mesh).addressable_devices_indices_map((size,)).values()
    return np.unique(np.concatenate([np.arange(size)[index] for index in slices]))


def to_global(
    batch: Mapping[str, np.ndarray], mesh: jax.sharding.Mesh, size: int | None = None
) -> dict[str, jax.Array]:
    """Make global arrays (size, ...) of this process's numpy batch, its `local_rows` of `size` rows (all of them)."""
    sharding = batch_sharding(mesh)
    size = len(next(iter(batch.values()))) if size is None else size
    rows = local_rows(size, mesh)

    def to_global_array(array: np.ndarray) -> jax.Array:
        def read_part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            start, stop, _ = index[0].indices(size)
            # A device's rows are one run of the batch, and one run of this process's rows, which are ascending.
            first, last = np.searchsorted(rows, (start, stop))
            return array[first:last]

        return jax.make_array_from_callback((size, *array.shape[1:]), sharding, read_part)

    return {name: to_global_array(array) for name, array in batch.items()}
