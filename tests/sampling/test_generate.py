"""Sampling: what a video depends on, and what compiles."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.codecs.identity import Identity
from vdm_jax.diffusion.edm import EDM
from vdm_jax.diffusion.guidance import Guidance
from vdm_jax.diffusion.objective import Objective
from vdm_jax.diffusion.samplers import DDIM, Euler, Heun
from vdm_jax.diffusion.spacing import Shifted
from vdm_jax.errors import NotFinite
from vdm_jax.experiment.registry import SAMPLERS
from vdm_jax.sampling.generate import generate_batches, generate_videos
from vdm_jax.sampling.video_sampler import make_generate

SHAPE = (2, 4, 4, 3)
CLASSES = 3


def network(params, x_t, t, conditions):
    """A velocity that pulls towards a colour of the label's own; `CLASSES`, no label, pulls towards grey."""
    label, t = conditions['label'], t if t.ndim == 1 else t[:, -1]
    goal = jnp.where(label == CLASSES, 0.0, (label - 1) * 0.5)[:, None, None, None, None] * params
    t = t[:, None, None, None, None] / 1000
    return (x_t - goal) / jnp.maximum(t, 1e-3)


def maker(sampler, objective=Objective(), guidance=Guidance(), network=network, shape=SHAPE):  # noqa: B008, frozen
    return make_generate(network, objective, Identity(), sampler, guidance, shape, CLASSES)


def labels(*values):
    return {'label': list(values)}


def test_every_label_gets_its_video():
    videos = generate_videos(maker(Euler(steps=8)), jnp.float32(1), labels(0, 1, 2), seed=0)
    assert videos.dtype == np.uint8 and videos.shape == (3, *SHAPE)
    np.testing.assert_allclose(videos.mean((1, 2, 3, 4)), [63.75, 127.5, 191.25], atol=0.6)


def bending(params, x_t, t, conditions):
    """A velocity that hangs on x and on the label, so that a video keeps something of the noise it came from."""
    return jnp.tanh(x_t) * params + jnp.expand_dims(conditions['label'] * 0.1, range(1, 5))


@pytest.mark.parametrize('sampler', [Euler(steps=3), DDIM(steps=3, eta=1.0)])
def test_a_video_depends_on_its_seed_and_number_and_not_on_its_batch(sampler):
    generate = maker(sampler, network=bending)
    expected = generate_videos(generate, jnp.float32(1), labels(0, 1, 2, 0, 1), seed=3, batch_size=4)
    for size in (1, 5):
        videos = generate_videos(generate, jnp.float32(1), labels(0, 1, 2, 0, 1), seed=3, batch_size=size)
        # One value in a thousand may fall on the other side of a half, as other shapes are other programs.
        assert np.abs(videos.astype(int) - expected).max() <= 1 and (videos != expected).mean() < 1e-2
    other = generate_videos(generate, jnp.float32(1), labels(0, 1), seed=4)

    def far(a, b):
        return np.abs(a.astype(int) - b).mean()

    assert far(other[0], expected[0]) > 10 and far(expected[0], expected[3]) > 10  # 0 and 3 have one label


def test_guidance_extrapolates_from_no_label():
    plain, doubled, none = (
        generate_videos(maker(Euler(steps=8), guidance=Guidance(g)), jnp.float32(0.5), labels(2), seed=0).mean()
        for g in (1.0, 2.0, 0.0)
    )
    assert plain == pytest.approx(127.5 * 1.25, abs=0.6)
    assert doubled == pytest.approx(127.5 * 1.5, abs=0.6) and none == pytest.approx(127.5, abs=0.6)


@pytest.mark.parametrize('sampler', [make(steps=4) for make in SAMPLERS.values()], ids=lambda s: type(s).__name__)
def test_seed_labels_and_the_scale_of_guidance_do_not_compile_again(sampler):
    traces = []

    def count_traces(*inputs):
        return traces.append(1) or network(*inputs)

    generate = maker(sampler, guidance=Guidance(2.0), network=count_traces)
    generate_videos(generate, jnp.float32(1), labels(0, 1), 0, batch_size=2)
    once = len(traces)
    for seed, classes, scale in ((1, (2, 2), 2.0), (2, (1, 0), 5.5)):
        generate_videos(functools.partial(generate, scale=scale), jnp.float32(1), labels(*classes), seed, batch_size=2)
    assert len(traces) == once


def test_a_variance_in_the_channels_is_left_aside():
    def both(*inputs):
        return jnp.concatenate([network(*inputs), 100 + 0 * inputs[1]], -1)

    expected = generate_videos(maker(Euler(steps=4)), jnp.float32(1), labels(1), 0)
    videos = generate_videos(maker(Euler(steps=4), network=both), jnp.float32(1), labels(1), 0)
    np.testing.assert_array_equal(videos, expected)


