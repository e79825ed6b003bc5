"""How far are samples from real clips in the features of a network? FVD, KVD, FID and what they hang on.

Beside the samples stand the real clips themselves, one half against the other, and controls that a sound distance must
put far away: frozen, shuffled, reversed and noise, and copies of training clips, which it cannot tell from real ones.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from vdm_jax.config.ranges import Between
from vdm_jax.data.clip_batches import batch_of, read_videos
from vdm_jax.data.source import Reader
from vdm_jax.errors import UserError
from vdm_jax.evals.distances.bootstrap import FEWEST_ROUNDS
from vdm_jax.evals.feature_distance import figures as figures_of
from vdm_jax.evals.feature_distance.real import (
    Features,
    RealFeatures,
    RealSet,
    compute_features,
    compute_real,
    count_frames,
    cut_frames,
    digest_arrays,
)
from vdm_jax.evals.feature_distance.settings import KEY, DistanceSettings
from vdm_jax.evals.features.network import FeatureProgram
from vdm_jax.evals.features.opened import LPIPS, OpenWeights, no_weights
from vdm_jax.evals.judge import Judge, Rows
from vdm_jax.evals.metrics import FRAME_METRICS, check_window
from vdm_jax.evals.perceptual import measure_lpips
from vdm_jax.evals.protocol import EvaluateConfig, Protocol, VideoCut, name_split, read_labels, take_context
from vdm_jax.evals.score import Score

FRAMES = 16  # of anybody's video
INTERVAL = '95% by {rounds} rounds of resampling the samples'
SAME = 'the samples are the real clips themselves'
BEST: dict[str, Callable[..., np.ndarray]] = {
    'mse': np.min,
    'mae': np.min,
    'ssim': np.max,
    'psnr': np.max,
    'lpips': np.min,
}
Rounds = Annotated[int, Between(0, 10_000)]


@dataclass(frozen=True)
class FeatureProtocol(Protocol):
    """A protocol whose distances are of features.

    Attributes:
      weights: The network's weights: a name that `python -m vdm_jax weights` lists, or a file; None: those of the name
        of the network.
      controls: Whether there are rows for controls, each of as many clips as are sampled, or as there are.
      rounds: Of the bootstrap by which intervals are found; 0 for none.
    """

    weights: str | None = None
    controls: bool = True
    rounds: Rounds = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.rounds < FEWEST_ROUNDS:
            raise UserError(f'{KEY}.rounds={self.rounds}: want {FEWEST_ROUNDS} or more, or 0 for no interval')

    @property
    @abstractmethod
    def settings(self) -> DistanceSettings:
        """All that the distance hangs on."""

    @property
    def figures(self) -> tuple[str, ...]:
        """Those of each distance, with intervals where there are rounds."""
        return figures_of.list_figures(self.settings, self.rounds)

    @property
    def title(self) -> str | None:
        """What scores are called; None: by what is compared."""
        return None

    @property
    def lpips_weights(self) -> str | None:
        """LPIPS's weights, by which samples are held against their truth too, where they are (settings.pixels)."""
        return None

    def cut_videos(self) -> VideoCut:
        """Return as many frames as count: of a video's beginning where there is to be a number of videos."""
        is_counted = self.settings.videos or self.settings.real
        return VideoCut(self.settings.span or FRAMES, 'first' if is_counted else 'all')

    def count_videos(self, config: EvaluateConfig, num_real: int) -> int:
        """Return the number that is published, or of the samples of all real clips."""
        if self.settings.context:
            return self.settings.per_clip * self.count_real(config, num_real)
        return self.settings.videos or config.samples

    def count_real(self, config: EvaluateConfig, there: int) -> int:
        """Return the number that is published."""
        return self.settings.real or super().count_real(config, there)

    def feature_program(self, frames: int) -> FeatureProgram:
        """Return its network, for the frames that count."""
        return FeatureProgram(
            self.settings.network, count_frames(frames, self.settings), self.settings.wants_probabilities
        )

    def open_judge(
        self, reader: Reader, held_out: Reader, config: EvaluateConfig, open_weights: OpenWeights = no_weights
    ) -> FeatureJudge:
        """Return what computes features of samples, those of real clips at hand."""
        return FeatureJudge(self, reader, held_out, config, open_weights)


