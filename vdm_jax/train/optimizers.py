"""Optimizers: AdamW, Lion, and Muon for the matrices of layer-stacked networks.

Each is a frozen dataclass that holds its own hyperparameters and makes its update rule. What goes around every rule,
the clipping of gradients and the joining of the first two, is in gradient_transforms.py.
"""

import re
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from vdm_jax.config.ranges import Above0, AtLeast, Decay, Ranged, Regex, Weight, Whole
from vdm_jax.parallel.rules import KeyPath, path_name
from vdm_jax.train.gradient_transforms import clip_by_global_norm, join_first_gradients
from vdm_jax.train.types import ArrayTree, Params, Scalars

MATRIX = r'kernel$'
# Whatever float32 computes with: what makes a run diverge is found in training.
Rate = Annotated[float, Above0(1e-30, 1e30)]
RATES = ('learning_rate', 'learning_rate_adam')  # what metrics call them

MaskTree = Any  # of bool
LabelTree = Any  # of str
DimensionTree = Any  # of contrib.MuonDimensionNumbers, or None


@dataclass(frozen=True)
class Optimizer(Ranged, where='config.optim'):
    """What every optimizer has: a schedule of its learning rate, weight decay, and what gradients go through first.

    Attributes:
      learning_rate: Peak of the schedule, reached after the warm-up.
      schedule: After the warm-up, 'constant' stays at the peak; 'cosine' falls to zero at the last step.
      warmup_steps: Steps of linear warm-up from zero.
      weight_decay: Decoupled weight decay, of the parameters that `decay` matches.
      decay: Regex on parameter paths.
      clip: Bound on the global norm of the gradients; 0 or none for no bound.
      clip_from: Number of the first update that is clipped, 0 for all of them.
      join_first: Whether the gradients of the first step wait and are added to the second's, as in trainers whose step
        0 goes backward without stepping. It takes memory for one more gradient.
    """

    learning_rate: Rate = 1e-4
    schedule: Literal['constant', 'cosine'] = 'constant'
    warmup_steps: Whole = 0
    weight_decay: Weight = 0.0
    decay: Annotated[str, Regex()] = MATRIX
    clip: Annotated[float, AtLeast(0, 1e30)] | None = 1.0
    clip_from: Whole = 0
    join_first: bool = False

    def make(self, steps: int) -> optax.GradientTransformation:
        """Return the gradient transformation of a run of `steps` steps."""
        transform = self.update_rule(steps)
        if self.clip:
            transform = optax.chain(clip_by_global_norm(self.clip, self.clip_from), transform)
        # Around the clipping, so that the sum of the first two gradients is what is clipped.
        return join_first_gradients(transform) if self.join_first else transform

    @abstractmethod
    def update_rule(self, steps: int) -> optax.GradientTransformation:
        """Return what the optimizer makes of gradients that are clipped and joined already."""

    def peaks(self) -> dict[str, float]:
        """Return the peaks of the learning rates that it follows, by the names that metrics call them."""
        return {RATES[0]: self.learning_rate}

    def schedules(self, steps: int) -> dict[str, optax.Schedule]:
        """Return the schedules of a run of `steps` steps, by the same names."""
        return {name: self.schedule_to(peak, steps) for name, peak in self.peaks().items()}

    def schedule_to(self, peak: float, steps: int) -> optax.Schedule:
        """Return update number -> learning rate, over `steps` steps: linear warm-up from zero, then the schedule."""
        # A run that ends within the warm-up has no tail, but optax wants one of some length.
        rest = max(steps - self.warmup_steps, 1)
        tail = optax.cosine_decay_schedule(peak, rest) if self.schedule == 'cosine' else optax.constant_schedule(peak)
        return optax.join_schedules([optax.linear_schedule(0.0, peak, self.warmup_steps), tail], [self.warmup_steps])

    def decay_mask(self, params: Params) -> MaskTree:
        """Return a tree of booleans: whether weight decay applies to each leaf."""
        return match_paths(params, self.decay)