def test_images_are_videos_of_one_frame():
    generate = maker(Euler(steps=2), shape=(1, 4, 4, 3))
    assert generate_videos(generate, jnp.float32(1), labels(0), 0).shape == (1, 1, 4, 4, 3)


def test_the_identity_codec_comes_back():
    pixels = jnp.arange(256, dtype=jnp.uint8).reshape(1, 1, 16, 16, 1)
    np.testing.assert_array_equal(Identity().decode({}, Identity().encode({}, pixels)), pixels)
    assert float(Identity().encode({}, pixels).min()) == -1 and float(Identity().encode({}, pixels).max()) == 1


def record_inputs(seen, apply=network):
    """Return a network that appends its inputs {'x', 't', 'conditions'} to `seen`."""

    def note(**inputs):
        seen.append(jax.tree.map(np.asarray, inputs))

    def network_and_note(params, x, t, conditions):
        jax.debug.callback(note, x=x, t=t, conditions=conditions)
        return apply(params, x, t, conditions)

    return network_and_note


def test_the_spacing_decides_the_times_of_the_network():
    seen = []
    generate = maker(Euler(steps=2, spacing=Shifted(3.0)), network=record_inputs(seen))
    generate_videos(generate, jnp.float32(1), labels(0), 0, batch_size=1)
    jax.effects_barrier()
    assert [float(call['t'][0]) for call in seen] == pytest.approx([1000.0, 750.0])


def test_a_negative_condition_stands_in_for_no_label():
    seen = []
    generate = maker(Euler(steps=1), guidance=Guidance(2.0, negative=1), network=record_inputs(seen))
    generate_videos(generate, jnp.float32(1), labels(0, 2), 0, batch_size=2)
    jax.effects_barrier()
    np.testing.assert_array_equal(seen[0]['conditions']['label'], [0, 1, 2, 1])


def test_outside_the_interval_the_network_is_evaluated_once():
    seen = []
    generate = maker(Euler(steps=4), guidance=Guidance(2.0, interval=(0.4, 0.8)), network=record_inputs(seen))
    generate_videos(generate, jnp.float32(1), labels(0, 2), 0, batch_size=2)
    jax.effects_barrier()
    assert [len(call['x']) for call in seen] == [2, 4, 4, 2]  # at t = 1, 0.75, 0.5, 0.25


def test_context_frames_are_kept_and_shown_clean_at_time_0():
    rng = np.random.default_rng(0)
    seen = []
    context = rng.integers(0, 256, (2, 1, 4, 4, 3), np.uint8)
    objective = Objective(context=1)
    for guidance in (Guidance(), Guidance(2.0, interval=(0.0, 0.9))):
        seen.clear()
        generate = maker(DDIM(steps=3, eta=1.0), objective, guidance, record_inputs(seen))
        videos = generate_videos(generate, jnp.float32(1), labels(0, 2) | {'frames': context}, 0, batch_size=2)
        jax.effects_barrier()
        np.testing.assert_array_equal(videos[:, :1], context)
        for call in seen:
            assert call['t'].shape == call['x'].shape[:2] and np.all(call['t'][:, 0] == 0)
            # Each row once, or twice with guidance.
            shown_context = np.asarray(call['x'][:, :1]).reshape(2, -1, 1, 4, 4, 3)
            expected = np.repeat(Identity().encode({}, context)[:, None], shown_context.shape[1], 1)
            np.testing.assert_allclose(shown_context, expected, atol=1e-6)
            assert 'frames' not in call['conditions']


def test_a_self_conditioned_network_is_shown_its_own_last_x0():
    seen = []
    objective = Objective(prediction='x0', self_conditioning=0.5)

    def decay_to_half(params, x, t, conditions):
        return 0.5 * conditions['x0'] + 0.25

    generate = maker(DDIM(steps=3), objective, network=record_inputs(seen, decay_to_half))
    generate_videos(generate, jnp.float32(1), labels(0), 0, batch_size=1)
    jax.effects_barrier()
    assert [float(call['conditions']['x0'].max()) for call in seen] == [0, 0.25, 0.375]


def test_edm_is_fed_scaled_noise_of_its_largest_sigma():
    seen = []
    objective = Objective(EDM(), 'edm')

    def predict_zero(params, x, t, conditions):
        return jnp.zeros_like(x)

    generate = maker(Heun(steps=2), objective, network=record_inputs(seen, predict_zero), shape=(4, 16, 16, 3))
    generate_videos(generate, jnp.float32(1), labels(0), 0, batch_size=1)
    jax.effects_barrier()
    assert seen[0]['x'].std() == pytest.approx(1, abs=0.05)  # c_in x sigma_max x noise
    assert seen[0]['t'][0] == pytest.approx(np.log(80) / 4, rel=1e-4)


