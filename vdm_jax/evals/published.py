"""Published protocols by name: nothing of what they hang on can be set, so that a name says what was measured.

    fvd2048_16f_styleganv     FVD of StyleGAN-V (Skorokhodov et al. 2022, arXiv:2112.14683) and those with its code
    fvd2048_16f_tf            the original FVD (Unterthiner et al. 2018, arXiv:1812.01717), as its own code has it
    fvd2048_128f_subsample8f  StyleGAN-V's of every eighth frame of 128
    kvd2048_16f               the kernel distance of the same features (TATS, Ge et al. 2022, arXiv:2204.03638)
    bair_100x256              BAIR: one frame given, 15 sampled, 100 samples of each of 256 clips, all beside the 256
    k600_50k                  Kinetics-600: 5 frames given, 11 sampled, 50,000 samples against 50,000 clips
    is_ucf_10k                inception score of UCF-101 by C3D, 10,000 samples in 10 splits (TGANv2)
    fid50k_frames             FID of 50,000 frames, 16 of each video, against as many of training clips
    openstl_mmnist            OpenSTL's Moving MNIST, 10 frames given and 10 predicted, 10,000 clips
    mcvd_100x256              MCVD (Voleti et al. 2022, arXiv:2205.09853): 100 samples of each of 256 clips; FVD is the
                              mean over 100 sets, SSIM, PSNR and LPIPS are of the best sample of each clip

Where a paper's code leaves open which real clips are taken, seed 0 chooses them here, and a score has their hash.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, ClassVar

from vdm_jax.config.ranges import Between
from vdm_jax.data.source import Reader
from vdm_jax.data.worlds.moving_mnist import MovingMNIST
from vdm_jax.errors import UserError
from vdm_jax.evals.feature_distance.protocol import FeatureProtocol
from vdm_jax.evals.feature_distance.settings import DistanceSettings
from vdm_jax.evals.features.opened import OpenWeights, no_weights
from vdm_jax.evals.frame_prediction import FramePrediction
from vdm_jax.evals.judge import Judge
from vdm_jax.evals.protocol import EvaluateConfig, Protocol, SampleSetJudge
from vdm_jax.nn.config import NetworkConfig

CLIPS_OF_OPENSTL = 10_000
OF_OPENSTL = "it scores 10,000 test clips of Moving MNIST made of MNIST's own test digits alone"


@dataclass(frozen=True)
class PublishedDistance(FeatureProtocol):
    """A published distance.

    name: What scores are called.
    published: What it hangs on.
    """

    name: ClassVar[str]
    published: ClassVar[DistanceSettings]

    @property
    def settings(self) -> DistanceSettings:
        """As published."""
        return self.published

    @property
    def title(self) -> str:
        """The protocol's own name."""
        return self.name


class FVD2048StyleGANV(PublishedDistance):
    """FVD of 2,048 videos of 16 frames against training clips at random frames, as StyleGAN-V computes it."""

    name = 'fvd2048_16f_styleganv'
    published = DistanceSettings(
        videos=2048, real=2048, frames=16, split='train', clips='random', resize='half_pixel', divisor='n'
    )


class FVD2048TF(PublishedDistance):
    """FVD of 2,048 videos of 16 frames against training clips at random frames, with its original resize."""

    name = 'fvd2048_16f_tf'
    published = DistanceSettings(
        videos=2048, real=2048, frames=16, split='train', clips='random', resize='tf_legacy', root='tfgan'
    )


class FVD2048Subsample(PublishedDistance):
    """StyleGAN-V's FVD of every eighth frame of 128, 2,048 videos."""

    name = 'fvd2048_128f_subsample8f'
    published = DistanceSettings(
        videos=2048, real=2048, frames=16, stride=8, split='train', clips='random', resize='half_pixel', divisor='n'
    )


class KVD2048(PublishedDistance):
    """KVD of 2,048 videos of 16 frames against training clips at random frames."""

    name = 'kvd2048_16f'
    published = DistanceSettings(
        distances=('kvd',), videos=2048, real=2048, frames=16, split='train', clips='random', resize='half_pixel'
    )


