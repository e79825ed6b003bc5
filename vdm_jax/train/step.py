"""One training step: from a batch to new parameters, whatever the loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.sharding import constrain
from vdm_jax.prng import stream_key
from vdm_jax.train import ema
from vdm_jax.train.finite import is_finite, keep_if_finite
from vdm_jax.train.state import TrainState
from vdm_jax.train.types import ArrayTree, Batch, Params, Scalars, ShapeTree

Sum = TypeVar('Sum')  # a tree of arrays
Frozen = Mapping[str, Any]  # weights that are used and not learned, by what they are for
LearningRates = Callable[[optax.OptState], Scalars]
TrainStep = Callable[..., tuple[TrainState, Scalars]]
ValidationStep = Callable[..., 'Losses']


class Losses(NamedTuple):
    """Losses of the examples of a batch.

    Attributes:
      loss: What is trained on, (B,) float32.
      by_frame: Loss of each frame that is no context frame, (B, T - context); None where frames have none of their own.
      t: Time of each of those frames, (B, T - context); None where no time is drawn.
      parts: Parts of the loss that are logged by name, (B,) each.
    """

    loss: jax.Array
    by_frame: jax.Array | None = None
    t: jax.Array | None = None
    parts: dict[str, jax.Array] = {}  # never written to


class TrainingLoss(ABC):
    """A loss that a run trains on: diffusion_loss.py, autoencoder_loss.py."""

    @abstractmethod
    def __call__(self, params: Params, batch: Batch, keys: jax.Array, frozen: Frozen) -> Losses:
        """Return the loss of each example.

        Args:
          params: The network's parameters.
          batch: {'video': uint8 (B, T, H, W, C), 'label': int32 (B,), …}.
          keys: One for each row, (B,).
          frozen: Weights that are used and not learned, by what they are for.
        """

    @property
    def abstract_frozen(self) -> dict[str, ShapeTree]:
        """Shapes of the frozen weights that it needs beside the codec's."""
        return {}

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of the loss that Losses.parts holds."""
        return ()

    @abstractmethod
    def for_validation(self) -> 'TrainingLoss':
        """Return the same loss with no condition dropped; self-conditioning stays as in training."""


def example_keys(key: jax.Array, step: jax.Array | int, rows: int) -> jax.Array:
    """Return one key for each example, fold_in(fold_in(key, step), global row), (B,).

    So the noise of an example depends neither on hosts nor on the mesh.
    """
    step_key = jax.random.fold_in(key, step)

    def fold_in_row(row: jax.Array) -> jax.Array:
        return jax.random.fold_in(step_key, row)

    return jax.vmap(fold_in_row)(jnp.arange(rows))


def no_learning_rates(opt_state: optax.OptState) -> Scalars:
    """Return no scalars."""
    return {}


def make_train_step(
    loss: TrainingLoss,
    optimizer: optax.GradientTransformation,
    ema_config: ema.EmaConfig,
    seed: int,
    batch_size: int | None = None,
    accumulate: int = 1,
    skip_nonfinite: bool = False,
    learning_rates: LearningRates = no_learning_rates,
) -> TrainStep:
    """Return (state, batch, frozen={}) -> (state, scalars), pure, to be jitted: state donated, its shardings pinned.

    A batch is {'video': uint8 (B, T, H, W, C), 'label': int32 (B,)}, with 'images' uint8 (B, k, H, W, C) and
    'image_label' int32 (B, k) where the source joins images, and whatever else conditions the network. Scalars are
    float32 averages over the global batch; 'finite' is whether the update was.

    Args:
      loss: What is trained on.
      optimizer: What makes updates of gradients.
      ema_config: Which averages are kept.
      seed: The run's.
      batch_size: Rows that count; those behind them only fill up the devices. None counts all.
      accumulate: Microbatches that a batch is worked through in, one after the other; their gradients are added up.
      skip_nonfinite: Whether an update that is not finite changes nothing but the step.
      learning_rates: opt_state -> the learning rates of the update that it is about to make; they are scalars too.
    """
    key = stream_key(seed, 'training')

    def train_step(state: TrainState, batch: Batch, frozen: Mapping[str, Any] = {}) -> tuple[TrainState, Scalars]:
        rows = len(batch['label'])
        # Rows that only fill up the devices are computed like the others, and then count nothing.
        examples = (batch, example_keys(key, state.step, rows), jnp.arange(rows) < (batch_size or rows))

        def compute_loss(params: Params, microbatch: ArrayTree) -> tuple[jax.Array, Scalars]:
            return _sum_losses(loss, params, microbatch, frozen, batch_size or rows)

        def compute_gradients(microbatch: ArrayTree) -> ArrayTree:
            return jax.value_and_grad(compute_loss, has_aux=True)(state.params, microbatch)

        (mean_loss, parts), grads = sum_over_microbatches(compute_gradients, examples, accumulate)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)

        scalars = {'loss': mean_loss, **parts, **_norms(grads, updates, params)}
        averages = ema.update(ema_config, state.ema, params, state.step)
        # Loss and norms cover all of the new state, so that no array of it need be looked at.
        scalars['finite'] = is_finite(scalars)
        # Of the state before the update: the count in it is that of this update.
        scalars |= learning_rates(state.opt_state)

        learned = (params, averages, opt_state)
        # The step counts on all the same, so that the next one has another batch and other noise.
        if skip_nonfinite:
            learned = keep_if_finite(scalars['finite'], learned, (state.params, state.ema, state.opt_state))
        return TrainState(state.step + 1, *learned), scalars

    return train_step


def _norms(grads: Params, updates: Params, params: Params) -> Scalars:
    """Return the global norms of an update's gradients, of the update itself, and of the parameters after it."""
    return {
        'grad_norm': optax.tree.norm(grads),
        'update_norm': optax.tree.norm(updates),
        'param_norm': optax.tree.norm(params),
    }


