"""The scan is the loop it stands for, and a sample depends only on its own noise and key."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.objective import Denoised
from vdm_jax.diffusion.prediction import to_x0_eps
from vdm_jax.diffusion.process import expand
from vdm_jax.diffusion.sample_loop import sample
from vdm_jax.diffusion.samplers import DDIM, Euler, Heun

SHAPE = (3, 4, 2, 1, 1)
COSINE = DDPM('cosine')
FLOW = RectifiedFlow()
CALM = DDIM(steps=6)
NOISY = DDIM(steps=6, eta=1.0)


def network(x, t):
    """Something that bends, mixes frames, and listens to the time."""
    return jnp.tanh(x + 0.3 * jnp.roll(x, 1, axis=1) + expand(t, x.ndim))


def denoiser(process):
    return lambda x, t, before=None: Denoised(*to_x0_eps('v', process, network(x, t), x, t))


@functools.partial(jax.jit, static_argnums=(0, 1))
def walk(sampler, process, noise, keys=None):
    return sample(denoiser(process), sampler, process, noise, keys)


@pytest.fixture
def noise(normals):
    return normals(1, *SHAPE)[0]


@pytest.fixture
def keys():
    return jax.random.split(jax.random.key(1), SHAPE[0])


@pytest.mark.parametrize('sampler, process', [(CALM, COSINE), (NOISY, FLOW), (Euler(steps=6), COSINE)])
def test_scan_equals_a_python_loop(sampler, process, noise, keys):
    x = noise
    state = sampler.init(noise)
    times = sampler.spacing.times(process, sampler.steps)

    for i in range(sampler.steps):
        t = jnp.full(SHAPE[:1], times[i])
        s = jnp.full(SHAPE[:1], times[i + 1])
        drawn = np.stack([jax.random.normal(jax.random.fold_in(key, i), SHAPE[1:]) for key in keys])
        x, _, state = sampler.step(denoiser(process), state, x, t, s, process, drawn)
    np.testing.assert_allclose(walk(sampler, process, noise, keys), x, atol=1e-5)


def test_a_sample_does_not_depend_on_its_batch(noise, keys):
    all_samples = walk(NOISY, FLOW, noise, keys)
    single = walk(NOISY, FLOW, noise[2:3], keys[2:3])
    np.testing.assert_allclose(single[0], all_samples[2], atol=1e-6)


def test_another_key_is_another_sample_of_that_row_only(noise, keys):
    before = walk(NOISY, FLOW, noise, keys)
    after = walk(NOISY, FLOW, noise, keys[np.array([0, 0, 2])])
    changed = np.abs(np.asarray(after) - np.asarray(before)).max(axis=(1, 2, 3, 4)) > 1e-3
    np.testing.assert_array_equal(changed, [False, True, False])


def test_a_time_per_frame_gives_the_same_video(noise):
    seen = []

    def denoise(x, t, before):
        seen.append(t.shape)
        return denoiser(COSINE)(x, t)

    per_frame = sample(denoise, CALM, COSINE, noise, t_shape=SHAPE[:2])
    assert seen[0] == SHAPE[:2]
    np.testing.assert_allclose(per_frame, walk(CALM, COSINE, noise), atol=1e-6)


def test_sampling_is_in_float32_for_any_dtype_of_the_network(noise):
    heard = []

    def denoise(x, t, before):
        heard.append((x.dtype, t.dtype))
        return jax.tree.map(lambda y: y.astype(jnp.bfloat16), denoiser(FLOW)(x, t))

    assert sample(denoise, CALM, FLOW, noise.astype(jnp.bfloat16)).dtype == jnp.float32
    assert set(heard) == {(jnp.dtype('float32'), jnp.dtype('float32'))}


def test_clipping_bounds_what_a_small_error_of_eps_does_to_x0(noise):
    """At the noisy end of the cosine schedule alpha is 5e-5: an eps that is off by 0.004 is an x0 off by 80."""
    goal = jnp.full(SHAPE, 0.5)
    seen = []

    def denoise(x, t, before):
        jax.debug.callback(lambda x: seen.append(float(np.abs(x).max())), x)
        alpha, sigma = (expand(c, x.ndim) for c in COSINE.alpha_sigma(t))
        return Denoised(*to_x0_eps('eps', COSINE, (x - alpha * goal) / sigma + 0.004, x, t))

    for clip, sound in ((None, False), (1.0, True)):
        seen.clear()
        sample(denoise, DDIM(steps=20, clip=clip), COSINE, noise).block_until_ready()
        jax.effects_barrier()
        assert len(seen) == 20 and (max(seen) < np.abs(noise).max() + 1) == sound, seen


def test_a_clip_beyond_all_values_changes_nothing(noise):
    np.testing.assert_allclose(
        sample(denoiser(FLOW), DDIM(steps=6, clip=1e6), FLOW, noise), walk(CALM, FLOW, noise), atol=1e-5
    )


def test_a_stochastic_sampler_needs_a_key_per_example(noise, keys):
    for wrong_keys in (None, keys[:2]):
        with pytest.raises(ValueError, match='3 keys, one an example'):
            sample(denoiser(FLOW), NOISY, FLOW, noise, wrong_keys)


def test_a_step_receives_the_last_x0_of_the_step_before(noise):
    """`before` is 0 at first, then the last x0 of the step before: for Heun that is its second evaluation."""
    seen = []
    estimates = []

    def denoise(x, t, before):
        jax.debug.callback(lambda before: seen.append(np.asarray(before)), before)
        denoised = denoiser(FLOW)(x, t)
        jax.debug.callback(lambda x0: estimates.append(np.asarray(x0)), denoised.x0)
        return denoised

    sample(denoise, Heun(steps=3), FLOW, noise).block_until_ready()
    jax.effects_barrier()
    np.testing.assert_array_equal(seen[0], 0)
    for question, answer in ((2, 1), (3, 1), (4, 3), (5, 3)):
        np.testing.assert_array_equal(seen[question], estimates[answer])