def test_one_video_costs_the_work_of_one_and_a_batch_is_no_larger_than_its_limit():
    seen = []
    generate = maker(Euler(steps=2), network=record_inputs(seen))
    for count, batch_size, rows in ((1, 16, 1), (17, 16, 9), (6, 4, 3)):
        seen.clear()
        videos = generate_videos(generate, jnp.float32(1), labels(*[0] * count), 0, batch_size)
        jax.effects_barrier()
        assert len(videos) == count and {len(call['x']) for call in seen} == {rows}
        assert len(seen) == 2 * -(-count // rows)  # steps of each batch


def test_batches_come_one_by_one_in_order_with_only_their_own_conditions():
    requested_rows = []
    seen = []

    def conditions(rows):
        requested_rows.append(rows.tolist())
        return {'label': rows % CLASSES}

    generate = maker(Euler(steps=2), network=record_inputs(seen, bending))
    stream = generate_batches(generate, jnp.float32(1), conditions, count=5, seed=3, batch_size=2)
    first = next(stream)
    jax.effects_barrier()
    assert len(seen) == 2 and requested_rows == [[0, 1]]  # nothing of the next batch
    rest = list(stream)
    assert requested_rows == [[0, 1], [2, 3], [4, 0]]
    assert [batch.numbers.tolist() for batch in rest] == [[2, 3], [4]]
    expected = generate_videos(generate, jnp.float32(1), labels(0, 1, 2, 0, 1), seed=3, batch_size=2)
    np.testing.assert_array_equal(np.concatenate([batch.videos for batch in (first, *rest)]), expected)


def breaking(params, x_t, t, conditions):
    """A network whose output has one nan for label 1, and infinity for label 2."""
    output = network(params, x_t, t, conditions)
    label = conditions['label'][:, None, None, None, None]
    output = output.at[:, 0, 0, 0, 0].set(jnp.where(conditions['label'] == 1, jnp.nan, output[:, 0, 0, 0, 0]))
    return jnp.where(label == 2, jnp.inf, output)


def test_videos_that_are_not_finite_are_named_and_not_shown_as_black():
    generate = maker(Euler(steps=2), network=breaking)
    with pytest.raises(NotFinite, match=r'^3 of 6 videos are not finite .* number 1 to 2, 4\.') as caught:
        generate_videos(generate, jnp.float32(1), labels(0, 1, 2, 0, 1, 0), seed=0, batch_size=4)
    assert caught.value.numbers == (1, 2, 4)
    batches = list(generate_batches(generate, jnp.float32(1), lambda rows: {'label': rows}, 3, seed=0, batch_size=2))
    assert [batch.finite.tolist() for batch in batches] == [[True, False], [False]]


@dataclasses.dataclass(frozen=True)
class Blind(Identity):
    """A codec that makes nan of the brightest latents, and black of latents that are nan."""

    def decode_checked(self, weights, latents):
        bright = jnp.where(latents.mean((1, 2, 3, 4), keepdims=True) > 0.3, jnp.nan, latents)
        return super().decode_checked(weights, jnp.where(jnp.isnan(latents), 0, bright))


def test_latents_before_a_codec_and_pixels_behind_it_are_both_looked_at():
    generate = make_generate(broken_for_0, Objective(), Blind(), Euler(steps=2), Guidance(), SHAPE, CLASSES)
    with pytest.raises(NotFinite) as caught:
        generate_videos(generate, jnp.float32(1), labels(0, 1, 2), seed=0)
    assert caught.value.numbers == (0, 2)


def broken_for_0(params, x_t, t, conditions):
    label = jnp.expand_dims(conditions['label'], range(1, 5))
    return jnp.where(label == 0, jnp.nan, network(params, x_t, t, conditions))


def test_guidance_of_some_channels_leaves_the_others_and_the_variance_conditional():
    """One step of Euler is x0 = x - t v, so what was guided is seen in the pixels."""

    def mean(guidance, label):
        return generate_videos(maker(Euler(steps=1), Objective(), guidance), jnp.float32(0.2), labels(label), seed=0)[
            0
        ].mean((0, 1, 2))

    plain = mean(Guidance(), 2)
    guided = mean(Guidance(3.0, channels=2), 2)
    np.testing.assert_allclose(plain, 127.5 * 1.1, atol=0.6)
    np.testing.assert_allclose(guided, 127.5 * np.array([1.3, 1.3, 1.1]), atol=0.6)
    np.testing.assert_array_equal(mean(Guidance(3.0, channels=3), 2), mean(Guidance(3.0), 2))
    no_label = mean(Guidance(3.0, channels=2), CLASSES)
    np.testing.assert_allclose(no_label, mean(Guidance(), CLASSES), atol=0.6)
