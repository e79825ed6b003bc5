"""From noise to videos: where models and diffusion meet at sampling time."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.diffusion.guidance import guide
from vdm_jax.diffusion.objective import Objective
from vdm_jax.diffusion.sample_loop import sample


def make_generate(network: Callable, objective: Objective, codec, sampler, latent_shape, classes: int) -> Callable:
    """(params, label_B, keys_B) -> uint8 videos (B, T, H, W, C), jitted.

    Guidance is a traced number: changing it, the keys or the labels does not compile again; a guidance of exactly 1
    asks the network once a step instead of twice. Sample b depends on keys[b] and label_B[b] alone.
    """
    process, channels = objective.process, latent_shape[-1]

    def generate(params, label_B, keys, guidance):
        def denoise(x, t):
            asked = lambda x, t, label: network(params, x, process.model_time(t), label)[..., :channels]
            if guidance is None:
                prediction = asked(x, t, label_B)
            else:
                labels = jnp.concatenate([label_B, jnp.full_like(label_B, classes)])
                both = asked(jnp.concatenate([x, x]), jnp.concatenate([t, t]), labels)
                prediction = guide(*jnp.split(both, 2), guidance)
            return objective.denoise(prediction, x, t)

        noise_keys, step_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        noise = jax.vmap(lambda key: jax.random.normal(key, latent_shape))(noise_keys)
        return codec.decode(sample(denoise, sampler, process, noise, step_keys))

    plain = jax.jit(lambda params, label_B, keys: generate(params, label_B, keys, None))
    guided = jax.jit(generate)
    if sampler.guidance == 1:
        return plain
    return lambda params, label_B, keys: guided(params, label_B, keys, jnp.float32(sampler.guidance))


def generate_videos(generate: Callable, params, labels: Sequence[int], seed: int, batch_size: int = 16) -> np.ndarray:
    """One video for each label: uint8 (N, T, H, W, C) on the host.

    Video i is drawn from fold_in(key(seed), i), so it does not depend on batch_size or on how many are asked for.
    """
    labels = np.asarray(labels, np.int32)
    numbers = np.arange(-(-len(labels) // batch_size) * batch_size)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.asarray(numbers))
    padded = labels[numbers % len(labels)]  # a last batch of the same shape, so that nothing compiles again
    pieces = [
        np.asarray(generate(params, jnp.asarray(padded[start : start + batch_size]), keys[start : start + batch_size]))
        for start in range(0, len(numbers), batch_size)
    ]
    return np.concatenate(pieces)[: len(labels)]
