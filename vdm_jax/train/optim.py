"""Optimizers: AdamW, and Muon for the matrices of layer-stacked networks; schedules, masks by path and clipping."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from vdm_jax.parallel.rules import path_name
from vdm_jax.ranges import Above0, AtLeast, Decay, Ranged, Regex, Weight, Whole

MATRIX = r'kernel$'
# Whatever float32 computes with: what makes a run diverge is found in training.
Rate = Annotated[float, Above0(1e-30, 1e30)]
RATES = ('learning_rate', 'learning_rate_adam')  # what metrics call them


@dataclass(frozen=True)
class OptimConfig(Ranged, where='config.optim'):
    """Which optimizer and how fast.

    learning_rate is the peak after warmup_steps; 'cosine' then falls to zero at the last step, 'constant' stays.
    With Muon it is the rate of the matrices; all else, and every path that `adam` matches, goes to Adam at
    adam_learning_rate. Weight decay applies to paths that match `decay`. clip is a bound on the global gradient norm, 0
    or none for no bound, from the update numbered clip_from on (0 is the first). join_first: the first step's gradients
    wait and are added to the second's, as in trainers whose step 0 goes backward without stepping; that takes memory
    for one more gradient.
    """

    name: Literal['adamw', 'muon'] = 'adamw'
    learning_rate: Rate = 1e-4
    schedule: Literal['constant', 'cosine'] = 'constant'
    warmup_steps: Whole = 0
    weight_decay: Weight = 0.0
    decay: Annotated[str, Regex()] = MATRIX
    b1: Decay = 0.9
    b2: Decay = 0.999
    clip: Annotated[float, AtLeast(0, 1e30)] | None = 1.0
    clip_from: Whole = 0
    join_first: bool = False
    adam_learning_rate: Rate = 1e-3
    adam: Annotated[str, Regex()] = r'(embed|modulation|shared|caption|head)'
    momentum: Decay = 0.95


def schedule(config: OptimConfig, peak: float, steps: int) -> optax.Schedule:
    """Learning rate over `steps` steps: linear warm-up from zero, then constant or cosine to zero."""
    rest = max(steps - config.warmup_steps, 1)
    tail = optax.cosine_decay_schedule(peak, rest) if config.schedule == 'cosine' else optax.constant_schedule(peak)
    return optax.join_schedules([optax.linear_schedule(0.0, peak, config.warmup_steps), tail], [config.warmup_steps])


def rates_of(config: OptimConfig, steps: int) -> dict[str, optax.Schedule]:
    """The schedules that a run's optimizer follows, by the names that its metrics call them."""
    main, adam = RATES
    rates = {main: schedule(config, config.learning_rate, steps)}
    if config.name == 'muon':
        rates[adam] = schedule(config, config.adam_learning_rate, steps)
    return rates


def make_rates(config: OptimConfig, steps: int) -> Callable:
    """opt_state -> the learning rates of the update that it is about to make, () float32 by name; pure.

    The optimizer's own count decides, which stands still where an update is left out.
    """
    rates = rates_of(config, steps)

    def is_schedule(node):
        return isinstance(node, optax.ScaleByScheduleState)

    def learning_rates(opt_state) -> dict[str, jax.Array]:
        states = filter(is_schedule, jax.tree.leaves(opt_state, is_leaf=is_schedule))
        count = next(states).count
        return {name: jnp.asarray(rate(count), jnp.float32) for name, rate in rates.items()}

    return learning_rates


def stretched(config: OptimConfig, before: int, after: int, step: int) -> str:
    """What it means for the learning rate that a run of `before` steps goes on as one of `after` steps; '' if nothing.

    step: the updates made so far.
    """
    if before == after or config.schedule == 'constant':
        return ''
    old, new = rates_of(config, before), rates_of(config, after)
    changes = [
        f'{name} is {float(new[name](step)):.3g} and would have been {float(old[name](step)):.3g}' for name in new
    ]
    warmup = f' after a warm-up of {config.warmup_steps} steps, which stays,' if config.warmup_steps else ''
    return (
        f'config.train.steps was {before} and is {after}: the {config.schedule}{warmup} is stretched; from step {step} '
        f'on {" and ".join(changes)}'
    )


