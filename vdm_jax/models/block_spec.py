"""What a transformer block attends to."""

from dataclasses import dataclass
from typing import Self

from vdm_jax.nn.attention_patterns import AttentionPattern, Grid

# Patterns that share an attention's heads in equal parts.
HeadGroups = tuple[AttentionPattern, ...]


@dataclass(frozen=True)
class BlockSpec:
    """The attentions of one block, in the order in which they come before its MLP.

    Attributes:
      attentions: Of each attention the patterns of its head groups: one for all of its heads, or several that share
        them in equal parts.
    """

    attentions: tuple[HeadGroups, ...]

    @classmethod
    def in_turn(cls, *patterns: AttentionPattern) -> Self:
        """Return a block with an attention for each pattern, one after the other."""
        return cls(tuple((pattern,) for pattern in patterns))

    @classmethod
    def sharing_heads(cls, *patterns: AttentionPattern) -> Self:
        """Return a block with one attention, whose heads the patterns share."""
        return cls((patterns,))

    @property
    def patterns(self) -> tuple[AttentionPattern, ...]:
        """All patterns, attention by attention."""
        return sum(self.attentions, ())

    @property
    def max_head_groups(self) -> int:
        """The most patterns that share an attention's heads; heads come in multiples of it."""
        return max(len(groups) for groups in self.attentions)

    @property
    def modulation_chunks(self) -> int:
        """How many vectors condition the block: shift, scale and gate of each attention and of the MLP."""
        return 3 * (len(self.attentions) + 1)

    @property
    def needs_time_positions(self) -> bool:
        """Whether some of its tokens are to know their frame's position in time."""
        return any(pattern.needs_time_positions for pattern in self.patterns)

    @property
    def is_over_time_only(self) -> bool:
        """Whether no token attends to another of its frame; such a block does not look at a text."""
        return all(pattern.kind == 'time' for pattern in self.patterns)

    def mean_attended_tokens(self, grid: Grid) -> float:
        """Return how many tokens a token attends to, the mean over the heads, summed over the attentions."""
        # Each group has an equal share of the heads, hence the mean of their lengths within an attention.
        return sum(sum(pattern.length(grid) for pattern in groups) / len(groups) for groups in self.attentions)
