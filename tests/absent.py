"""A machine that is not here: programs are traced for it, values are made outside of it."""

import jax
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from vdm_jax.parallel.mesh import AXES


def absent(platform, kind=None, **sizes):
    """The mesh of such devices as context, Auto as ours is: jax's own default changes with its versions."""
    device = AbstractDevice(device_kind=kind or platform, num_cores=1, platform=platform)
    shape = tuple(sizes.get(axis, 1) for axis in AXES)
    types = (AxisType.Auto,) * len(AXES)
    return jax.sharding.use_abstract_mesh(AbstractMesh(shape, AXES, axis_types=types, abstract_device=device))
