"""The device mesh: made in one place, with Auto axes, and how a host's batch becomes a global array on it."""

from dataclasses import dataclass

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vdm_jax.errors import UserError

AXES = ('data', 'fsdp', 'sequence', 'tensor')
BATCH = ('data', 'fsdp')  # the axes that the batch dimension is split over


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; one of them may be -1: all devices that the others leave."""

    data: int = -1
    fsdp: int = 1
    sequence: int = 1
    tensor: int = 1

    def __post_init__(self):
        sizes = [getattr(self, axis) for axis in AXES]
        if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
            raise UserError(f'config.mesh: sizes {sizes} of {AXES} must be 1 or more, and at most one of them -1')


def make_mesh(config: MeshConfig, devices=None) -> jax.sharding.Mesh:
    """The mesh over all devices (a mesh of one device is still a mesh).

    Raises:
      UserError: the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [getattr(config, axis) for axis in AXES]
    rest = 1
    for size in sizes:
        rest *= size if size != -1 else 1
    sizes = [len(devices) // rest if size == -1 else size for size in sizes]
    total = 1
    for size in sizes:
        total *= size
    if total != len(devices):
        shape = dict(zip(AXES, sizes, strict=True))
        raise UserError(
            f'config.mesh: {shape} takes {total} devices, found {len(devices)}; set one axis to -1 to fill up'
        )
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def batch_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
    """Leading dimension over (data, fsdp), everything else whole."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def check_batch(batch_size: int, mesh: jax.sharding.Mesh) -> None:
    """Raises UserError unless the global batch divides over the data and fsdp axes."""
    ways = mesh.shape['data'] * mesh.shape['fsdp']
    if batch_size % ways:
        raise UserError(
            f'config.train.batch_size={batch_size} does not divide over {ways} devices (mesh axes data x fsdp)'
        )


def to_global(batch: dict, mesh: jax.sharding.Mesh) -> dict:
    """This host's numpy batch, leaves (b, ...), as global arrays (B, ...) split over the batch axes."""
    sharding = batch_sharding(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, array) for name, array in batch.items()}
