"""What sources of feature networks share: the object that `load` returns, and batch norms that become convolutions."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from vdm_jax.evals.features.network import FeatureNetwork
from vdm_jax.pretrained.report import Report
from vdm_jax.pretrained.source import Source
from vdm_jax.pretrained.table import Conversion, export_tensors

EPSILON = 1e-3  # of the batch norms of I3D and InceptionV3


@dataclass(frozen=True)
class PretrainedFeatures:
    """A network of features with third-party weights.

    Attributes:
      source: The module that read them.
      config: The network.
      params: Its parameters.
      report: What became of the checkpoint.
    """

    source: Source = field(repr=False)
    config: FeatureNetwork
    params: dict[str, Any] = field(repr=False)
    report: Report

    def __call__(self, videos: ArrayLike) -> jax.Array:
        """Return the features (N, D) of videos (B, T, H, W, C), uint8 or floats in 0..255.

        Raises:
          UserError: as FeatureNetwork.outputs does.
        """
        features: jax.Array = jax.jit(self.config.apply)(self.params, jnp.asarray(videos))
        return features

    def export(self, params: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
        """Return parameters (its own by default) as the published tensors; batch norms have a variance of 1."""
        return export_tensors(self.source.rows(self.config), self.params if params is None else params)

    @staticmethod
    def init(config: FeatureNetwork) -> dict[str, Any]:
        """Return random parameters, always the same."""
        return config.init(jax.random.key(0))


def fold_kernel(conv: Conversion, has_scale: bool, stored_shape: tuple[int, ...] = (-1,)) -> Conversion:
    """Return the conversion of (weight, variance), or (weight, variance, scale), into the kernel of norm(conv(x)).

    Args:
      conv: Of the weight alone.
      has_scale: Whether the norm has one.
      stored_shape: Of the stored variance, -1 for the channels.
    """

    def to_ours(weight: np.ndarray, variance: np.ndarray, *scale: np.ndarray) -> np.ndarray:
        return np.asarray(conv.to_ours(weight) * _slope(variance, *scale), np.float32)

    def to_theirs(kernel: np.ndarray) -> tuple[np.ndarray, ...]:
        (weight,) = conv.to_theirs(kernel)
        return weight, *_unit_norm(kernel.shape[-1], has_scale, stored_shape)

    return Conversion(to_ours, to_theirs)


def fold_bias(has_scale: bool, stored_shape: tuple[int, ...] = (-1,)) -> Conversion:
    """Return the conversion of (bias, mean, variance), or (bias, mean, variance, scale), into the bias beside it."""

    def to_ours(bias: np.ndarray, mean: np.ndarray, variance: np.ndarray, *scale: np.ndarray) -> np.ndarray:
        shift = np.float64(bias) - mean.reshape(-1) * _slope(variance, *scale)
        return np.asarray(shift, np.float32)

    def to_theirs(bias: np.ndarray) -> tuple[np.ndarray, ...]:
        mean = np.zeros_like(bias).reshape(stored_shape)
        return bias, mean, *_unit_norm(len(bias), has_scale, stored_shape)

    return Conversion(to_ours, to_theirs)


def _slope(variance: np.ndarray, scale: np.ndarray | float = 1.0) -> np.ndarray:
    """Return what a norm multiplies each channel by, in float64."""
    return np.asarray(scale / np.sqrt(np.float64(variance.reshape(-1)) + EPSILON))


def _unit_norm(channels: int, has_scale: bool, stored_shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Return (variance), or (variance, scale), of a norm that changes nothing."""
    variance = np.full(channels, 1 - EPSILON, np.float32).reshape(stored_shape)
    return (variance, np.ones(channels, np.float32)) if has_scale else (variance,)


def infer_multiplier(channels: int, published: int) -> float:
    """Return the multiplier of a network whose first layer has so many channels.

    Raises:
      ValueError: it is wider than the published one, or no such network.
    """
    if not 1 <= channels <= published:
        raise ValueError(f'its first layer has {channels} channels: want {published}, as the published network has')
    return channels / published
