"""Learning to denoise: what a batch costs a network that predicts a part of the noise, or of what is under it."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp

from vdm_jax.codecs.codec import Codec
from vdm_jax.diffusion.objective import Objective
from vdm_jax.models.conditions import without
from vdm_jax.train.step import Losses

PICTURES = 'video', 'moments', 'images', 'image_label'  # of a batch; all else is what the network is told
ENCODING = 7  # folded into an example's key, for what its codec draws


@dataclasses.dataclass(frozen=True)
class DiffusionLoss:
    """A TrainingLoss. network: (params, x_t, t in the process's numbering, conditions, images) -> output; classes: the
    label that means "no label".
    """

    network: Callable
    objective: Objective
    codec: Codec
    classes: int

    def __call__(self, params, batch, keys, frozen):
        x0, conditions, images = encode_batch(batch, self.codec, frozen.get('codec', {}), keys)
        return compute_losses(self.network, self.objective, params, x0, conditions, self.classes, keys, images)

    abstract_frozen: ClassVar = {}
    parts: ClassVar = ()

    def for_validation(self):
        """The same with no condition dropped, and no frame given by chance."""
        certain = dataclasses.replace(self.objective, condition_dropout=0.0, clean_context=0.0)
        return dataclasses.replace(self, objective=certain)


def compute_losses(network: Callable, objective: Objective, params, x0, conditions: dict, classes: int, keys, images: int = 0):
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

            def own():
                return process.snap(objective.time.sample(image_key, (images,), process))

            alone = own() if objective.image_time == 'own' else jnp.broadcast_to(t, images)
            t = jnp.concatenate([jnp.broadcast_to(t, frames), alone])
        chances = map(jax.random.uniform, (drop_key, own_key, scalar_key))
        return t, jax.random.normal(noise_key, x0.shape[1:]), *chances

    t, eps, drop_B, own_B, scalar_B = jax.vmap(draw)(keys)
    told = without(conditions, classes, drop_B < objective.condition_dropout)
    for name in sorted(set(told) - {'label', 'text', 'text_mask'}):  # scalars, which are left out by themselves
        told[name] = jnp.where(scalar_B < objective.condition_dropout, jnp.nan, told[name])
    x_t = process.corrupt(x0, eps, t)

    def asked(told):
        return network(params, process.model_input(x_t, t), process.model_time(t), told, images)

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


def encode_batch(batch: dict, codec, weights: dict, keys):
    """A batch's (clean latents (B, T + k, …), conditions, k): its clips, with the images of the source behind them.

    weights: the codec's. keys: one a row, for a codec that draws latents.
    """
    conditions = {name: value for name, value in batch.items() if name not in PICTURES}
    keys, image_keys = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, ENCODING)), out_axes=1)(keys)
    if 'moments' in batch:
        x0 = codec.normalised(batch['moments'].astype(jnp.float32), keys)  # a cache may hold float16
    else:
        x0 = codec.encode(weights, batch['video'], keys)
    if 'images' not in batch:
        return x0, conditions, 0
    size, count = batch['images'].shape[:2]
    image_keys = jax.vmap(lambda key: jax.random.split(key, count))(image_keys).reshape(-1)
    images = codec.encode(weights, batch['images'].reshape(-1, 1, *batch['images'].shape[2:]), image_keys)
    label = jnp.broadcast_to(batch['label'][:, None], x0.shape[:2])
    conditions['label'] = jnp.concatenate([label, batch['image_label']], 1)
    return jnp.concatenate([x0, images.reshape(size, count, *images.shape[2:])], 1), conditions, count
