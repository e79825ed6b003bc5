"""The protocol of the bouncing balls, and what those of harder worlds share with it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar, cast

import numpy as np

from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.source import Reader, Source
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.evals.negative_controls import make_controls
from vdm_jax.evals.protocol import EvaluateConfig, SampleSetProtocol
from vdm_jax.evals.score import Score
from vdm_jax.evals.worlds import physics
from vdm_jax.nn.config import NetworkConfig

World = TypeVar('World', bound=BouncingBalls)


@dataclass(frozen=True)
class BallPhysics(SampleSetProtocol, Generic[World]):
    """The figures of evals/worlds/physics.py: samples beside held-out clips (the ceiling) and controls (the floors).

    The protocol of a harder world is a subclass that measures and judges more, and has wrong worlds of its own: what
    makes each of the fields of the right one. Their clips must miss.
    """

    usual_sources: ClassVar = (BouncingBalls,)
    suffix: ClassVar[str] = ''  # what a score's name says of the world
    wrong_worlds: ClassVar[dict[str, Callable[..., Source]]] = {}
    further_figures: ClassVar[tuple[str, ...]] = ()  # which a harder world has besides

    @property
    def figures(self) -> tuple[str, ...]:
        """Those of evals/worlds/physics.py, and of the harder world."""
        return physics.FIGURES + self.further_figures

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Those that `judge` gives, of whatever figures."""
        unknown = dict.fromkeys(self.figures, math.nan)
        return tuple(self.judge(unknown, unknown))

    def measure(self, videos: np.ndarray, world: World, train: np.ndarray | None = None) -> dict[str, float]:
        """Return the figures of clips, uint8 (N, T, H, W, 3), in the world that they should belong to."""
        return physics.measure(videos, world, train)

    def judge(self, figures: dict[str, float], real: dict[str, float]) -> dict[str, bool]:
        """Return the verdicts of evals/worlds/physics.py on figures of samples, beside those of real clips."""
        return physics.judge(figures, real)

    def refusal(self, reader: Reader, network: NetworkConfig) -> str | None:
        """Return that another world than its own wants figures of its own, also where it is a subclass."""
        if reason := super().refusal(reader, network):
            return reason
        # The very class: to a subclass more happens than this protocol knows of.
        is_own = type(reader.source) in self.usual_sources
        return None if is_own else f'it cannot score samples of a {type(reader.source).__name__}'

    def make_conditions(self, reader: Reader, held_out: Reader, config: EvaluateConfig) -> dict[str, np.ndarray]:
        """Return all labels in turn."""
        return {'label': np.arange(config.samples, dtype=np.int32) % max(reader.num_classes, 1)}

    def score(
        self,
        videos: np.ndarray,
        conditions: dict[str, np.ndarray],
        reader: Reader,
        held_out: Reader,
        config: EvaluateConfig,
    ) -> Score:
        """Measure samples, held-out clips, controls and wrong worlds, and judge the samples."""
        real = read_videos(held_out, range(min(config.real, len(held_out))))
        train = read_videos(reader, range(min(config.train, len(reader))))

        # Controls are as many as the samples, as some figures are counts.
        some = real[: len(videos)]
        rows = {'samples': videos, 'real': real} | make_controls(some, train, config.seed)
        for name, make_world in self.wrong_worlds.items():
            # The same fields, seed included: a wrong world has the right one's clips but for what is wrong in it.
            wrong_world = make_world(**vars(held_out.source))
            rows[name] = read_videos(wrong_world.open(), range(len(some)))

        # `refusal` has seen that it is one of usual_sources.
        world = cast(World, reader.source)
        figures = {name: self.measure(clips, world, train) for name, clips in rows.items()}
        return Score(
            name=f'balls{len(videos)}_{reader.shape[0]}f{self.suffix}',
            figures=figures,
            verdict=self.judge(figures['samples'], figures['real']),
            settings={'split': 'test', 'real_clips': len(real), 'train_clips': len(train)},
        )
