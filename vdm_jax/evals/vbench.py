"""How VBench puts its dimensions on one scale, and what it makes of all of them: quality, semantic and total score.

Huang et al. 2023, arXiv:2311.17982; constants and formulas are those of Vchitect/VBench at 45e79ec (in scripts/:
constant.py, cal_final_score.py, cal_i2v_final_score.py). A dimension's score is (value - least) / (greatest - least), a
part's the weighted mean of its dimensions, and the total the weighted mean of the parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

REVISION = '45e79ec'


@dataclass(frozen=True)
class Dimension:
    """One of VBench's dimensions.

    Attributes:
      least: Value that becomes 0.
      greatest: Value that becomes 1.
      weight: In the mean of its part.
    """

    least: float = 0.0
    greatest: float = 1.0
    weight: float = 1.0

    def normalise(self, value: float) -> float:
        """Return a value on VBench's scale, on which it may lie outside of 0 to 1."""
        return (value - self.least) / (self.greatest - self.least)


@dataclass(frozen=True)
class Part:
    """Dimensions of which VBench makes one score.

    Attributes:
      weight: In the total.
      dimensions: By name.
    """

    weight: float
    dimensions: Mapping[str, Dimension]

    def score(self, scores: Mapping[str, float]) -> float | None:
        """Return the score of the part, None where that of a dimension is missing."""
        if not {*self.dimensions} <= {*scores}:
            return None
        weights = {name: dimension.weight for name, dimension in self.dimensions.items()}
        return sum(weights[name] * scores[name] for name in weights) / sum(weights.values())


@dataclass(frozen=True)
class Suite:
    """A set of dimensions that VBench makes one total of.

    Attributes:
      name: What scores are called.
      parts: By what VBench calls their scores.
    """

    name: str
    parts: Mapping[str, Part]

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """Those of all parts."""
        return {name: each for part in self.parts.values() for name, each in part.dimensions.items()}

    def total(self, scores: Mapping[str, float]) -> dict[str, float | None]:
        """Return the score of each part and the total, None where dimensions are missing.

        Args:
          scores: Of dimensions, on VBench's scale.
        """
        by_part = {name: part.score(scores) for name, part in self.parts.items()}
        weighted = [(part.weight, by_part[name]) for name, part in self.parts.items()]
        total = 0.0
        for weight, score in weighted:
            if score is None:
                return by_part | {'total': None}
            total += weight * score
        return by_part | {'total': total / sum(weight for weight, _ in weighted)}


SUBJECT = Dimension(0.1462, 1.0)
BACKGROUND = Dimension(0.2615, 1.0)
SMOOTHNESS = Dimension(0.706, 0.9975)
# Shared by both suites, in VBench's order.
MOTION = {'motion_smoothness': SMOOTHNESS, 'dynamic_degree': Dimension(weight=0.5)}
FRAMES = {'aesthetic_quality': Dimension(), 'imaging_quality': Dimension()}
CONSISTENCY = {'subject_consistency': SUBJECT, 'background_consistency': BACKGROUND}

# From text alone; VBench-Long has the same dimensions, on the same scale.
TEXT_TO_VIDEO = Suite(
    f'vbench_{REVISION}',
    {
        'quality': Part(4.0, CONSISTENCY | {'temporal_flickering': Dimension(0.6293, 1.0)} | MOTION | FRAMES),
        'semantic': Part(
            1.0,
            {
                'object_class': Dimension(),
                'multiple_objects': Dimension(),
                'human_action': Dimension(),
                'color': Dimension(),
                'spatial_relationship': Dimension(),
                'scene': Dimension(0.0, 0.8222),
                'appearance_style': Dimension(0.0009, 0.2855),
                'temporal_style': Dimension(0.0, 0.364),
                'overall_consistency': Dimension(0.0, 0.364),
            },
        ),
    },
)
# From an image and text.
IMAGE_TO_VIDEO = Suite(
    f'vbench_i2v_{REVISION}',
    {
        'quality': Part(1.0, CONSISTENCY | MOTION | FRAMES),
        'i2v': Part(
            1.0, {'camera_motion': Dimension(weight=0.1), 'i2v_subject': SUBJECT, 'i2v_background': BACKGROUND}
        ),
    },
)
