"""What became of a checkpoint's tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from vdm_jax.errors import UserError


@dataclass(frozen=True)
class Report:
    """Which tensors of a checkpoint a network has taken.

    Attributes:
      used: Names of tensors that were taken.
      unused: Names of tensors that the network has no place for.
      missing: Names of tensors that the network wants and the checkpoint lacks.
      differing: Lines about tensors of another shape or, where the network computes them itself, of another value.
      not_stored: Our parameters that no checkpoint of this source stores, with the reason.
    """

    used: tuple[str, ...]
    unused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    not_stored: Mapping[str, str] = field(default_factory=dict)

    def check(self, allow_missing: bool = False) -> Self:
        """Return the report itself.

        Raises:
          UserError: a tensor is missing or differs, unless that is allowed.
        """
        mismatches = [f'missing: {name}' for name in self.missing] + [f'differs: {line}' for line in self.differing]
        if mismatches and not allow_missing:
            # Three are enough to recognise what is wrong, and keep the message on a screen.
            more = f', and {len(mismatches) - 3} more' if len(mismatches) > 3 else ''
            raise UserError(
                f'the checkpoint is not of this network: {"; ".join(mismatches[:3])}{more}; with --allow-missing these '
                'parameters start fresh, and what this network computes, as '
                'positions, stays its own, so that it answers otherwise'
            )
        return self

    def __str__(self) -> str:
        counts = f'{len(self.used)} tensors used, {len(self.unused)} unused, {len(self.missing)} missing, '
        lines = [f'{counts}{len(self.differing)} differing']
        lines += [f'  unused   {name}' for name in self.unused]
        lines += [f'  missing  {name}' for name in self.missing]
        lines += [f'  differs  {line}' for line in self.differing]
        lines += [f'  ours     {name}: {why}' for name, why in self.not_stored.items()]
        return '\n'.join(lines)
