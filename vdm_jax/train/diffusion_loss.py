"""Diffusion training loss: noise the clean latents, let the network predict, weigh its error."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vdm_jax.codecs.codec import Codec
from vdm_jax.diffusion.objective import Objective
from vdm_jax.models.conditions import Conditions, without
from vdm_jax.train.step import Frozen, Losses, TrainingLoss
from vdm_jax.train.types import Batch, Params

PICTURES = ('video', 'moments', 'images', 'image_label')  # of a batch; all else conditions the network
TEXTS_AND_LABELS = ('label', 'text', 'text_mask')  # conditions that are dropped together; all others are scalars
ENCODING = 7  # folded into an example's key, for what its codec draws

Network = Callable[[Params, jax.Array, jax.Array, Conditions, int], jax.Array]


@dataclasses.dataclass(frozen=True)
class DiffusionLoss(TrainingLoss):
    """The loss of a network that predicts a part of the noise, or of what is under it.

    Attributes:
      network: (params, x_t, t in the process's numbering, conditions, images) -> output.
      objective: The process, what is predicted, at which times, and how errors are weighted.
      codec: What makes latents of pixels.
      classes: The label that means "no label".
    """

    network: Network
    objective: Objective
    codec: Codec
    classes: int

    def __call__(self, params: Params, batch: Batch, keys: jax.Array, frozen: Frozen) -> Losses:
        """Return the loss of each example."""
        x0, conditions, images = encode_batch(batch, self.codec, frozen.get('codec', {}), keys)
        return compute_losses(self.network, self.objective, params, x0, conditions, self.classes, keys, images)

    def for_validation(self) -> 'DiffusionLoss':
        """Return the same loss with no condition dropped, and no frame clean by chance."""
        objective = dataclasses.replace(self.objective, condition_dropout=0.0, clean_context=0.0)
        return dataclasses.replace(self, objective=objective)


def compute_losses(
    network: Network,
    objective: Objective,
    params: Params,
    x0: jax.Array,
    conditions: Conditions,
    classes: int,
    keys: jax.Array,
    images: int = 0,
) -> Losses:
    """Return the loss of each example.

    Args:
      network: (params, x_t, t in the process's numbering, conditions, images) -> output.
      objective: The process, what is predicted, at which times, and how errors are weighted.
      params: The network's parameters.
      x0: Clean latents (B, T + images, H, W, C) float32; the last `images` are single images.
      conditions: What the network is conditioned on, as VideoDiT has it.
      classes: The label that means "no label".
      keys: One for each row, (B,).
      images: How many single images are behind each clip.
    """
    process = objective.process
    frames = x0.shape[1] - images

    draws = jax.vmap(functools.partial(_draw, objective, frames, images, x0.shape[1:]))(keys)
    t = draws.t
    conditions = _drop_conditions(objective, conditions, classes, draws)
    x_t = process.corrupt(x0, draws.eps, t)

    def predict(conditions: Conditions) -> jax.Array:
        return network(params, process.model_input(x_t, t), process.model_time(t), conditions, images)

    if objective.self_conditioning:
        # An input, through which no gradient goes (Chen et al. 2023). Made for all rows, as under jit a row cannot go
        # without.
        estimate = jax.lax.stop_gradient(objective.denoise(predict(conditions), x_t, t).x0)
        is_shown = jnp.expand_dims(draws.self_condition_chance < objective.self_conditioning, range(1, x0.ndim))
        conditions = {**conditions, 'x0': jnp.where(is_shown, estimate, 0)}
    output = predict(conditions)

    values = (output, x0, draws.eps, x_t, t)
    by_frame = objective.loss(*(_take_clip_frames(value, frames) for value in values))
    loss = by_frame.mean(1)
    if images:
        # Each image is a clip of one frame at its own time: t is (B, T + images) here.
        single = (value[:, frames:].reshape(-1, 1, *value.shape[2:]) for value in values)
        # No image is a context frame.
        image_loss = dataclasses.replace(objective, context=0).loss(*single)
        loss += objective.image_weight * image_loss.reshape(-1, images).mean(1)

    t = t[:, None] if t.ndim == 1 else t[:, objective.context : frames]
    return Losses(loss, by_frame, jnp.broadcast_to(t, by_frame.shape))


class _Draws(NamedTuple):
    """What is drawn for an example.

    Attributes:
      t: Times, () for one of the clip, else (T + images,).
      eps: Noise, shaped like x0.
      drop_chance: In [0, 1); label and text are dropped where it is below condition_dropout.
      self_condition_chance: In [0, 1); x0's first estimate is shown where it is below self_conditioning.
      scalar_chance: In [0, 1); scalars are dropped where it is below condition_dropout.
    """

    t: jax.Array
    eps: jax.Array
    drop_chance: jax.Array
    self_condition_chance: jax.Array
    scalar_chance: jax.Array


def _draw(objective: Objective, frames: int, images: int, shape: tuple[int, ...], key: jax.Array) -> _Draws:
    # All keys at once, whatever of them is used: no option moves what is drawn for another.
    t_key, noise_key, drop_key, self_key, scalar_key, image_key = jax.random.split(key, 6)
    t = objective.draw_times(t_key, frames)
    if images:
        image_t = _image_times(objective, image_key, t, images)
        t = jnp.concatenate([jnp.broadcast_to(t, frames), image_t])
    return _Draws(
        t=t,
        eps=jax.random.normal(noise_key, shape),
        drop_chance=jax.random.uniform(drop_key),
        self_condition_chance=jax.random.uniform(self_key),
        scalar_chance=jax.random.uniform(scalar_key),
    )


def _image_times(objective: Objective, key: jax.Array, clip_t: jax.Array, images: int) -> jax.Array:
    if objective.image_time == 'own':
        return objective.process.snap(objective.time.sample(key, (images,), objective.process))
    return jnp.broadcast_to(clip_t, images)


def _drop_conditions(objective: Objective, conditions: Conditions, classes: int, draws: _Draws) -> Conditions:
    dropout = objective.condition_dropout
    dropped = without(conditions, classes, draws.drop_chance < dropout)
    # Scalars are dropped by a draw of their own: a network that knows a label must learn to do without them, too.
    for name in sorted(set(dropped) - set(TEXTS_AND_LABELS)):
        # nan is the scalar that nobody knows, as of a record that has none.
        dropped[name] = jnp.where(draws.scalar_chance < dropout, jnp.nan, dropped[name])
    return dropped


def _take_clip_frames(value: jax.Array, frames: int) -> jax.Array:
    """Return a value (B, T + images, …) of the clip's frames alone; one (B,) is the clip's already."""
    return value if value.ndim == 1 else value[:, :frames]


def encode_batch(batch: Batch, codec: Codec, weights: Params, keys: jax.Array) -> tuple[jax.Array, Conditions, int]:
    """Return the clean latents (B, T + k, …), conditions and k of a batch, the k images behind their clip.

    Args:
      batch: As train_step has it.
      codec: What makes latents of pixels.
      weights: The codec's.
      keys: One for each row, (B,), for a codec that draws latents.
    """
    conditions = {name: value for name, value in batch.items() if name not in PICTURES}

    def split_key(key: jax.Array) -> jax.Array:
        return jax.random.split(jax.random.fold_in(key, ENCODING))

    clip_keys, image_keys = jax.vmap(split_key, out_axes=1)(keys)
    if 'moments' in batch:
        # A cache of latents may hold float16.
        x0 = codec.latents_from_moments(batch['moments'].astype(jnp.float32), clip_keys)
    else:
        x0 = codec.encode(weights, batch['video'], clip_keys)
    if 'images' not in batch:
        return x0, conditions, 0

    size, count = batch['images'].shape[:2]
    image_keys = jax.vmap(lambda key: jax.random.split(key, count))(image_keys).reshape(-1)
    # The codec takes each image for a video of one frame.
    images = codec.encode(weights, batch['images'].reshape(-1, 1, *batch['images'].shape[2:]), image_keys)
    label = jnp.broadcast_to(batch['label'][:, None], x0.shape[:2])
    conditions['label'] = jnp.concatenate([label, batch['image_label']], 1)
    return jnp.concatenate([x0, images.reshape(size, count, *images.shape[2:])], 1), conditions, count
