"""From noise to videos: where models and diffusion meet at sampling time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.codecs.pixels import from_bytes, to_bytes
from vdm_jax.diffusion.guidance import Guidance
from vdm_jax.diffusion.objective import Objective
from vdm_jax.diffusion.sample_loop import sample
from vdm_jax.models.conditions import without
from vdm_jax.parallel.mesh import padded, rows_here, to_global
from vdm_jax.parallel.processes import whole
from vdm_jax.streams import stream

NEGATIVE = {'negative': 'text', 'negative_mask': 'text_mask'}


def make_generate(
    network: Callable, objective: Objective, codec, sampler, guidance: Guidance, latent_shape, classes: int
) -> Callable:
    """(params, conditions, keys_B, scale=guidance.scale, frozen={}) -> uint8 videos (B, T, H, W, C), jitted.

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
            twice = lambda a, b: jnp.stack([a, b], 1).reshape(-1, *a.shape[1:])
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
                alone = lambda: asked(x, t_all, told, before)
                output = jax.lax.cond(within, lambda: guided(x, t, t_all, before), alone)
            return objective.denoise(output, x, t_all)

        noise_keys, step_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        noise = jax.vmap(lambda key: jax.random.normal(key, latent_shape))(noise_keys)
        x = sample(denoise, sampler, process, noise, step_keys)
        return codec.decode(weights, with_given(x, None, given)[0])

    plain = jax.jit(lambda params, conditions, keys, frozen={}: generate(params, conditions, keys, None, frozen))
    with_scale = jax.jit(generate)
    if guidance.scale == 1:
        return plain

    def with_guidance(params, conditions, keys, scale=guidance.scale, frozen={}):  # noqa: B006, never written to
        return with_scale(params, conditions, keys, jnp.float32(scale), frozen)

    return with_guidance


def make_reconstruct(merged: Callable) -> Callable:
    """(params, {'frames': uint8 (B, T, H, W, C), …}, keys_B, frozen={}) -> the same videos as an autoencoder gives them
    back, jitted; latents are means, so the keys say nothing. merged: params -> the autoencoder."""

    def reconstruct(params, conditions, keys, frozen={}):  # noqa: B006, never written to
        autoencoder = merged(params)
        mean, _ = autoencoder.moments(from_bytes(conditions['frames']))
        return to_bytes(autoencoder.decode(mean))

    return jax.jit(reconstruct)


def with_given(x, t, given):
    """x (B, T, ...) with its first frames replaced by those that are given, and t (B,) -> (B, T) with 0 for them."""
    if given is None:
        return x, t
    count = given.shape[1]
    x = jnp.concatenate([given, x[:, count:]], 1)
    return x, None if t is None else jnp.where(jnp.arange(x.shape[1]) < count, 0, t[:, None])


def generate_videos(generate: Callable, params, conditions: dict, seed: int, batch_size: int = 16) -> np.ndarray:
    """One video for each row of the conditions: uint8 (N, T, H, W, C) on the host.

    conditions: arrays or lists of N rows, such as {'label': [0, 1, 2]}.
    Video i is drawn from the seed's key of samples and i, so it does not depend on batch_size or on how many are asked.
    Within a mesh a batch is split over its devices, and batch_size raised to a multiple of them; where several
    processes run, all call this with the same, and get all videos.
    """
    conditions = {name: np.asarray(value) for name, value in conditions.items()}
    (count,) = {len(value) for value in conditions.values()}
    mesh = jax.sharding.get_mesh()
    if not mesh.empty:
        batch_size = padded(batch_size, mesh)
    numbers = np.arange(-(-count // batch_size) * batch_size)
    keys = jax.vmap(lambda i: jax.random.fold_in(stream(seed, 'samples'), i))(jnp.asarray(numbers))
    asked = conditions | {'key': np.asarray(jax.random.key_data(keys))}
    here = np.arange(batch_size) if mesh.empty else rows_here(batch_size, mesh)
    pieces = []
    for start in range(0, len(numbers), batch_size):  # a last batch of the same shape, so that nothing compiles again
        rows = start + here
        batch = {name: value[rows if name == 'key' else rows % count] for name, value in asked.items()}
        batch = jax.tree.map(jnp.asarray, batch) if mesh.empty else to_global(batch, mesh, batch_size)
        keys = jax.random.wrap_key_data(batch.pop('key'))
        pieces.append(whole(generate(params, batch, keys)))
    return np.concatenate(pieces)[:count]
