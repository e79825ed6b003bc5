"""All that can be judged of physics and of time."""

from dataclasses import dataclass
from typing import ClassVar

from vdm_jax.evals.protocol import Suite


@dataclass(frozen=True)
class PhysicsSuite(Suite):
    """The world's own protocol, Physics-IQ where there are context frames, and the temporal figures of any video."""

    members: ClassVar[tuple[str, ...]] = (
        'ball_physics',
        'collision_physics',
        'shadow_physics',
        'pan_physics',
        'phyworld_velocity_error',
        'physics_iq',
        'temporal',
    )
