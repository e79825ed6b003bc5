"""What every protocol answers: which samples it wants, whose it can score, and how good they are.

A score is nothing without its protocol: each one writes its settings beside its figures, and its name carries the
number of samples and frames.

The samples that a protocol wants are described by their conditions, arrays with a row for every video: 'label'
int32 (N,) always; 'frames' uint8 (N, k, H, W, C), the context frames, where the first k frames are known and the others
are to be predicted; 'text' and 'text_mask' of the same clips, where those have a text.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from vdm_jax.config.ranges import BatchSize, Ranged, Seed
from vdm_jax.data.clip_batches import batch_of, videos_of
from vdm_jax.data.source import Reader
from vdm_jax.diffusion.guidance import Guidance
from vdm_jax.diffusion.samplers import Sampler
from vdm_jax.evals.features.network import FeatureProgram
from vdm_jax.evals.features.opened import OpenWeights, no_weights
from vdm_jax.evals.judge import Judge, Rows
from vdm_jax.evals.score import Score
from vdm_jax.nn.config import NetworkConfig

TEXT = ('text', 'text_mask')
OF_AUTOENCODERS = 'an autoencoder is scored by reconstruction, and nothing else is'


class VideoCut(NamedTuple):
    """How videos are cut into clips.

    Attributes:
      frames: Of a clip.
      which: The first clip of each video, or all that follow one another.
    """

    frames: int
    which: Literal['first', 'all']


@dataclass(frozen=True)
class ProtocolConfig(Ranged, where='config.evaluate.protocol'):
    """What config.evaluate.protocol names: a protocol, or the usual one of the source."""

    def feature_program(self, frames: int) -> FeatureProgram | None:
        """Return what it runs on the devices for samples of so many frames; None: it judges on the host alone.

        Usual protocols do, so that which one is usual need not be known.

        Raises:
          UserError: The samples are shorter than it wants.
        """
        del frames
        return None


@dataclass(frozen=True)
class UsualProtocol(ProtocolConfig):
    """The usual protocol of the source, whichever that is: evals/select.py puts it in the place of this one."""


@dataclass(frozen=True)
class Suite(ProtocolConfig):
    """Several protocols by their names: of these all that fit a run score its samples, one after the other.

    members: Names of the protocols.
    """

    members: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Protocol(ProtocolConfig):
    """One way of scoring samples: a frozen dataclass whose fields are its own parameters.

    usual_sources: The very classes of data whose samples it usually scores; a subclass is another world.
    samples_row: The row of a score whose figures are those of the samples, which training logs.
    """

    usual_sources: ClassVar[tuple[type, ...]] = ()
    samples_row: ClassVar[str] = 'samples'

    @property
    @abstractmethod
    def figures(self) -> tuple[str, ...]:
        """Names of all figures that the samples' row of a score may have, from whatever samples."""

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Names of all verdicts of a score; none where the protocol has no bar."""
        return ()

    def cut_videos(self) -> 'VideoCut | None':
        """Return how anybody's videos are cut into clips for it; None: it scores samples of a run alone."""
        return None

    def count_videos(self, config: 'EvaluateConfig', num_real: int) -> int:
        """Return how many videos of anybody it wants, beside so many real ones."""
        del num_real
        return config.samples

    def count_real(self, config: 'EvaluateConfig', there: int) -> int:
        """Return how many real clips it takes, of so many."""
        return min(config.real, there)

    @abstractmethod
    def open_judge(
        self, reader: Reader, held_out: Reader, config: 'EvaluateConfig', open_weights: OpenWeights = no_weights
    ) -> Judge:
        """Return the protocol at work; all processes call it.

        Args:
          reader: The data that the network was trained on.
          held_out: Its test split, the same reader where it has none.
          config: How many samples of how many clips.
          open_weights: Opens networks that judge, of those who published them.
        """

    def refusal(self, reader: Reader, network: NetworkConfig) -> str | None:
        """Return why it cannot score samples of such a network on such data; None where it can."""
        return OF_AUTOENCODERS if network.autoencodes else None

    def for_context(self, frames: int) -> 'Protocol | None':
        """Return the same for a network with so many context frames; None where it wants some and there are none."""
        del frames
        return self

    def lack(self, reader: Reader) -> str | None:
        """Return what clips of a usual source lack for this to be their usual protocol; None where nothing."""
        return None

    def is_usual_for(self, reader: Reader, network: NetworkConfig) -> bool:
        """Return whether it is the protocol of such samples where none is named."""
        # The very class, as a subclass is another world with a protocol of its own.
        is_usual = type(reader.source) in self.usual_sources and self.lack(reader) is None
        return is_usual and self.refusal(reader, network) is None