@dataclass(frozen=True)
class AdamW(Optimizer, where='config.optim'):
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).

    Attributes:
      b1: Decay of the mean of the gradients.
      b2: Decay of the mean of their squares.
    """

    b1: Decay = 0.9
    b2: Decay = 0.999

    def update_rule(self, steps: int) -> optax.GradientTransformation:
        """Return AdamW at the scheduled rate."""
        rate = self.schedule_to(self.learning_rate, steps)
        return optax.adamw(rate, self.b1, self.b2, weight_decay=self.weight_decay, mask=self.decay_mask)


@dataclass(frozen=True)
class Lion(Optimizer, where='config.optim'):
    """Lion, the sign of an interpolated momentum (Chen et al. 2023, arXiv:2302.06675).

    Its paper takes a learning rate 3 to 10 times smaller than AdamW's, and a weight decay as much larger.

    Attributes:
      b1: Weight of the momentum in the update whose sign is taken.
      b2: Decay of the momentum itself.
    """

    b1: Decay = 0.9
    b2: Decay = 0.99

    def update_rule(self, steps: int) -> optax.GradientTransformation:
        """Return Lion at the scheduled rate."""
        rate = self.schedule_to(self.learning_rate, steps)
        return optax.lion(rate, self.b1, self.b2, weight_decay=self.weight_decay, mask=self.decay_mask)


@dataclass(frozen=True)
class Muon(Optimizer, where='config.optim'):
    """Muon (Jordan et al. 2024): momentum orthogonalised by five Newton-Schulz steps, for matrices; Adam for the rest.

    Attributes:
      momentum: Of the matrices, whose peak rate is `learning_rate`.
      adam: Regex on paths of kernels that Adam has too, as it has everything that is no matrix.
      adam_learning_rate: Peak rate of Adam's part, on the same schedule.
      b1: Decay of the mean of the gradients, in Adam's part.
      b2: Decay of the mean of their squares, in Adam's part.
    """

    momentum: Decay = 0.95
    adam: Annotated[str, Regex()] = r'(embed|modulation|shared|caption|head)'
    adam_learning_rate: Rate = 1e-3
    b1: Decay = 0.9
    b2: Decay = 0.999

    def peaks(self) -> dict[str, float]:
        """Return the peaks of both parts."""
        return dict(zip(RATES, (self.learning_rate, self.adam_learning_rate), strict=True))

    def update_rule(self, steps: int) -> optax.GradientTransformation:
        """Return Muon for the matrices and AdamW for the rest, each at its scheduled rate."""
        rate, adam_rate = self.schedules(steps).values()
        muon = contrib.muon(
            rate,
            beta=self.momentum,
            weight_decay=self.weight_decay,
            weight_decay_mask=self.decay_mask,
            muon_weight_dimension_numbers=self.matrix_dimensions,
        )
        adam = optax.adamw(adam_rate, self.b1, self.b2, weight_decay=self.weight_decay, mask=self.decay_mask)
        # optax's muon has an AdamW of its own for the rest, but one that decays biases too: hence the outer partition.
        return optax.partition({'muon': muon, 'adam': adam}, self._label_leaves)

    def matrix_dimensions(self, params: Params) -> DimensionTree:
        """Return for each leaf its matrix dimensions, or None where Adam has it.

        By itself optax takes only 2-D leaves for matrices. A layer-stacked kernel (layers, in, out) is a matrix in its
        last two dimensions, one for each layer; a convolution's (rows, columns, in, out), or one over time too, is one
        matrix from all that it looks at (Jordan et al. 2024).
        """

        def dimensions_of(path: KeyPath, leaf: jax.ShapeDtypeStruct) -> contrib.MuonDimensionNumbers | None:
            name = path_name(path)
            if leaf.ndim < 2 or not re.search(MATRIX, name) or re.search(self.adam, name):
                return None
            inputs = tuple(range(leaf.ndim - 1)) if leaf.ndim > 3 else leaf.ndim - 2
            return contrib.MuonDimensionNumbers(inputs, leaf.ndim - 1)

        return jax.tree_util.tree_map_with_path(dimensions_of, params)

    def _label_leaves(self, params: Params) -> LabelTree:
        # By itself jax takes None for an empty tree, and dimension numbers, a tuple, for a tree of their fields.
        def is_leaf(node: Any) -> bool:
            return node is None or isinstance(node, contrib.MuonDimensionNumbers)

        def label(dimensions: contrib.MuonDimensionNumbers | None) -> str:
            return 'adam' if dimensions is None else 'muon'

        return jax.tree.map(label, self.matrix_dimensions(params), is_leaf=is_leaf)


def match_paths(tree: ArrayTree, pattern: str) -> MaskTree:
    """Return a tree of booleans: whether each leaf's path matches the regex."""

    def matches(path: KeyPath, leaf: jax.Array) -> bool:
        return bool(re.search(pattern, path_name(path)))

    return jax.tree_util.tree_map_with_path(matches, tree)


def make_learning_rates(optimizer: Optimizer, steps: int) -> Callable[[optax.OptState], Scalars]:
    """Return opt_state -> the learning rates of the update that it is about to make, () float32 by name; pure.

    The optimizer's own count decides, which stands still where an update is left out.
    """
    schedules = optimizer.schedules(steps)

    def is_schedule(node: Any) -> bool:
        return isinstance(node, optax.ScaleByScheduleState)

    def learning_rates(opt_state: optax.OptState) -> Scalars:
        # Every schedule of an optimizer counts the same updates: the first one will do.
        states = filter(is_schedule, jax.tree.leaves(opt_state, is_leaf=is_schedule))
        count = next(states).count
        return {name: jnp.asarray(schedule(count), jnp.float32) for name, schedule in schedules.items()}

    return learning_rates


def explain_stretch(optimizer: Optimizer, before: int, after: int, step: int) -> str:
    """Return what it does to the learning rates that a run of `before` steps goes on as one of `after` steps.

    Args:
      optimizer: The run's optimizer.
      before: Steps of the run so far.
      after: Steps of the run from now on.
      step: Updates made so far.

    Returns:
      A line for whoever reads the log; '' where nothing changes.
    """
    if before == after or optimizer.schedule == 'constant':
        return ''

    old = optimizer.schedules(before)
    new = optimizer.schedules(after)
    changes = [
        f'{name} is {float(new[name](step)):.3g} and would have been {float(old[name](step)):.3g}' for name in new
    ]
    warmup = f' after a warm-up of {optimizer.warmup_steps} steps, which stays,' if optimizer.warmup_steps else ''
    return (
        f'config.train.steps was {before} and is {after}: the {optimizer.schedule}{warmup} is stretched; from step '
        f'{step} on {" and ".join(changes)}'
    )
