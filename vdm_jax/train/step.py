"""One training step: where data, model and diffusion meet."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from vdm_jax.diffusion.objective import Objective
from vdm_jax.models.conditions import without
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.verbs import constrain
from vdm_jax.streams import stream
from vdm_jax.train import ema
from vdm_jax.train.state import TrainState


class Losses(NamedTuple):
    """What is trained on, (B,) float32; and loss and time of each frame of the clips that is not given, (B, T)."""

    loss: jax.Array
    by_frame: jax.Array
    t: jax.Array


def example_keys(key, step, batch: int):
    """One key an example, fold_in(fold_in(key, step), global row): noise does not depend on hosts or meshes; (B,)."""
    step_key = jax.random.fold_in(key, step)
    return jax.vmap(lambda row: jax.random.fold_in(step_key, row))(jnp.arange(batch))


def losses(network: Callable, objective: Objective, params, x0, conditions: dict, classes: int, keys, images: int = 0):
    """What each example costs.

    Args:
      network: (params, x_t, t in the process's numbering, conditions, images) -> output.
      x0: clean latents (B, T + images, H, W, C) float32; the last `images` are single images.
      conditions: what the network is told, as VideoDiT has it; `classes` is "no label".
      keys: one a row, (B,).
    """
    process, frames = objective.process, x0.shape[1] - images

    def draw(key):
        t_key, noise_key, drop_key, own_key, scalar_key, image_key = jax.random.split(key, 6)
        t = objective.draw_times(t_key, frames)
        if images:
            alone = process.snap(objective.time.sample(image_key, (images,), process))
            t = jnp.concatenate([jnp.broadcast_to(t, frames), alone])
        chances = map(jax.random.uniform, (drop_key, own_key, scalar_key))
        return t, jax.random.normal(noise_key, x0.shape[1:]), *chances

    t, eps, drop_B, own_B, scalar_B = jax.vmap(draw)(keys)
    told = without(conditions, classes, drop_B < objective.condition_dropout)
    for name in sorted(set(told) - {'label', 'text', 'text_mask'}):  # scalars, which are left out by themselves
        told[name] = jnp.where(scalar_B < objective.condition_dropout, jnp.nan, told[name])
    x_t = process.corrupt(x0, eps, t)
    asked = lambda told: network(params, process.model_input(x_t, t), process.model_time(t), told, images)
    if objective.self_conditioning:
        first = jax.lax.stop_gradient(objective.denoise(asked(told), x_t, t).x0)
        shown = jnp.expand_dims(own_B < objective.self_conditioning, range(1, x0.ndim))
        told = told | {'x0': jnp.where(shown, first, 0)}
    output = asked(told)
    parts = output, x0, eps, x_t, t
    by_frame = objective.loss(*(part if part.ndim == 1 else part[:, :frames] for part in parts))
    loss = by_frame.mean(1)
    if images:  # each by itself, at its own time: t is (B, T + images)
        alone = (part[:, frames:].reshape(-1, 1, *part.shape[2:]) for part in parts)
        of_images = dataclasses.replace(objective, context=0).loss(*alone)
        loss += objective.image_weight * of_images.reshape(-1, images).mean(1)
    t = t[:, None] if t.ndim == 1 else t[:, objective.context : frames]
    return Losses(loss, by_frame, jnp.broadcast_to(t, by_frame.shape))


def example_of(batch: dict, codec):
    """A batch's (clean latents (B, T + k, …), conditions, k): its clips, with the images of the source behind them."""
    conditions = {name: value for name, value in batch.items() if name not in ('video', 'images', 'image_label')}
    x0 = codec.encode(batch['video'])
    if 'images' not in batch:
        return x0, conditions, 0
    size, count = batch['images'].shape[:2]
    images = codec.encode(batch['images'].reshape(-1, 1, *batch['images'].shape[2:]))
    label = jnp.broadcast_to(batch['label'][:, None], x0.shape[:2])
    conditions['label'] = jnp.concatenate([label, batch['image_label']], 1)
    return jnp.concatenate([x0, images.reshape(size, count, *images.shape[2:])], 1), conditions, count


def make_train_step(
    network, objective, codec, optimizer, ema_config, classes: int, seed: int, batch_size=None, accumulate: int = 1
) -> Callable:
    """(state, batch) -> (state, scalars), pure, to be jitted with the state donated and its shardings pinned.

    batch is {'video': uint8 (B, T, H, W, C), 'label': int32 (B,)}, with 'images' uint8 (B, k, H, W, C) and
    'image_label' int32 (B, k) where the source joins images, and whatever else the network is told; scalars are float32
    averages over the global batch: over its first batch_size rows (all), as those behind them only fill up the devices.
    With `accumulate` it is worked through in so many parts, one after the other, and their gradients are added up.
    """
    key = stream(seed, 'training')

    def train_step(state: TrainState, batch):
        rows = len(batch['label'])
        count = batch_size or rows

        @jax.value_and_grad
        def share_of_loss(params, batch, keys, counts):
            x0, conditions, images = example_of(batch, codec)
            loss = losses(network, objective, params, x0, conditions, classes, keys, images).loss
            return jnp.where(counts, loss, 0).sum() / count

        examples = batch, example_keys(key, state.step, rows), jnp.arange(rows) < count
        loss, grads = added_up(lambda part: share_of_loss(state.params, *part), examples, accumulate)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        scalars = {
            'loss': loss,
            'grad_norm': optax.tree.norm(grads),
            'update_norm': optax.tree.norm(updates),
            'param_norm': optax.tree.norm(params),
        }
        averages = ema.update(ema_config, state.ema, params, state.step)
        return TrainState(state.step + 1, params, averages, opt_state), scalars

    return train_step


def added_up(share: Callable, examples, parts: int):
    """The sum of share(part) over the parts of a tree of examples, leaves (B, ...).

    Part i has the rows i, i + parts, i + 2 parts, ..., so that on a mesh each device keeps its own rows.
    """
    if parts == 1:
        return share(examples)
    cut = lambda leaf: constrain(leaf.reshape(-1, parts, *leaf.shape[1:]).swapaxes(0, 1), None, BATCH)
    examples = jax.tree.map(cut, examples)
    total = jax.tree.map(
        lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(share, jax.tree.map(lambda x: x[0], examples))
    )
    return jax.lax.scan(lambda total, part: (jax.tree.map(jnp.add, total, share(part)), None), total, examples)[0]


def make_validation_step(network, objective, codec, classes: int, seed: int) -> Callable:
    """(params, batch, index) -> Losses on noise and times that are the same every time; conditions are kept."""
    key = stream(seed, 'validation')
    kept = dataclasses.replace(objective, condition_dropout=0.0)

    def validation_step(params, batch, index):
        keys = example_keys(key, index, len(batch['label']))
        x0, conditions, images = example_of(batch, codec)
        return losses(network, kept, params, x0, conditions, classes, keys, images)

    return validation_step
