"""What judges the samples of a run on its devices, as shapes alone: no weights are read, and no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from vdm_jax.errors import UserError
from vdm_jax.evals.features.extract import make_program
from vdm_jax.evals.features.network import FeatureProgram
from vdm_jax.nn.flop_count import count_flops

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run


@dataclass(frozen=True)
class SampleFeatures:
    """The features of samples.

    Attributes:
      wanted: Of which network.
      clip_shape: What it looks at of each sample, (T, H, W, C).
      mesh: The devices.
    """

    wanted: FeatureProgram
    clip_shape: tuple[int, ...]
    mesh: jax.sharding.Mesh

    @property
    def title(self) -> str:
        """'i3d of 16 frames'."""
        return f'{self.wanted.network.name} of {self.wanted.frames} frames'

    @property
    def program(self) -> jax.stages.Wrapped:
        """(params, videos uint8 (B, *clip_shape)) -> features, as evaluation runs it."""
        return make_program(self.wanted.network, self.wanted.with_probabilities, self.mesh)

    @property
    def abstract_params(self) -> Any:
        """Shapes of the network's parameters, all of them on every device."""
        replicated = NamedSharding(self.mesh, PartitionSpec())

        def replicate(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated)

        return jax.tree.map(replicate, self.wanted.network.abstract_params())

    @property
    def flops(self) -> float:
        """Floating-point operations for one sample."""
        network = self.wanted.network
        one_clip = jax.ShapeDtypeStruct((1, *self.clip_shape), np.uint8)
        return count_flops(network.apply, network.abstract_params(), one_clip)


def sample_features(run: Run) -> SampleFeatures | None:
    """Return the features that the run's protocol computes of samples; None where it judges without.

    Raises:
      UserError: The samples are shorter than the protocol wants, or of a shape that its network does not take.
    """
    # Nothing is sampled from an autoencoder.
    if run.model_config.autoencodes:
        return None
    frames, *pixels = run.data.source.shape
    wanted = run.experiment.evaluate.protocol.feature_program(frames)
    if wanted is None:
        return None

    clip_shape = (wanted.frames, *pixels)
    try:
        wanted.network.check_shape((1, *clip_shape))
    except UserError as error:
        raise UserError(f'config.evaluate.protocol: {error}') from None
    return SampleFeatures(wanted, clip_shape, run.mesh)
