"""The programs that make videos: from noise by a sampler and a network, or from videos by an autoencoder."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.codecs.codec import Codec
from vdm_jax.codecs.pixels import from_bytes, split_finite_flag, to_bytes_with_finite_flag
from vdm_jax.diffusion.guidance import Guidance
from vdm_jax.diffusion.objective import Denoised, Objective
from vdm_jax.diffusion.sample_loop import sample
from vdm_jax.diffusion.samplers import Sampler
from vdm_jax.models.conditions import without

# Conditions that the unconditional half of guidance has in place of none.
NEGATIVE = {'negative': 'text', 'negative_mask': 'text_mask'}

Params = Any  # a pytree of arrays
Conditions = dict[str, jax.Array]
Videos = tuple[jax.Array, jax.Array]  # uint8 (B, T, H, W, C), and whether each is finite, bool (B,)


@dataclass(frozen=True, eq=False)
class VideoSampler:
    """Draws videos from a network.

    Attributes:
      network: (params, x, t in the process's numbering, conditions) -> prediction.
      objective: What the network predicts, and of which process.
      codec: Decodes latents to pixels.
      sampler: The steps from noise to latents.
      guidance: How far predictions are guided.
      latent_shape: (T, H, W, C) of the latents of a video.
      classes: The label that means "no label".
    """

    network: Callable[..., jax.Array]
    objective: Objective
    codec: Codec
    sampler: Sampler
    guidance: Guidance
    latent_shape: tuple[int, int, int, int]
    classes: int

    def draw(
        self,
        params: Params,
        conditions: Conditions,
        keys_B: jax.Array,
        scale: jax.Array | None,
        frozen: dict[str, Any],
    ) -> Videos:
        """Return videos; video b depends on keys_B[b] and row b of the conditions alone.

        Args:
          params: Of the network.
          conditions: As VideoDiT has them; and 'frames', uint8 (B, k, H, W, C), the context frames, where there are
            some; and 'negative' and 'negative_mask', the text to guide away from, in place of none.
          keys_B: One a video.
          scale: Of guidance, () float32; None for no guidance: the network is called once a step instead of twice.
          frozen: {'codec': its weights}, nothing for a codec without.
        """
        weights = frozen.get('codec', {})
        context = self.codec.encode(weights, conditions['frames']) if self.objective.context else None
        own = {name: value for name, value in conditions.items() if name not in ('frames', *NEGATIVE)}
        negative = {NEGATIVE[name]: conditions[name] for name in NEGATIVE if name in conditions}

        # The sampler moves all frames; before every call of the network the clean context is put back, at time 0.
        def denoise(x: jax.Array, t: jax.Array, before: jax.Array) -> Denoised:
            x = put_context(x, context)
            t_all = times_with_context(t, x.shape[1], context)
            prediction = self._predict_at_scale(params, x, t, t_all, own, negative, before, scale)
            return self.objective.denoise(prediction, x, t_all)

        # A key for each video, so that its noise does not depend on the others of its batch.
        noise_keys, step_keys = jax.vmap(jax.random.split, out_axes=1)(keys_B)
        noise = jax.vmap(lambda key: jax.random.normal(key, self.latent_shape))(noise_keys)
        x = sample(denoise, self.sampler, self.objective.process, noise, step_keys)
        x = put_context(x, context)
        videos, finite = self.codec.decode_checked(weights, x)
        # Latents are checked as well as pixels: a decoder may turn what is not finite into pixels that are.
        return videos, finite & is_finite(x)

    def _predict_at_scale(
        self,
        params: Params,
        x: jax.Array,
        t: jax.Array,
        t_all: jax.Array,
        conditions: Conditions,
        negative: Conditions,
        before: jax.Array,
        scale: jax.Array | None,
    ) -> jax.Array:
        """Return the prediction, guided where the time is within the interval of guidance."""

        def predict() -> jax.Array:
            return self._predict(params, x, t_all, conditions, before)

        if scale is None:
            return predict()
        predict_guided = functools.partial(
            self._predict_guided, params, x, t, t_all, conditions, negative, before, scale
        )
        if self.guidance.interval == (0.0, 1.0):
            return predict_guided()
        # A branch, not a `where`: outside of the interval the network runs on half of the rows. One answer serves the
        # whole batch, as all t of a step are equal.
        is_active = jnp.any(self.guidance.is_active(t))
        prediction: jax.Array = jax.lax.cond(is_active, predict_guided, predict)
        return prediction

    def _predict(
        self, params: Params, x: jax.Array, t: jax.Array, conditions: Conditions, before: jax.Array
    ) -> jax.Array:
        """Return the network's prediction; `before` is its last estimate of x0, for self-conditioning."""
        process = self.objective.process
        if self.objective.self_conditioning:
            conditions = conditions | {'x0': before}
        return self.network(params, process.model_input(x, t), process.model_time(t), conditions)

    def _predict_guided(
        self,
        params: Params,
        x: jax.Array,
        t: jax.Array,
        t_all: jax.Array,
        conditions: Conditions,
        negative: Conditions,
        before: jax.Array,
        scale: jax.Array,
    ) -> jax.Array:
        """Classifier-free guidance: both predictions in one call of the network."""
        context = self.objective.context
        channels = self.latent_shape[-1]

        # Side by side, row for row: one half behind the other would move rows between devices.
        def interleave(a: jax.Array, b: jax.Array) -> jax.Array:
            return jnp.stack([a, b], 1).reshape(-1, *a.shape[1:])

        # A negative prompt takes the place of "no text", and `negative` of config.guidance that of "no label".
        unconditions = without(conditions, self.classes, label=self.guidance.negative) | negative
        both = jax.tree.map(interleave, conditions, unconditions)
        output = self._predict(params, interleave(x, x), interleave(t_all, t_all), both, interleave(before, before))
        output = output.reshape(-1, 2, *output.shape[1:])

        # Context frames are not guided, nor the channels of the learned variance.
        conditional = output[:, 0, context:]
        unconditional = output[:, 1, context:]
        guided = self.guidance.apply(conditional[..., :channels], unconditional[..., :channels], scale, t)
        guided = jnp.concatenate([guided, conditional[..., channels:]], -1)
        return jnp.concatenate([output[:, 0, :context], guided], 1)


def make_generate(
    network: Callable[..., jax.Array],
    objective: Objective,
    codec: Codec,
    sampler: Sampler,
    guidance: Guidance,
    latent_shape: tuple[int, int, int, int],
    classes: int,
) -> Callable[..., Videos]:
    """Return (params, conditions, keys_B, scale=guidance.scale, frozen={}) -> videos, jitted; see VideoSampler.

    The scale of guidance is a traced number: changing it, the keys or the conditions does not compile again. Where
    guidance.scale is exactly 1 there is no guidance, and no `scale` to give.
    """
    video_sampler = VideoSampler(network, objective, codec, sampler, guidance, latent_shape, classes)
    draw = jax.jit(video_sampler.draw)

    def generate(
        params: Params,
        conditions: Conditions,
        keys_B: jax.Array,
        frozen: dict[str, Any] = {},  # noqa: B006, never written to
    ) -> Videos:
        videos: Videos = draw(params, conditions, keys_B, None, frozen)
        return videos

    def generate_guided(
        params: Params,
        conditions: Conditions,
        keys_B: jax.Array,
        scale: float = guidance.scale,
        frozen: dict[str, Any] = {},  # noqa: B006, never written to
    ) -> Videos:
        videos: Videos = draw(params, conditions, keys_B, jnp.float32(scale), frozen)
        return videos

    return generate if guidance.scale == 1 else generate_guided


def make_reconstruct(merge: Callable[[Params], nnx.Module]) -> Callable[..., Videos]:
    """Return (params, {'frames': uint8 (B, T, H, W, C)}, keys_B, frozen={}) -> the videos as reconstructed, jitted.

    Latents are means of the posterior, so the keys are not used.

    Args:
      merge: params -> the autoencoder.
    """

    def reconstruct(
        params: Params,
        conditions: Conditions,
        keys_B: jax.Array,
        frozen: dict[str, Any] = {},  # noqa: B006, never written to
    ) -> Videos:
        del keys_B, frozen
        autoencoder: Any = merge(params)
        mean, _ = autoencoder.moments(from_bytes(conditions['frames']))
        videos, finite = split_finite_flag(to_bytes_with_finite_flag(autoencoder.decode(mean)))
        return videos, finite & is_finite(mean)

    return jax.jit(reconstruct)


def is_finite(x: jax.Array) -> jax.Array:
    """Return whether all numbers of each row are, bool (B,)."""
    return jnp.isfinite(x).all(range(1, x.ndim))


def put_context(x: jax.Array, context: jax.Array | None) -> jax.Array:
    """Put clean context frames in the place of the first frames of x (B, T, ...)."""
    if context is None:
        return x
    return jnp.concatenate([context, x[:, context.shape[1] :]], 1)


def times_with_context(t: jax.Array, frames: int, context: jax.Array | None) -> jax.Array:
    """Return the times of all frames, t (B,) as (B, T) with 0 for context frames; t as it is where there are none."""
    if context is None:
        return t
    return jnp.where(jnp.arange(frames) < context.shape[1], 0, t[:, None])