@dataclass(frozen=True)
class FeatureDistance(FeatureProtocol, DistanceSettings):
    """Distances between features of samples and of real clips, each setting a choice of one's own.

    Published protocols, whose settings are fixed, have names of their own.
    """

    @property
    def settings(self) -> DistanceSettings:
        """Its own fields."""
        return DistanceSettings(
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(DistanceSettings)}
        )


class FeatureJudge(Judge):
    """Features of samples beside those of real clips."""

    def __init__(
        self,
        protocol: FeatureProtocol,
        reader: Reader,
        held_out: Reader,
        config: EvaluateConfig,
        open_weights: OpenWeights,
    ):
        """Open the network, and compute the features of the real clips where they are not in the cache.

        Raises:
          UserError: The weights are not there, or there are too few real clips, or they are too short.
        """
        self._protocol = protocol
        self._settings = protocol.settings
        self._config = config
        self._reader = reader
        self._clips = held_out if self._settings.split == 'test' else reader
        self._split = name_split(reader, held_out) if self._settings.split == 'test' else 'train'
        self._numbers = self._choose_real()
        self.labels = self._make_labels()
        self._check_clips()
        # A program is of one size of batches: one that is never full would compute clips that nobody wants.
        self._batch_size = min(config.batch_size, max(len(self.labels), len(self._numbers)))

        self._opened = open_weights(self._settings.network, protocol.weights)
        self._lpips = open_weights(LPIPS(), protocol.lpips_weights) if protocol.lpips_weights else None
        self.weights_sha256 = (self._opened.sha256, *([self._lpips.sha256] if self._lpips else []))
        self._real = self._compute_real()

    def _choose_real(self) -> np.ndarray:
        """Return the numbers of the real clips.

        Raises:
          UserError: There are fewer than the protocol wants.
        """
        there = len(self._clips)
        wanted = self._protocol.count_real(self._config, there)
        if wanted > there:
            of_split = '' if self._split == 'all' else f' of the {self._split} split'
            raise UserError(f'{KEY}: wants {wanted} real clips; found {there}{of_split}')
        if self._settings.context:
            # Samples go on from the first ones, in the order of the data.
            return np.asarray(self._clips.order(wanted, shuffle=False).ids(0))
        return np.sort(np.random.default_rng(self._settings.seed).permutation(there)[:wanted])

    def _make_labels(self) -> np.ndarray:
        if self._settings.context:
            return np.repeat(read_labels(self._clips, self._numbers), self._settings.per_clip)
        count = self._protocol.count_videos(self._config, len(self._clips))
        return np.arange(count, dtype=np.int32) % max(self._reader.num_classes, 1)

    def _check_clips(self) -> None:
        """Check that clips are large enough, and enough for each distance, before any is computed.

        Raises:
          UserError: They are too small, too short, or too few.
        """
        if self._settings.pixels:
            check_window(*self._reader.shape[1:3])
        frames = count_frames(self._reader.shape[0], self._settings)
        rows = self._settings.network.rows_per_clip(frames)
        num_sampled = len(self._numbers) if self._settings.by_trajectory else len(self.labels)
        for name, distance in self._settings.make_distances().items():
            figures_of.check_enough(name, distance, num_sampled * rows, 'samples')
            if distance.needs_real:
                figures_of.check_enough(name, distance, len(self._numbers) * rows, 'real clips')

    def _compute_real(self) -> RealFeatures:
        settings = self._settings
        num_controls = min(len(self.labels), len(self._numbers)) if self._protocol.controls else 0
        every = np.random.default_rng(settings.seed + 1).permutation(len(self._clips))
        is_real = np.isin(every, self._numbers)
        # Where most clips are real ones already, the controls are made of them.
        others = every[~is_real] if np.count_nonzero(~is_real) >= num_controls else every[is_real]
        train = np.random.default_rng(settings.seed + 2).permutation(len(self._reader))
        # Some of all, not the first: clips of one video lie next to each other.
        return compute_real(
            self._opened,
            RealSet(self._clips, self._numbers, settings),
            RealSet(self._clips, np.sort(others[:num_controls]), settings),
            RealSet(self._reader, np.sort(train[:num_controls]), settings),
            self._batch_size,
        )

    def conditions_of(self, rows: np.ndarray) -> Rows:
        """Return context frames and texts of the clips, where the protocol has some."""
        if not self._settings.context:
            return {}
        return take_context(batch_of(self._clips, self._find_numbers(rows)), self._settings.context)

    def _find_numbers(self, rows: np.ndarray) -> np.ndarray:
        """Return the numbers of the clips that videos number `rows` go on from."""
        numbers: np.ndarray = self._numbers[rows // self._settings.per_clip]
        return numbers

    def measure(self, numbers: np.ndarray, videos: np.ndarray) -> Rows:
        """Return features of videos, their classes, and where it is wanted how near they are to the truth."""
        videos = cut_frames(videos, self._settings)
        features, _ = compute_features(self._opened, iter([videos]), self._batch_size, self._settings)
        rows: Rows = features.arrays()
        if self._settings.pixels:
            context = self._settings.context
            true = cut_frames(read_videos(self._clips, self._find_numbers(numbers)), self._settings)[:, context:]
            rows |= {name: metric(videos[:, context:], true) for name, metric in FRAME_METRICS.items()}
            if self._lpips:
                backbone = self._lpips.network.backbone
                rows['lpips'] = measure_lpips(videos[:, context:], true, self._lpips.params, backbone).mean(1)
        return rows

    def score(self, rows: Rows) -> Score:
        """Return the distances of the samples, and of all that stands beside them."""
        samples = Features.of_arrays(rows)
        real = self._real.sets['real']
        cautions: list[str] = []
        if np.array_equal(samples.features, real.features):
            cautions.append(SAME)
        measure = figures_of.measure_trajectories if self._settings.by_trajectory else figures_of.measure_set
        figures = {'samples': measure(real, samples, self._settings, self._protocol.rounds, cautions)}
        if self._settings.pixels:
            figures[f'best of {self._settings.per_clip}'] = self._pick_best(rows)
        if halves := figures_of.measure_halves(real, self._settings, self._protocol.rounds):
            figures['real halves'] = halves
        for row, features in self._real.sets.items():
            if row != 'real':
                figures[row] = figures_of.measure_set(real, features, self._settings, 0, [])
        return Score(self._name(), figures, {}, self._describe(cautions))

    def _pick_best(self, rows: Rows) -> dict[str, float]:
        """Return the mean over clips of each figure of the best sample by that figure, with the truth in hand."""
        names = [name for name in BEST if name in rows]
        by_clip = {name: rows[name].reshape(-1, self._settings.per_clip) for name in names}
        return {name: float(BEST[name](values, axis=1).mean()) for name, values in by_clip.items()}

    def _name(self) -> str:
        if self._protocol.title:
            return self._protocol.title
        settings = self._settings
        distances = '_'.join(settings.distances)
        frames = settings.frames or self._reader.shape[0]
        return f'{distances}_{settings.features}{len(self.labels)}_{frames}f'

    def _describe(self, cautions: list[str]) -> dict[str, Any]:
        settings = dataclasses.asdict(self._settings)
        return {
            'split': self._split,
            'real_clips': len(self._numbers),
            'distance': settings,
            'real_sha256': self._real.clips_sha256,
            'real_features_sha256': digest_arrays(self._real.sets['real'].arrays()),
            # With its own settings, as those of the protocol hold for one network and not for another.
            'network': {
                'name': self._opened.network.name,
                'weights': self._opened.weights,
                'sha256': self._opened.sha256,
                **dataclasses.asdict(self._opened.network),
            },
            'lpips': {'weights': self._lpips.weights, 'sha256': self._lpips.sha256} if self._lpips else None,
            'interval': INTERVAL.format(rounds=self._protocol.rounds),
            'cautions': sorted(set(cautions)),
        }
