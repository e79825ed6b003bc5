"""What a distance between samples and real clips hangs on: all that a protocol has to say, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from vdm_jax.config.ranges import BatchSize, Between, Distinct, NotEmpty, OneOf, Ranged, Seed, Stride
from vdm_jax.errors import UserError
from vdm_jax.evals.distances.frechet import Root
from vdm_jax.evals.distances.moments import Divisor
from vdm_jax.evals.distances.table import DISTANCES, Distance, Frechet, InceptionScore
from vdm_jax.evals.features.i3d import I3D
from vdm_jax.evals.features.network import FeatureNetwork
from vdm_jax.evals.features.resize import Resize
from vdm_jax.evals.features.table import NETWORKS

KEY = 'config.evaluate.protocol'
DistanceName = Annotated[str, OneOf(DISTANCES)]


@dataclass(frozen=True)
class DistanceSettings(Ranged, where=KEY):
    """Which clips are compared, by which features, and how.

    Attributes:
      features: The network: i3d (FVD, KVD), inception (of frames, FID), c3d (inception score of UCF-101).
      distances: What is computed of the features.
      resize: How I3D's frames become 224 pixels wide: as in the original FVD (tf_legacy) or its PyTorch ports
        (half_pixel).
      divisor: Of covariances: n-1, or n as StyleGAN-V has it.
      root: Of the product of covariances: exact, or tfgan's, which leaves eigenvalues below 1e-10 without one.
      videos: How many are sampled; None: config.evaluate.samples.
      real: How many real clips there are; None: config.evaluate.real, at most as many as there are.
      frames: Of a clip, the first ones; None: all of them.
      stride: Every so many-th frame of a clip counts.
      split: Whether real clips are of training or held out.
      clips: Whether real clips are those of evaluation (fixed) or begin at a random frame.
      context: How many frames of held-out clips are given, and stand at the beginning of both sets.
      per_clip: Samples of each of these clips.
      by_trajectory: Whether the distance is the mean over `per_clip` sets, each with one sample of every clip.
      pixels: Whether the best of the samples of a clip is also held against its truth, in SSIM, PSNR and squared error.
      seed: Of the choice of real clips, their first frames, and the controls.
    """

    features: Annotated[str, OneOf(NETWORKS)] = 'i3d'
    distances: Annotated[tuple[DistanceName, ...], NotEmpty(), Distinct()] = ('frechet',)
    resize: Resize = 'half_pixel'
    divisor: Divisor = 'n-1'
    root: Root = 'exact'
    videos: BatchSize | None = None
    real: BatchSize | None = None
    frames: Annotated[int, Between(1, 2**16)] | None = None
    stride: Stride = 1
    split: Literal['train', 'test'] = 'test'
    clips: Literal['fixed', 'random'] = 'fixed'
    context: Annotated[int, Between(0, 2**16)] = 0
    per_clip: Annotated[int, Between(1, 1000)] = 1
    by_trajectory: bool = False
    pixels: bool = False
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.context and (self.per_clip > 1 or self.by_trajectory or self.pixels):
            raise UserError(f'{KEY}.context=0: several samples of a clip, and its truth, want context frames of it')
        if self.context and (self.stride > 1 or self.clips == 'random'):
            other = f'stride={self.stride}' if self.stride > 1 else 'clips=random'
            raise UserError(f'{KEY}.{other}: where {KEY}.context is not 0 want stride=1 and clips=fixed')
        if self.frames is not None and self.frames <= self.context:
            raise UserError(f'{KEY}.frames={self.frames}: want more than the {self.context} of {KEY}.context')

    @property
    def network(self) -> FeatureNetwork:
        """The network, without weights."""
        if self.features == I3D.name:
            return I3D(resize=self.resize)
        return NETWORKS[self.features]()

    def make_distances(self) -> dict[str, Distance]:
        """Return the distances by their names."""
        distances: dict[str, Distance] = {}
        for name in self.distances:
            if name == 'frechet':
                distances[name] = Frechet(self.divisor, self.root)
            elif name == 'inception_score':
                # Of probabilities, which a network of features gives beside them.
                distances[name] = InceptionScore(values='probabilities')
            else:
                distances[name] = DISTANCES[name]()
        return distances

    @property
    def wants_probabilities(self) -> bool:
        """Whether a distance is of the classes that the network sees."""
        return any(not distance.needs_real for distance in self.make_distances().values())

    @property
    def span(self) -> int:
        """Frames of a sample from the first that counts to after the last; 0 where all count."""
        return (self.frames - 1) * self.stride + 1 if self.frames else 0
