"""Counting what a function costs where no formula is kept: XLA's own count, before it optimises anything."""

from collections.abc import Callable

import jax


def counted_flops(function: Callable, *shapes) -> float:
    """Floating-point operations of one call on arrays of these shapes, a multiply-add as 2; nothing is compiled."""
    return float((jax.jit(function).lower(*shapes).cost_analysis() or {}).get('flops', 0.0))
