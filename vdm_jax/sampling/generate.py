"""From noise to videos: where models and diffusion meet at sampling time."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.codecs.pixels import from_bytes, split_finite_flag, to_bytes_with_finite_flag
from vdm_jax.diffusion.guidance import Guidance
from vdm_jax.diffusion.objective import Objective
from vdm_jax.diffusion.sample_loop import sample
from vdm_jax.errors import NotFinite
from vdm_jax.models.conditions import without
from vdm_jax.parallel.mesh import local_rows, pad_rows, to_global
from vdm_jax.parallel.processes import to_host
from vdm_jax.prng import stream

NEGATIVE = {'negative': 'text', 'negative_mask': 'text_mask'}


def make_generate(
    network: Callable, objective: Objective, codec, sampler, guidance: Guidance, latent_shape, classes: int
) -> Callable:
    """(params, conditions, keys_B, scale=guidance.scale, frozen={}) -> uint8 videos (B, T, H, W, C) and whether each is
    finite, bool (B,), in its latents and in the pixels that they are decoded to; jitted.

    conditions: what the network is told, as VideoDiT has it, arrays of B rows; and 'frames', uint8 (B, k, H, W, C), the
    first frames of each video, where config.diffusion.context = k of them are given; and 'negative' and 'negative_mask'
    where it is guided away from a text, in place of none.
    The scale of guidance is a traced number: changing it, the keys or the conditions does not compile again. Where
    guidance.scale is exactly 1 the network is asked once a step instead of twice, and there is no `scale` to give.
    Sample b depends on keys[b] and row b alone. frozen: {'codec': its weights}, nothing for one without.
    """
    process, channels = objective.process, latent_shape[-1]

    def generate(params, conditions, keys, scale, frozen):
        weights = frozen.get('codec', {})
        told = {name: value for name, value in conditions.items() if name not in ('frames', *NEGATIVE)}
        given = codec.encode(weights, conditions['frames']) if objective.context else None

        def asked(x, t, told, before):
            if objective.self_conditioning:
                told = told | {'x0': before}
            return network(params, process.model_input(x, t), process.model_time(t), told)

        def guided(x, t, t_all, before):
            # Side by side, row for row: one half behind the other would move rows between devices.
            def twice(a, b):
                return jnp.stack([a, b], 1).reshape(-1, *a.shape[1:])

            against = without(told, classes, label=guidance.negative)
            against |= {NEGATIVE[name]: conditions[name] for name in NEGATIVE if name in conditions}
            both = jax.tree.map(twice, told, against)
            output = asked(twice(x, x), twice(t_all, t_all), both, twice(before, before))
            output = output.reshape(-1, 2, *output.shape[1:])
            conditional, unconditional = (output[:, i, objective.context :] for i in range(2))
            prediction = guidance.apply(conditional[..., :channels], unconditional[..., :channels], scale, t)
            prediction = jnp.concatenate([prediction, conditional[..., channels:]], -1)
            given_frames = output[:, 0, : objective.context]  # what is given is not guided
            return jnp.concatenate([given_frames, prediction], 1)

        def denoise(x, t, before):
            x, t_all = with_given(x, t, given)
            if scale is None:
                output = asked(x, t_all, told, before)
            elif guidance.interval == (0.0, 1.0):
                output = guided(x, t, t_all, before)
            else:
                low, high = guidance.interval
                within = jnp.any((low <= t) & (t <= high))

                def alone():
                    return asked(x, t_all, told, before)

                output = jax.lax.cond(within, lambda: guided(x, t, t_all, before), alone)
            return objective.denoise(output, x, t_all)

        noise_keys, step_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        noise = jax.vmap(lambda key: jax.random.normal(key, latent_shape))(noise_keys)
        x, _ = with_given(sample(denoise, sampler, process, noise, step_keys), None, given)
        videos, finite = codec.decode_checked(weights, x)
        return videos, finite & is_finite(x)

    plain = jax.jit(lambda params, conditions, keys, frozen={}: generate(params, conditions, keys, None, frozen))
    with_scale = jax.jit(generate)
    if guidance.scale == 1:
        return plain

    def with_guidance(params, conditions, keys, scale=guidance.scale, frozen={}):  # noqa: B006, never written to
        return with_scale(params, conditions, keys, jnp.float32(scale), frozen)

    return with_guidance


def make_reconstruct(merged: Callable) -> Callable:
    """(params, {'frames': uint8 (B, T, H, W, C), …}, keys_B, frozen={}) -> the same videos as an autoencoder gives them
    back, and whether each is finite, jitted; latents are means, so the keys say nothing. merged: params -> the
    autoencoder.
    """

    def reconstruct(params, conditions, keys, frozen={}):  # noqa: B006, never written to
        autoencoder = merged(params)
        mean, _ = autoencoder.moments(from_bytes(conditions['frames']))
        videos, finite = split_finite_flag(to_bytes_with_finite_flag(autoencoder.decode(mean)))
        return videos, finite & is_finite(mean)

    return jax.jit(reconstruct)


def is_finite(x):
    """Whether all numbers of each row are, bool (B,)."""
    return jnp.isfinite(x).all(range(1, x.ndim))


def with_given(x, t, given):
    """x (B, T, ...) with its first frames replaced by those that are given, and t (B,) -> (B, T) with 0 for them."""
    if given is None:
        return x, t
    count = given.shape[1]
    x = jnp.concatenate([given, x[:, count:]], 1)
    return x, None if t is None else jnp.where(jnp.arange(x.shape[1]) < count, 0, t[:, None])


class Batch(NamedTuple):
    """Videos that were made together.

    Attributes:
      numbers: which of those asked for, ascending, (n,).
      videos: uint8 (n, T, H, W, C).
      finite: whether each is; one that is not shows nothing, bool (n,).
    """

    numbers: np.ndarray
    videos: np.ndarray
    finite: np.ndarray


def generate_batches(
    generate: Callable, params, conditions: dict | Callable, seed: int, batch_size: int = 16, count: int | None = None
) -> Iterator[Batch]:
    """`generate_videos`, a batch at a time and in order, so that memory does not grow with their number.

    Args:
      conditions: arrays or lists of N rows; or rows (n,) -> arrays of these rows, of videos 0 to `count` - 1, which is
        called with those of a batch that this process makes.
    """
    if not callable(conditions):
        arrays = {name: np.asarray(value) for name, value in conditions.items()}
        (count,) = {len(value) for value in arrays.values()}

        def conditions(rows):
            return {name: value[rows] for name, value in arrays.items()}

    mesh = jax.sharding.get_mesh()
    size = rows_of_batch(count, batch_size, mesh)
    here = np.arange(size) if mesh.empty else local_rows(size, mesh)
    key_of = jax.vmap(lambda number: jax.random.fold_in(stream(seed, 'samples'), number))
    for start in range(0, count, size):  # a last batch of the same shape, so that nothing compiles again
        numbers = start + here
        keys = np.asarray(jax.random.key_data(key_of(jnp.asarray(numbers))))
        batch = conditions(numbers % count) | {'key': keys}
        batch = jax.tree.map(jnp.asarray, batch) if mesh.empty else to_global(batch, mesh, size)
        keys = jax.random.wrap_key_data(batch.pop('key'))
        videos, finite = map(to_host, generate(params, batch, keys))
        stop = min(start + size, count)
        yield Batch(np.arange(start, stop), videos[: stop - start], finite[: stop - start])


def rows_of_batch(count: int, batch_size: int, mesh) -> int:
    """Rows of each batch of `count` videos: `batch_size` at most, no more than are needed for as many batches, and
    rounded up to the devices of the mesh alone.
    """
    batches = -(-count // batch_size)
    rows = -(-count // batches)
    return rows if mesh.empty else pad_rows(rows, mesh)


def generate_videos(generate: Callable, params, conditions: dict, seed: int, batch_size: int = 16) -> np.ndarray:
    """One video for each row of the conditions: uint8 (N, T, H, W, C) on the host.

    Args:
      generate: what make_generate made.
      conditions: arrays or lists of N rows, such as {'label': [0, 1, 2]}.
      batch_size: videos that are made at once at most. Video i is drawn from the seed's key of samples and i, so it
        does not depend on batch_size or on how many are asked for.

    Within a mesh a batch is split over its devices, and filled up to a multiple of them; where several processes run,
    all call this with the same, and get all videos.

    Raises:
      NotFinite: some have numbers that are not; its `numbers` says which.
    """
    batches = list(generate_batches(generate, params, conditions, seed, batch_size))
    finite = np.concatenate([batch.finite for batch in batches])
    if not finite.all():
        raise NotFinite(np.flatnonzero(~finite), len(finite))
    return np.concatenate([batch.videos for batch in batches])
