"""What became of a checkpoint's tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vdm_jax.errors import UserError


@dataclass(frozen=True)
class Report:
    """Names of tensors: used; unused, which the network has no place for; missing, which it wants; and lines about
    those that differ, in shape or, where the network computes them itself, in value. free: our parameters that no
    checkpoint of this source knows, with the reason.
    """

    used: tuple[str, ...]
    unused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    free: Mapping[str, str] = field(default_factory=dict)

    def check(self, allow_missing: bool = False) -> 'Report':
        """Itself.

        Raises:
          UserError: a tensor is missing or differs; unless allowed.
        """
        wrong = [f'missing: {name}' for name in self.missing] + [f'differs: {line}' for line in self.differing]
        if wrong and not allow_missing:
            more = f', and {len(wrong) - 3} more' if len(wrong) > 3 else ''
            raise UserError(
                f'the checkpoint is not of this network: {"; ".join(wrong[:3])}{more}; with --allow-missing these '
                'parameters start fresh, and what this network computes, as '
                'positions, stays its own, so that it answers otherwise'
            )
        return self

    def __str__(self):
        counts = f'{len(self.used)} tensors used, {len(self.unused)} unused, {len(self.missing)} missing, '
        lines = [f'{counts}{len(self.differing)} differing']
        lines += [f'  unused   {name}' for name in self.unused]
        lines += [f'  missing  {name}' for name in self.missing]
        lines += [f'  differs  {line}' for line in self.differing]
        lines += [f'  ours     {name}: {why}' for name, why in self.free.items()]
        return '\n'.join(lines)
