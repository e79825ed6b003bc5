"""phyworld_velocity_error: is the law learned, within the speeds and radii of training and beyond them?

The network is given the first frames of held-out clips of data/worlds/phyworld.py, and how fast the balls go in what it
samples is held against the exact truth (Kang et al. 2024, arXiv:2411.02385, section 3.2). As in the released code:

    position   centre of the pixels that are more than half in the ball's colour and less than half in the others
    no ball    where no pixel is, the ball is taken to be at the edge it goes to (right; the red one of two: left), at
               its last height
    frames     from the first sampled one, or frame 3, those in which by the truth the whole ball is in the picture
    error      mean over successive frames of |difference of positions / 0.1 - that of the truth|: along x, or, of a
               ball that falls, the length of the vector; over balls; over clips

Two things are stated that the paper leaves open. Pixel j of W lies where the world draws it, or, with
convention=released, at 10 j / W, as the released parser has it: at 256 pixels this alone is a third of the floor. And
since a threshold knows a position in a frame of 32 pixels to a tenth of a pixel only, `fine_error` is the same figure
of centres weighted by colour, whose floor is 10 to 18 times lower there.

Every regime stands beside its floor: the same figure of the real clips.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, cast

import numpy as np

from vdm_jax.config.ranges import Above0, Between
from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.source import Reader
from vdm_jax.data.worlds.phyworld import HELD_OUT, REGIMES, PhyWorld
from vdm_jax.errors import UserError
from vdm_jax.evals import intervals
from vdm_jax.evals.features.opened import OpenWeights, no_weights
from vdm_jax.evals.judge import Judge, Rows
from vdm_jax.evals.protocol import EvaluateConfig, Protocol
from vdm_jax.evals.score import Score
from vdm_jax.evals.worlds.phyworld_errors import FIRST, Errors, measure_errors, read_positions
from vdm_jax.nn.config import NetworkConfig

CHUNK = 50  # real clips that are read at once
FIGURES = (
    'clips', 'error', 'error_low', 'error_high', 'over_floor', 'over_in', 'over_in_low', 'over_in_high',
    'fine_error', 'fine_over_floor', 'fine_over_in', 'bias', 'missing', 'radius_change',
)  # fmt: skip
BEYOND = tuple(regime for regime in REGIMES if regime != 'in')


@dataclass(frozen=True)
class PhyWorldVelocityError(Protocol):
    """Velocity errors of samples of every regime, beside those of the real clips.

    Attributes:
      context: Frames that are given.
      clips: Held-out clips of each regime, each sampled once.
      convention: Where pixels lie: as the world draws them, or as the released parser reads them.
      bar: The error in distribution must be at most so many times that of the real clips.
    """

    usual_sources: ClassVar = (PhyWorld,)
    samples_row: ClassVar = 'in'

    context: Annotated[int, Between(1, 2**16)] = 3
    clips: Annotated[int, Between(2, HELD_OUT)] = 300
    convention: Literal['drawn', 'released'] = 'drawn'
    bar: Annotated[float, Above0(0.01, 1000)] = 2.0

    @property
    def figures(self) -> tuple[str, ...]:
        """See `describe`."""
        return FIGURES

    @property
    def verdicts(self) -> tuple[str, ...]:
        """As good as the bar, with speeds and radii of training."""
        return ('in_distribution',)

    def refusal(self, reader: Reader, network: NetworkConfig) -> str | None:
        """Return that no other clips have such a truth."""
        if reason := super().refusal(reader, network):
            return reason
        kind = type(reader.source).__name__
        return None if isinstance(reader.source, PhyWorld) else f'it scores samples of PhyWorld alone, not of a {kind}'

    def for_context(self, frames: int) -> 'PhyWorldVelocityError | None':
        """Return the same after as many frames as the network was trained with."""
        return replace(self, context=frames) if frames else None

    def open_judge(
        self, reader: Reader, held_out: Reader, config: EvaluateConfig, open_weights: OpenWeights = no_weights
    ) -> Judge:
        """Return what reads positions off samples."""
        del config, open_weights
        return VelocityJudge(self, cast(PhyWorld, held_out.source))


class VelocityJudge(Judge):
    """Positions of the balls of samples; the clips of each regime lie next to each other."""

    def __init__(self, protocol: PhyWorldVelocityError, world: PhyWorld):
        """Take the clips of each regime.

        Raises:
          UserError: After the context frames there are not the two frames of which a velocity is.
        """
        first = max(FIRST, protocol.context)
        if world.frames < first + 2:
            raise UserError(
                f'config.evaluate.protocol.context={protocol.context}: velocities are of two frames or more from frame '
                f'{first} on; found config.data.frames={world.frames}, want {first + 2} or more'
            )
        self._protocol = protocol
        self._worlds = [replace(world, split='test', regime=regime) for regime in REGIMES]
        self.labels = np.zeros(protocol.clips * len(REGIMES), np.int32)

    def conditions_of(self, rows: np.ndarray) -> Rows:
        """Return the context frames."""
        clips = [self._worlds[row // self._protocol.clips][int(row % self._protocol.clips)] for row in rows]
        return {'frames': np.stack([clip['video'][: self._protocol.context] for clip in clips])}

    def measure(self, numbers: np.ndarray, videos: np.ndarray) -> Rows:
        """Return where the balls are."""
        del numbers
        return read_positions(videos, self._worlds[0].law.balls)

    def score(self, rows: Rows) -> Score:
        """Hold positions against the truth, beside those read off the real clips and off a held last frame."""
        samples: dict[str, Errors] = {}
        floors: dict[str, Errors] = {}
        controls: dict[str, Errors] = {}
        for number, (regime, world) in enumerate(zip(REGIMES, self._worlds, strict=True)):
            begin = number * self._protocol.clips
            real = read_real(world, self._protocol.clips)
            sampled = {name: values[begin : begin + self._protocol.clips] for name, values in rows.items()}
            samples[regime] = self._measure(sampled, world)
            floors[regime] = self._measure(real, world)
            controls[regime] = self._measure(hold(real, self._protocol.context), world)

        figures = {}
        for title, errors in (('', samples), ('real ', floors), ('last frame ', controls)):
            every = errors | {'out': Errors.join([errors[regime] for regime in BEYOND])}
            every_floor = floors | {'out': Errors.join([floors[regime] for regime in BEYOND])}
            for row, each in every.items():
                figures[f'{title}{row}'] = describe(each, every_floor[row], errors['in'])
        return self._make_score(figures)

    def _measure(self, rows: Rows, world: PhyWorld) -> Errors:
        truths = [world.truth(i) for i in range(self._protocol.clips)]
        return measure_errors(rows, truths, world, self._protocol.context, self._protocol.convention)

    def _make_score(self, figures: dict[str, dict[str, float]]) -> Score:
        protocol = self._protocol
        world = self._worlds[0]
        return Score(
            name=f'phyworld_velocity_error_{world.world}{protocol.clips}_{world.frames}f_{world.pixels}px',
            figures=figures,
            verdict={'in_distribution': bool(figures['in']['over_floor'] <= protocol.bar)},
            settings={
                'split': 'test',
                'context': protocol.context,
                'real_clips': protocol.clips,
                'convention': protocol.convention,
                'interval': intervals.ABOUT,
            },
        )


def read_real(world: PhyWorld, count: int) -> Rows:
    """Return `read_positions` of the first clips of a world."""
    parts = [
        read_positions(read_videos(world, range(first, min(first + CHUNK, count))), world.law.balls)
        for first in range(0, count, CHUNK)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def hold(rows: Rows, context: int) -> Rows:
    """Return positions as they would be were the last context frame held."""

    def freeze(values: np.ndarray) -> np.ndarray:
        still = values.copy()
        still[:, context:] = values[:, context - 1 : context]
        return still

    return {name: freeze(values) for name, values in rows.items()}


def describe(errors: Errors, floor: Errors, inside: Errors) -> dict[str, float]:
    """Return the figures of a row: means over clips, and their ratios to those of real clips and of clips inside.

    Args:
      errors: Of the clips of the row.
      floor: Of the real clips.
      inside: Of clips made alike, with speeds and radii of training.
    """
    low, high = intervals.mean_interval(errors.error)
    # Of the same clips the ratio is 1, whichever they are.
    over_in_low, over_in_high = (1.0, 1.0) if errors is inside else intervals.ratio_interval(errors.error, inside.error)
    return {
        'clips': errors.count,
        'error': float(np.nanmean(errors.error)),
        'error_low': low,
        'error_high': high,
        'over_floor': divide_means(errors.error, floor.error),
        'over_in': divide_means(errors.error, inside.error),
        'over_in_low': over_in_low,
        'over_in_high': over_in_high,
        'fine_error': float(np.nanmean(errors.fine_error)),
        'fine_over_floor': divide_means(errors.fine_error, floor.fine_error),
        'fine_over_in': divide_means(errors.fine_error, inside.fine_error),
        'bias': float(np.nanmean(errors.bias)),
        'missing': float(np.nanmean(errors.missing)),
        'radius_change': float(np.nanmean(errors.radius_change)),
    }


def divide_means(above: np.ndarray, below: np.ndarray) -> float:
    """Return the ratio of the means of two sets of clips."""
    return float(np.nanmean(above) / np.nanmean(below))