def matches(tree, pattern: str):
    """A tree of booleans: whether each leaf's path matches the regex."""
    return jax.tree_util.tree_map_with_path(lambda path, _: bool(re.search(pattern, path_name(path))), tree)


def muon_dimensions(config: OptimConfig):
    """params -> for each leaf its matrix dimensions, or None where Adam has it.

    optax takes only 2-D leaves for matrices unless told: a layer-stacked kernel (layers, in, out) is a matrix in its
    last two dimensions, one for each layer; a convolution's (rows, columns, in, out), or one over time too, is one
    matrix from all that it looks at (Jordan et al. 2024).
    """

    def dimensions(path, leaf):
        name = path_name(path)
        if leaf.ndim < 2 or not re.search(MATRIX, name) or re.search(config.adam, name):
            return None
        looked_at = tuple(range(leaf.ndim - 1)) if leaf.ndim > 3 else leaf.ndim - 2
        return contrib.MuonDimensionNumbers(looked_at, leaf.ndim - 1)

    return lambda params: jax.tree_util.tree_map_with_path(dimensions, params)


def make_optimizer(config: OptimConfig, steps: int) -> optax.GradientTransformation:
    """Gradient transformation for a run of `steps` steps.

    AdamW (Loshchilov & Hutter 2019); Muon (Jordan et al. 2024), momentum orthogonalised by five Newton-Schulz steps.
    """
    rate = schedule(config, config.learning_rate, steps)

    def mask(params):
        return matches(params, config.decay)

    def adamw(rate):
        return optax.adamw(rate, config.b1, config.b2, weight_decay=config.weight_decay, mask=mask)

    if config.name == 'adamw':
        main = adamw(rate)
    else:
        dimensions = muon_dimensions(config)
        muon = contrib.muon(
            rate,
            beta=config.momentum,
            weight_decay=config.weight_decay,
            weight_decay_mask=mask,
            muon_weight_dimension_numbers=dimensions,
        )
        # optax's muon has an AdamW of its own for the rest, but one that decays biases too: hence the outer partition
        groups = {'muon': muon, 'adam': adamw(schedule(config, config.adam_learning_rate, steps))}

        def is_none(leaf):
            return leaf is None or isinstance(leaf, contrib.MuonDimensionNumbers)

        def label(leaf):
            return 'adam' if leaf is None else 'muon'

        main = optax.partition(groups, lambda params: jax.tree.map(label, dimensions(params), is_leaf=is_none))
    chain = optax.chain(clipped(config.clip, config.clip_from), main) if config.clip else main
    return joined_first(chain) if config.join_first else chain


def clipped(bound: float, start: int) -> optax.GradientTransformation:
    """The global norm bounded, from update `start` on."""
    always = optax.clip_by_global_norm(bound)
    if not start:
        return always

    def update(grads, count, params=None):
        bounded, _ = always.update(grads, always.init(grads))
        return jax.tree.map(lambda a, b: jnp.where(count < start, a, b), grads, bounded), count + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)


class Joined(NamedTuple):
    """Of `joined_first`: updates asked for, the gradients that wait, and the state of what they are meant for."""

    count: jax.Array
    waiting: optax.Updates
    inner: optax.OptState


def joined_first(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """`inner`, whose first update is of the gradients of the first two steps, added up; the first step changes
    nothing.
    """

    def init(params):
        return Joined(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params), inner.init(params))

    def update(grads, state, params=None):
        first = state.count == 0
        updates, after = inner.update(jax.tree.map(jnp.add, grads, state.waiting), state.inner, params)

        def pick(a, b):
            return jax.tree.map(lambda a, b: jnp.where(first, a, b), a, b)

        waiting = jax.tree.map(lambda grad: jnp.where(first, grad, 0), grads)
        updates = jax.tree.map(lambda update: jnp.where(first, 0, update), updates)
        return updates, Joined(state.count + 1, waiting, pick(state.inner, after))

    return optax.GradientTransformation(init, update)
