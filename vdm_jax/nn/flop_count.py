"""Counting what a function costs where no formula is kept: XLA's own count, before it optimises anything."""

from collections.abc import Callable
from typing import Any

import jax


def count_flops(function: Callable[..., Any], *shapes: Any) -> float:
    """Count the floating-point operations of one call on trees of these shapes, a multiply-add as 2.

    Nothing is compiled.
    """
    # Lowered, not compiled: what XLA makes of it (fusion, other algorithms) is no property of the network.
    return float((jax.jit(function).lower(*shapes).cost_analysis() or {}).get('flops', 0.0))
