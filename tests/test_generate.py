"""Sampling: what a video depends on, and what compiles."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.codecs.identity import Identity
from vdm_jax.diffusion.objective import Objective
from vdm_jax.diffusion.process import RectifiedFlow
from vdm_jax.diffusion.samplers import DDIM, Euler
from vdm_jax.generate import generate_videos, make_generate

SHAPE, CLASSES = (2, 4, 4, 3), 3


def network(params, x_t, t, label):
    """A velocity that pulls towards a colour of the label's own; `CLASSES`, no label, pulls towards grey."""
    goal = jnp.where(label == CLASSES, 0.0, (label - 1) * 0.5)[:, None, None, None, None] * params
    t = t[:, None, None, None, None] / 1000
    return (x_t - goal) / jnp.maximum(t, 1e-3)


def maker(sampler, objective=Objective()):  # noqa: B008, frozen
    return make_generate(network, objective, Identity(), sampler, SHAPE, CLASSES)


def test_every_label_gets_its_video():
    videos = generate_videos(maker(Euler(steps=8)), jnp.float32(1), [0, 1, 2], seed=0)
    assert videos.dtype == np.uint8 and videos.shape == (3, *SHAPE)
    np.testing.assert_allclose(videos.mean((1, 2, 3, 4)), [63.75, 127.5, 191.25], atol=0.6)


@pytest.mark.parametrize('sampler', [Euler(steps=3), DDIM(steps=3, eta=1.0)])
def test_a_video_does_not_depend_on_its_batch(sampler):
    generate = maker(sampler)
    together = generate_videos(generate, jnp.float32(1), [0, 1, 2, 0, 1], seed=3, batch_size=4)
    for size in (1, 5):
        np.testing.assert_array_equal(
            generate_videos(generate, jnp.float32(1), [0, 1, 2, 0, 1], seed=3, batch_size=size), together
        )
    assert (generate_videos(generate, jnp.float32(1), [0, 1], seed=4) != together[:2]).any() or not sampler.stochastic


def test_guidance_extrapolates_from_no_label():
    plain, doubled, none = (
        generate_videos(maker(Euler(steps=8, guidance=g)), jnp.float32(0.5), [2], seed=0).mean() for g in (1, 2, 0)
    )
    assert plain == pytest.approx(127.5 * 1.25, abs=0.6)
    assert doubled == pytest.approx(127.5 * 1.5, abs=0.6) and none == pytest.approx(127.5, abs=0.6)


def test_seed_and_labels_do_not_compile_again(monkeypatch):
    traces = []
    counted = lambda *inputs: traces.append(1) or network(*inputs)
    generate = make_generate(counted, Objective(), Identity(), Euler(steps=4, guidance=2.0), SHAPE, CLASSES)
    for seed, labels in ((0, [0, 1]), (1, [2, 2]), (2, [1, 0])):
        generate_videos(generate, jnp.float32(1), labels, seed, batch_size=2)
    assert len(traces) == 1


def test_a_variance_in_the_channels_is_left_aside():
    both = lambda *inputs: jnp.concatenate([network(*inputs), 100 + 0 * inputs[1]], -1)
    generate = make_generate(both, Objective(), Identity(), Euler(steps=4), SHAPE, CLASSES)
    expected = generate_videos(maker(Euler(steps=4)), jnp.float32(1), [1], 0)
    np.testing.assert_array_equal(generate_videos(generate, jnp.float32(1), [1], 0), expected)


def test_images_are_videos_of_one_frame():
    generate = make_generate(network, Objective(), Identity(), Euler(steps=2), (1, 4, 4, 3), CLASSES)
    assert generate_videos(generate, jnp.float32(1), [0], 0).shape == (1, 1, 4, 4, 3)


def test_the_identity_codec_comes_back():
    pixels = jnp.arange(256, dtype=jnp.uint8).reshape(1, 1, 16, 16, 1)
    np.testing.assert_array_equal(Identity().decode(Identity().encode(pixels)), pixels)
    assert float(Identity().encode(pixels).min()) == -1 and float(Identity().encode(pixels).max()) == 1


def test_shifted_times_are_used_in_sampling_too():
    objective = dataclasses.replace(Objective(), process=RectifiedFlow(shift=3.0))
    seen = []
    watched = lambda params, x, t, label: (
        jax.debug.callback(lambda t: seen.append(float(t[0])), t) or network(params, x, t, label)
    )
    generate = make_generate(watched, objective, Identity(), Euler(steps=2), SHAPE, CLASSES)
    generate_videos(generate, jnp.float32(1), [0], 0)
    jax.effects_barrier()
    assert seen == pytest.approx([1000.0, 750.0])
