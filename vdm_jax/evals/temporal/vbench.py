"""How VBench puts its dimensions on one scale: (value - least) / (greatest - least), weights in the quality score.

Constants are those of Vchitect/VBench at 45e79ec. Only temporal flickering is the very figure that they were made for:
the others want DINO, CLIP, RAFT and AMT-S, in whose place stand encoders, flows and an interpolator without weights.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Dimension:
    """One of VBench's dimensions of quality.

    Attributes:
      least: Value that becomes 0.
      greatest: Value that becomes 1.
      weight: In the mean of the dimensions of quality.
    """

    least: float
    greatest: float
    weight: float = 1.0

    def normalise(self, value: float) -> float:
        """Return a value on VBench's scale, on which it may lie outside of 0 to 1."""
        return (value - self.least) / (self.greatest - self.least)


DIMENSIONS = {
    'subject_consistency': Dimension(0.1462, 1.0),
    'background_consistency': Dimension(0.2615, 1.0),
    'flickering': Dimension(0.6293, 1.0),
    'smoothness': Dimension(0.706, 0.9975),
    'dynamic_degree': Dimension(0.0, 1.0, weight=0.5),
}
