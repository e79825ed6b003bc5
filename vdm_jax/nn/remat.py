"""Rematerialisation: what a layer keeps for its backward pass, which recomputes the rest. POLICIES has the kinds."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Primitive

from vdm_jax.nn.attention_backends import OUTPUT
from vdm_jax.parallel.gather import GATHERED
from vdm_jax.parallel.sharding import axis_size

INPUT = 'layer'  # name of a layer's input
# Fused kernels (cuDNN's) whose outputs can carry no name; they are known by their primitives.
KERNELS = ('dot_product_attention_fwd_wrapper',)

Layer = TypeVar('Layer')
Index = int | jax.Array  # the number of a layer: an int32 scalar, traced in a scan


def _kernels(primitive: Primitive, *_: Any, **__: Any) -> bool:
    return primitive.name in KERNELS


def _all_but_gathered(primitive: Primitive, *arrays: Any, **params: Any) -> bool:
    """Keep all but what parallel/gather.py makes of a weight, which alone in a layer has two dimensions."""
    # Also the cast and the constraint that come before the name: a policy that kept either would keep the gathered
    # weight after all.
    is_of_weight = primitive.name in ('convert_element_type', 'sharding_constraint') and arrays[0].ndim == 2
    return not (is_of_weight or params.get('name') == GATHERED)


_save = jax.checkpoint_policies
_attention = _save.save_from_both_policies(_save.save_only_these_names(OUTPUT), _kernels)
POLICIES: dict[str, Callable[..., Any]] = {
    'none': _all_but_gathered,
    'dots': _save.save_from_both_policies(_save.dots_with_no_batch_dims_saveable, _attention),
    'attention': _attention,
    'full': _save.nothing_saveable,
    'offload': _save.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[INPUT, OUTPUT],
        offload_src='device',
        offload_dst='pinned_host',
    ),
}


def rematerialise(
    call: Callable[[Layer, jax.Array, Index], jax.Array], name: str
) -> Callable[[Layer, jax.Array, Index], jax.Array]:
    """Wrap `call` (layer, x, index) -> x, so that it keeps only what the policy of that name keeps.

    What the policies keep for the backward pass:
      none: everything but weights that were gathered.
      dots: layer inputs, outputs of projections and of attention, not the scores; it costs least time.
      attention: layer inputs and outputs of attention, with what its kernel needs to go back.
      full: layer inputs alone.
      offload: layer inputs and outputs of attention (not cuDNN's, which is recomputed), in the host's memory.
    """
    # Under fsdp 'none' wraps too, so that gathered weights are not kept.
    if name == 'none' and axis_size('fsdp') == 1:
        return call

    def call_with_name(layer: Layer, x: jax.Array, index: Index) -> jax.Array:
        return call(layer, checkpoint_name(x, INPUT), index)

    # A Python int stays one, outside of what checkpoint traces: layouts ask whether it is 0.
    def call_rematerialised(layer: Layer, x: jax.Array, index: Index) -> jax.Array:
        out: jax.Array
        if isinstance(index, int):
            out = jax.checkpoint(lambda layer, x: call_with_name(layer, x, index), policy=POLICIES[name])(layer, x)
        else:
            # In a scan forward and backward pass are loops of their own, whose common subexpressions cannot be merged:
            # barriers against it would only cost.
            out = jax.checkpoint(call_with_name, policy=POLICIES[name], prevent_cse=False)(layer, x, index)
        return out

    return call_rematerialised


def recompute_in_backward(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Wrap a function so that its backward pass keeps the arguments alone and recomputes the rest.

    For functions that take less time to compute again than their intermediate results take to be written and read.
    """

    def forward(*args: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        return function(*args), args

    def backward(args: tuple[jax.Array, ...], grad: jax.Array) -> tuple[jax.Array, ...]:
        _, vjp = jax.vjp(function, *args)
        grads: tuple[jax.Array, ...] = vjp(grad)
        return grads

    # Not by jax.checkpoint: within a rematerialised layer its insides would be kept or not by that layer's policy.
    wrapped = jax.custom_vjp(lambda *args: function(*args))
    wrapped.defvjp(forward, backward)
    return wrapped
