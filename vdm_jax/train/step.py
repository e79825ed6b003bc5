"""One training step: from a batch to new parameters, whatever is learned."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.verbs import constrain
from vdm_jax.streams import stream
from vdm_jax.train import ema
from vdm_jax.train.finite import is_finite, keep_if_finite
from vdm_jax.train.state import TrainState


class Losses(NamedTuple):
    """What is trained on, (B,) float32; loss and time of each frame of the clips that is not given, (B, T), None where
    no time is drawn; and the parts of the loss that are worth a line of their own, (B,) each.
    """

    loss: jax.Array
    by_frame: jax.Array | None = None
    t: jax.Array | None = None
    parts: dict = {}  # never written to


class Learning(Protocol):
    """What is learned from a batch: train/denoise.py, train/reconstruct.py."""

    def __call__(self, params, batch: dict, keys, frozen: dict) -> Losses:
        """What each example costs.

        batch: {'video': uint8 (B, T, H, W, C), 'label': int32 (B,), …}; keys: one a row, (B,); frozen: weights that are
        used and not learned, by name.
        """

    @property
    def abstract_frozen(self) -> dict:
        """Shapes of the weights of `frozen` that it needs beside the codec's."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of the loss that Losses.parts holds."""

    def validating(self) -> 'Learning':
        """The same with nothing left out by chance."""


def example_keys(key, step, batch: int):
    """One key an example, fold_in(fold_in(key, step), global row): noise does not depend on hosts or meshes; (B,)."""
    step_key = jax.random.fold_in(key, step)
    return jax.vmap(lambda row: jax.random.fold_in(step_key, row))(jnp.arange(batch))


def make_train_step(
    learning: Learning,
    optimizer,
    ema_config,
    seed: int,
    batch_size: int | None = None,
    accumulate: int = 1,
    skip_nonfinite: bool = False,
    rates: Callable = lambda opt_state: {},
) -> Callable:
    """(state, batch, frozen={}) -> (state, scalars), pure, to be jitted: state donated, its shardings pinned.

    batch is {'video': uint8 (B, T, H, W, C), 'label': int32 (B,)}, with 'images' uint8 (B, k, H, W, C) and
    'image_label' int32 (B, k) where the source joins images, and whatever else the network is told; scalars are float32
    averages over the global batch: over its first batch_size rows (all), as those behind them only fill up the devices.
    'finite' is whether the update was; with `skip_nonfinite` one that was not changes nothing but the step.
    With `accumulate` it is worked through in so many parts, one after the other, and their gradients are added up.
    rates: opt_state -> the learning rates of the update that it is about to make, by name; they are scalars too.
    """
    key = stream(seed, 'training')

    def train_step(state: TrainState, batch, frozen={}):  # noqa: B006, never written to
        rows = len(batch['label'])
        count = batch_size or rows

        def share_of_loss(params, batch, keys, counts):
            found = learning(params, batch, keys, frozen)

            def share(each):
                return jnp.where(counts, each, 0).sum() / count

            return share(found.loss), jax.tree.map(share, found.parts)

        examples = batch, example_keys(key, state.step, rows), jnp.arange(rows) < count
        with_grad = jax.value_and_grad(share_of_loss, has_aux=True)
        (loss, parts), grads = added_up(lambda part: with_grad(state.params, *part), examples, accumulate)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        scalars = {
            'loss': loss,
            **parts,
            'grad_norm': optax.tree.norm(grads),
            'update_norm': optax.tree.norm(updates),
            'param_norm': optax.tree.norm(params),
        }
        averages = ema.update(ema_config, state.ema, params, state.step)
        scalars['finite'] = is_finite(scalars)
        scalars |= rates(state.opt_state)
        learned = params, averages, opt_state
        if skip_nonfinite:
            learned = keep_if_finite(scalars['finite'], learned, (state.params, state.ema, state.opt_state))
        return TrainState(state.step + 1, *learned), scalars

    return train_step


def added_up(share: Callable, examples, parts: int):
    """The sum of share(part) over the parts of a tree of examples, leaves (B, ...).

    Part i has the rows i, i + parts, i + 2 parts, ..., so that on a mesh each device keeps its own rows.
    """
    if parts == 1:
        return share(examples)

    def cut(leaf):
        return constrain(leaf.reshape(-1, parts, *leaf.shape[1:]).swapaxes(0, 1), None, BATCH)

    examples = jax.tree.map(cut, examples)
    total = jax.tree.map(
        lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(share, jax.tree.map(lambda x: x[0], examples))
    )
    return jax.lax.scan(lambda total, part: (jax.tree.map(jnp.add, total, share(part)), None), total, examples)[0]


def make_validation_step(learning: Learning, seed: int) -> Callable:
    """(params, batch, index, frozen={}) -> Losses on noise and times that are the same every time."""
    key, learning = stream(seed, 'validation'), learning.validating()

    def validation_step(params, batch, index, frozen={}):  # noqa: B006, never written to
        return learning(params, batch, example_keys(key, index, len(batch['label'])), frozen)

    return validation_step