@dataclass(frozen=True)
class SampleSetProtocol(Protocol):
    """A protocol that looks at all samples at once, for which they have to be in memory."""

    @abstractmethod
    def make_conditions(self, reader: Reader, held_out: Reader, config: 'EvaluateConfig') -> dict[str, np.ndarray]:
        """Return the conditions of every video that is to be sampled.

        Args:
          reader: The data that the network was trained on.
          held_out: Its test split, the same reader where it has none.
          config: How many samples of how many clips.
        """

    @abstractmethod
    def score(
        self,
        videos: np.ndarray,
        conditions: dict[str, np.ndarray],
        reader: Reader,
        held_out: Reader,
        config: 'EvaluateConfig',
    ) -> Score:
        """Return the score of samples, with what belongs to the protocol in its settings.

        Args:
          videos: uint8 (N, T, H, W, C), context frames too, in the order of `conditions`.
          conditions: As `make_conditions` returned them.
          reader: The data that the network was trained on.
          held_out: Its test split, the same reader where it has none.
          config: How many samples of how many clips.
        """

    def open_judge(
        self, reader: Reader, held_out: Reader, config: 'EvaluateConfig', open_weights: OpenWeights = no_weights
    ) -> Judge:
        """Return what collects the samples, and has them scored."""
        del open_weights
        return SampleSetJudge(self, reader, held_out, config)


class SampleSetJudge(Judge):
    """All samples of a SampleSetProtocol."""

    def __init__(self, protocol: SampleSetProtocol, reader: Reader, held_out: Reader, config: 'EvaluateConfig'):
        self._protocol = protocol
        self._clips = (reader, held_out, config)
        self._conditions = protocol.make_conditions(reader, held_out, config)
        self.labels = self._conditions['label']

    def conditions_of(self, rows: np.ndarray) -> Rows:
        """Return what the protocol asks for."""
        return {name: values[rows] for name, values in self._conditions.items() if name != 'label'}

    def measure(self, numbers: np.ndarray, videos: np.ndarray) -> Rows:
        """Return the videos themselves."""
        del numbers
        return {'videos': videos}

    def score(self, rows: Rows) -> Score:
        """Return the protocol's score."""
        return self._protocol.score(rows['videos'], self._conditions, *self._clips)


@dataclass(frozen=True)
class EvaluateConfig(Ranged, where='config.evaluate'):
    """How samples are scored: under which protocol, how many, from which seed, against how many clips.

    Attributes:
      samples: Videos that are sampled, where the protocol does not want them of certain clips.
      real: Held-out clips that they are compared with, or predicted from.
      train: Training clips that they are compared with.
      seed: Of the noise of the samples.
      batch_size: Videos that are made at once at most.
      sampler: What draws them; none: config.sampler. Where it has keys and no name it is config.sampler with these.
      guidance: How far they are guided; none: as config.guidance says, whose keys it has where it does not set them.
      protocol: What is measured, and how.
    """

    samples: BatchSize = 128
    real: BatchSize = 256
    train: BatchSize = 20_000
    seed: Seed = 0
    batch_size: BatchSize = 32
    sampler: Sampler | None = None
    guidance: Guidance | None = None
    protocol: ProtocolConfig = UsualProtocol()


def name_split(reader: Reader, held_out: Reader) -> str:
    """Return which split held-out clips are of: 'all' where nothing is held out."""
    return held_out.source.split or ('all' if held_out is reader else 'test')


def read_labels(reader: Reader, numbers: np.ndarray) -> np.ndarray:
    """Return the labels of clips number `numbers` (N,): int32 (N,), 0 where the source has none."""
    if not reader.num_classes:
        return np.zeros(len(numbers), np.int32)
    # One by one: all clips at once would fill the memory.
    return np.array([reader[int(number)]['label'] for number in numbers], np.int32)


def take_context(clips: dict[str, np.ndarray], context: int) -> dict[str, np.ndarray]:
    """Return what videos that go on from clips are conditioned on besides a label, a row for each clip.

    Args:
      clips: A batch (clip_batches.batch_of).
      context: How many frames are known.

    Returns:
      'frames' uint8 (N, context, H, W, C), and 'text' and 'text_mask' where the clips have them.
    """
    # A text of another clip would describe what the frames do not show.
    texts = {name: clips[name] for name in TEXT if name in clips}
    return {'frames': videos_of(clips)[:, :context]} | texts


def read_held_out(held_out: Reader, config: EvaluateConfig) -> dict[str, np.ndarray]:
    """Return the held-out clips that samples are predicted from or held against, config.real of them at most."""
    # By the order, not by number: of a mixture each source then has its share.
    order = held_out.order(min(config.real, len(held_out)), shuffle=False)
    return batch_of(held_out, order.ids(0))
