"""The networks of features by their names."""

from vdm_jax.evals.features.c3d import C3D
from vdm_jax.evals.features.i3d import I3D
from vdm_jax.evals.features.inception import InceptionFID
from vdm_jax.evals.features.network import FeatureNetwork

NETWORKS: dict[str, type[FeatureNetwork]] = {network.name: network for network in (I3D, InceptionFID, C3D)}