def _sum_losses(
    loss: TrainingLoss, params: Params, microbatch: ArrayTree, frozen: Frozen, count: int
) -> tuple[jax.Array, Scalars]:
    """Return a microbatch's share in the mean loss of all `count` rows of its batch, and in each part of the loss.

    microbatch: its examples, their keys, and which of its rows count.
    """
    batch, keys, counts = microbatch
    losses = loss(params, batch, keys, frozen)

    # No mean of its own: microbatches are added up.
    def sum_rows(values: jax.Array) -> jax.Array:
        return jnp.where(counts, values, 0).sum() / count

    return sum_rows(losses.loss), jax.tree.map(sum_rows, losses.parts)


def sum_over_microbatches(compute: Callable[[ArrayTree], Sum], examples: ArrayTree, count: int) -> Sum:
    """Return the sum of compute(microbatch) over `count` microbatches of a tree of examples, leaves (B, ...).

    Microbatch i has the rows i, i + count, i + 2 count, ..., so that on a mesh each device keeps its own rows.
    """
    if count == 1:
        return compute(examples)

    def split(leaf: jax.Array) -> jax.Array:
        return constrain(leaf.reshape(-1, count, *leaf.shape[1:]).swapaxes(0, 1), None, BATCH)

    def add(total: Sum, microbatch: ArrayTree) -> tuple[Sum, None]:
        return jax.tree.map(jnp.add, total, compute(microbatch)), None

    # A scan needs its first total before it computes one: only its shapes are traced here.
    examples = jax.tree.map(split, examples)
    shapes = jax.eval_shape(compute, jax.tree.map(lambda leaf: leaf[0], examples))
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    total: Sum = jax.lax.scan(add, zeros, examples)[0]
    return total


def make_validation_step(loss: TrainingLoss, seed: int) -> ValidationStep:
    """Return (params, batch, index, frozen={}) -> Losses, with the same noise and times every time."""
    # A stream of its own: validating more or less often changes no training step.
    key = stream_key(seed, 'validation')
    loss = loss.for_validation()

    def validation_step(params: Params, batch: Batch, index: int, frozen: Mapping[str, Any] = {}) -> Losses:
        return loss(params, batch, example_keys(key, index, len(batch['label'])), frozen)

    return validation_step