class BAIR100x256(PublishedDistance):
    """FVD of BAIR: 100 samples of 15 frames after one, of each of 256 test clips, against these clips."""

    name = 'bair_100x256'
    published = DistanceSettings(real=256, frames=16, context=1, per_clip=100, resize='tf_legacy')


class K60050K(PublishedDistance):
    """FVD of Kinetics-600: 11 frames after 5, of each of 50,000 test clips, against these clips."""

    name = 'k600_50k'
    published = DistanceSettings(real=50_000, frames=16, context=5, resize='tf_legacy')


class ISUCF10K(PublishedDistance):
    """Inception score of 10,000 videos of 16 frames by C3D of UCF-101, mean and deviation of 10 splits."""

    name = 'is_ucf_10k'
    published = DistanceSettings(
        features='c3d',
        distances=('inception_score',),
        videos=10_000,
        real=2048,
        frames=16,
        split='train',
        clips='random',
    )


class FID50KFrames(PublishedDistance):
    """FID of 50,000 frames: those of 3,125 videos of 16 frames against those of as many training clips."""

    name = 'fid50k_frames'
    published = DistanceSettings(features='inception', videos=3125, real=3125, frames=16, split='train', clips='random')


@dataclass(frozen=True)
class MCVD100x256(FeatureProtocol):
    """MCVD's: 100 samples of each of 256 test clips, FVD by set of 256, SSIM and PSNR of the best sample.

    Attributes:
      context: Frames that are given, which differ by data set; all others of a clip are sampled.
      lpips: LPIPS's weights, for that of the best sample too: a name that `python -m vdm_jax weights` lists, or a file.
    """

    context: Annotated[int, Between(1, 2**16)] = 5
    lpips: str | None = None

    @property
    def lpips_weights(self) -> str | None:
        """Those that are named."""
        return self.lpips

    @property
    def settings(self) -> DistanceSettings:
        """As published."""
        return DistanceSettings(
            real=256, context=self.context, per_clip=100, by_trajectory=True, pixels=True, resize='half_pixel'
        )

    @property
    def title(self) -> str:
        """The protocol's own name."""
        return 'mcvd_100x256'


@dataclass(frozen=True)
class OpenSTLMovingMNIST(Protocol):
    """OpenSTL's of Moving MNIST: MSE, MAE, SSIM and PSNR of one prediction of 10 frames after 10, of 10,000 clips."""

    samples_row: ClassVar = FramePrediction.samples_row
    published: ClassVar = FramePrediction(context=10, per_clip=1)

    @property
    def figures(self) -> tuple[str, ...]:
        """Those of frames."""
        return self.published.figures

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Better than each floor."""
        return self.published.verdicts

    def refusal(self, reader: Reader, network: NetworkConfig) -> str | None:
        """Return that the clips are not those of OpenSTL."""
        if reason := super().refusal(reader, network):
            return reason
        # Which digits there are only a reader knows that has looked at the files: open_judge says so.
        fits = isinstance(reader.source, MovingMNIST) and reader.source.test_size >= CLIPS_OF_OPENSTL
        return None if fits else OF_OPENSTL

    def open_judge(
        self, reader: Reader, held_out: Reader, config: EvaluateConfig, open_weights: OpenWeights = no_weights
    ) -> Judge:
        """Return what collects the samples, and has them scored.

        Raises:
          UserError: The digits are others.
        """
        del open_weights
        if held_out.title != 'openstl_mmnist':
            raise UserError(f'--protocol=openstl_mmnist: {OF_OPENSTL}; found {held_out.title}')
        return SampleSetJudge(self.published, reader, held_out, dataclasses.replace(config, real=CLIPS_OF_OPENSTL))


PUBLISHED: dict[str, type[Protocol]] = {
    'fvd2048_16f_styleganv': FVD2048StyleGANV,
    'fvd2048_16f_tf': FVD2048TF,
    'fvd2048_128f_subsample8f': FVD2048Subsample,
    'kvd2048_16f': KVD2048,
    'bair_100x256': BAIR100x256,
    'k600_50k': K60050K,
    'is_ucf_10k': ISUCF10K,
    'fid50k_frames': FID50KFrames,
    'openstl_mmnist': OpenSTLMovingMNIST,
    'mcvd_100x256': MCVD100x256,
}
