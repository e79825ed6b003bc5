"""The training step: where its randomness comes from, and that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.models.small import SMALL
from tests.models.small import network as network_of
from vdm_jax.codecs.identity import Identity
from vdm_jax.diffusion.objective import Objective
from vdm_jax.prng import STREAMS, stream_key
from vdm_jax.train import ema
from vdm_jax.train.diffusion_loss import DiffusionLoss, compute_losses, encode_batch
from vdm_jax.train.ema import EmaConfig
from vdm_jax.train.state import TrainState
from vdm_jax.train.step import example_keys, make_train_step, make_validation_step

OBJECTIVE = Objective(condition_dropout=0.5)


def network(params, x_t, t, conditions, images=0):
    """Predicts one colour for each label, the fourth standing for "no label"."""
    return jnp.zeros_like(x_t) + jnp.expand_dims(
        params['table'][conditions['label']], range(conditions['label'].ndim, 5)
    )


def labels_of(clips, rows=slice(None)):
    return {'label': clips['label'][rows]}


def batch(size, frames=2):
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (size, frames, 4, 4, 3), np.uint8)
    return {'video': jnp.asarray(video), 'label': jnp.arange(size) % 3}


PARAMS = {'table': jnp.array([0.1, 0.2, 0.3, 9.0])}


def test_noise_goes_by_global_row():
    """The first rows of a batch have the same keys, and so the same losses, whatever the batch's size."""
    clips = batch(8)
    x0 = Identity().encode({}, batch(8)['video'])
    keys = example_keys(jax.random.key(0), jnp.int32(3), 8)
    all_rows, _, t, _ = compute_losses(network, OBJECTIVE, PARAMS, x0, labels_of(clips), 3, keys)
    some, *_ = compute_losses(network, OBJECTIVE, PARAMS, x0[2:5], labels_of(clips, slice(2, 5)), 3, keys[2:5])
    np.testing.assert_allclose(all_rows[2:5], some, rtol=1e-5)
    assert len(set(np.asarray(t[:, 0]).tolist())) == 8
    other = example_keys(jax.random.key(0), jnp.int32(4), 8)
    assert not (jax.random.key_data(keys) == jax.random.key_data(other)).any(-1).all()


def test_labels_are_dropped_at_their_rate():
    clips = batch(64)
    x0 = jnp.zeros((64, 1, 2, 2, 3))
    keys = example_keys(jax.random.key(0), jnp.int32(0), 64)
    loss, *_ = compute_losses(network, OBJECTIVE, PARAMS, x0, labels_of(clips), 3, keys)
    assert 0.25 < float((loss > 50).mean()) < 0.75  # the colour of "no label" is far off
    objective = dataclasses.replace(OBJECTIVE, condition_dropout=0.0)
    assert float(compute_losses(network, objective, PARAMS, x0, labels_of(clips), 3, keys)[0].max()) < 50


def test_a_step_is_sgd_on_the_mean_loss_and_counts():
    clips = batch(4)
    config = EmaConfig((0.5,), warmup=False)
    objective = dataclasses.replace(OBJECTIVE, condition_dropout=0.0)
    optimizer = optax.sgd(0.1)
    step = make_train_step(DiffusionLoss(network, objective, Identity(), 3), optimizer, config, seed=0)
    state = TrainState(jnp.int32(0), PARAMS, ema.init(config, PARAMS), optimizer.init(PARAMS))
    after, scalars = jax.jit(step)(state, clips)
    keys = example_keys(stream_key(0, 'training'), 0, 4)

    def mean(p):
        return compute_losses(network, objective, p, Identity().encode({}, clips['video']), labels_of(clips), 3, keys)[
            0
        ].mean()

    loss, grad = jax.value_and_grad(mean)(PARAMS)
    np.testing.assert_allclose(scalars['loss'], loss, rtol=1e-6)
    np.testing.assert_allclose(scalars['grad_norm'], optax.tree.norm(grad), rtol=1e-5)
    np.testing.assert_allclose(after.params['table'], PARAMS['table'] - 0.1 * grad['table'], rtol=1e-5)
    np.testing.assert_allclose(after.ema['0.5']['table'], PARAMS['table'] - 0.05 * grad['table'], rtol=1e-5)
    assert int(after.step) == 1


def test_validation_is_the_same_every_time():
    step = jax.jit(make_validation_step(DiffusionLoss(network, OBJECTIVE, Identity(), 3), seed=0))
    first = step(PARAMS, batch(4), 0)
    again = step(PARAMS, batch(4), 0)
    other = step(PARAMS, batch(4), 1)

    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.allclose(first.loss, other.loss)


def test_images_train_as_videos_of_one_frame():
    step = jax.jit(make_validation_step(DiffusionLoss(network, OBJECTIVE, Identity(), 3), seed=0))
    assert step(PARAMS, batch(4, frames=1), 0).loss.shape == (4,)


def test_variance_channels_do_not_enter_this_loss():
    def both(*inputs):
        return jnp.concatenate([network(*inputs), 100 + 0 * inputs[1]], -1)

    keys = example_keys(jax.random.key(0), jnp.int32(0), 4)
    x0 = Identity().encode({}, batch(4)['video'])
    plain, wide = (compute_losses(f, OBJECTIVE, PARAMS, x0, labels_of(batch(4)), 3, keys)[0] for f in (network, both))
    np.testing.assert_allclose(plain, wide)


def test_streams_of_one_seed_never_meet():
    keys = {tuple(np.asarray(jax.random.key_data(stream_key(seed, purpose)))) for seed in (0, 1) for purpose in STREAMS}
    assert len(keys) == 2 * len(STREAMS)


def seen_by(objective, x0, conditions, images=0, key=0):
    """Return a list of the network's inputs (x_t, t, conditions, images) while losses are computed, and the losses."""
    calls = []

    def watching(params, x_t, t, network_conditions, images):
        calls.append((x_t, t, network_conditions, images))
        return network(params, x_t, t, network_conditions)

    losses = compute_losses(
        watching, objective, PARAMS, x0, conditions, 3, jax.random.split(jax.random.key(key), len(x0)), images
    )
    return calls, losses


def test_context_frames_reach_the_network_clean_at_time_0():
    x0 = Identity().encode({}, batch(4, frames=5)['video'])
    objective = dataclasses.replace(OBJECTIVE, context=2)
    ((x_t, t, _, _),), losses = seen_by(objective, x0, labels_of(batch(4)))
    np.testing.assert_array_equal(x_t[:, :2], x0[:, :2])
    assert t.shape == (4, 5) and np.all(t[:, :2] == 0) and np.all(t[:, 2:] > 0)
    np.testing.assert_allclose(losses.t * 1000, t[:, 2:], rtol=1e-6)
    np.testing.assert_allclose(losses.by_frame.mean(1), losses.loss, rtol=1e-6)


def test_self_conditioning_feeds_the_first_prediction_at_its_rate_and_learns_from_the_second():
    x0 = Identity().encode({}, batch(64)['video'])
    clips = batch(64)
    objective = dataclasses.replace(OBJECTIVE, self_conditioning=0.75, prediction='x0')
    (first, second), _ = seen_by(objective, x0, labels_of(clips))
    assert 'x0' not in first[2]
    is_shown = np.abs(second[2]['x0']).max((1, 2, 3, 4)) > 0
    assert 0.6 < is_shown.mean() < 0.9
    prediction = network(PARAMS, *first[:3])
    np.testing.assert_allclose(second[2]['x0'][is_shown], prediction[is_shown], rtol=1e-6)

    def loss(params):  # a network that repeats what it was shown, times a parameter
        def repeat(p, x_t, t, conditions, images):
            return p * conditions.get('x0', jnp.ones_like(x_t))

        return compute_losses(
            repeat, objective, params, x0, labels_of(clips), 3, example_keys(jax.random.key(0), 0, 64)
        ).loss.mean()

    grad = jax.grad(loss)(jnp.float32(0.5))
    step = 1e-2  # only through the second prediction: the first one, 0.5, is a constant

    def frozen(p):
        return loss_of_fixed_first(objective, x0, clips, p)

    np.testing.assert_allclose(grad, (frozen(0.5 + step) - frozen(0.5 - step)) / (2 * step), rtol=1e-2)


def loss_of_fixed_first(objective, x0, clips, p):
    def repeat(_, x_t, t, conditions, images):
        return p * conditions['x0'] if 'x0' in conditions else 0.5 * jnp.ones_like(x_t)

    keys = example_keys(jax.random.key(0), 0, 64)
    return float(compute_losses(repeat, objective, None, x0, labels_of(clips), 3, keys).loss.mean())


def with_images(count):
    clips = batch(4)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (4, count, 4, 4, 3), np.uint8)
    return clips | {'images': jnp.asarray(images), 'image_label': jnp.arange(4 * count).reshape(4, count) % 3}


def test_images_add_their_own_loss_at_their_own_weight_and_time():
    joint = with_images(2)
    x0, conditions, images = encode_batch(joint, Identity(), {}, example_keys(jax.random.key(0), 0, 4))
    assert x0.shape == (4, 4, 4, 4, 3) and images == 2
    np.testing.assert_array_equal(
        conditions['label'], np.concatenate([np.stack([joint['label']] * 2, 1), joint['image_label']], 1)
    )
    objective = dataclasses.replace(OBJECTIVE, condition_dropout=0.0)

    def at(weight):
        return seen_by(dataclasses.replace(objective, image_weight=weight), x0, conditions, images)

    ((x_t, t, _, num_images),), losses = at(1.0)
    assert num_images == 2 and len(np.unique(t[0])) == 3  # one time for the clip's two frames, one for each image
    none = at(0.0)[1].loss
    double = at(2.0)[1].loss
    np.testing.assert_allclose(double - losses.loss, losses.loss - none, rtol=1e-4)
    # Without the images' weight only the clip's loss is left: that of the predicted colour against its own velocity.
    clip_loss = objective.loss(
        network(None or PARAMS, x_t[:, :2], t, {'label': joint['label']}), x0[:, :2], *clip_noise(x0, x_t, t)
    )
    np.testing.assert_allclose(none, clip_loss.mean(1), rtol=1e-4)


def clip_noise(x0, x_t, t):
    """(eps, x_t, t) of the clip's two frames, eps found from x_t on the straight path."""
    t = jnp.asarray(t[:, :2]) / 1000
    eps = (x_t[:, :2] - (1 - t[..., None, None, None]) * x0[:, :2]) / t[..., None, None, None]
    return eps, x_t[:, :2], t


def test_without_images_a_joint_batch_has_only_the_clip():
    """k = 0: the same keys, the same noise, the same loss and gradient of a complete network."""
    model = dataclasses.replace(SMALL, scalars=('motion',))
    apply, params = network_of(model)
    objective = dataclasses.replace(OBJECTIVE, self_conditioning=0.0)

    def loss(params, batch):
        keys = example_keys(jax.random.key(0), 0, 4)
        x0, conditions, images = encode_batch(batch | {'motion': jnp.full(4, 0.1)}, Identity(), {}, keys)
        return compute_losses(apply, objective, params, x0, conditions, 5, keys, images).loss.mean()

    plain, joint = (jax.value_and_grad(loss)(params, clips) for clips in (batch(4), with_images(0)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), plain, joint)


def test_losses_by_frame_go_by_the_time_of_each():
    """A network whose error is known at every time: its losses by frame are that error at each frame's own time."""
    x0 = jnp.zeros((32, 3, 2, 2, 3))
    objective = Objective(prediction='x0', per_frame=True, condition_dropout=0.0)

    def wrong(params, x_t, t, conditions, images):
        return jnp.zeros_like(x_t) + t[..., None, None, None] / 1000

    losses = compute_losses(
        wrong, objective, None, x0, {'label': jnp.zeros(32, int)}, 3, example_keys(jax.random.key(0), 0, 32)
    )
    assert losses.t.shape == (32, 3) and len(np.unique(losses.t)) == 96
    np.testing.assert_allclose(losses.by_frame, losses.t**2, rtol=1e-5)


def test_scalars_are_left_out_by_themselves():
    clips = batch(200) | {'fps': jnp.full(200, 8.0)}
    _, conditions, _ = encode_batch(clips, Identity(), {}, example_keys(jax.random.key(0), 0, 200))
    x0 = jnp.zeros((200, 1, 2, 2, 3))
    ((_, _, passed, _),), _ = seen_by(OBJECTIVE, x0, conditions)
    unknown = np.isnan(passed['fps'])
    dropped = np.asarray(passed['label']) == 3
    assert 0.35 < unknown.mean() < 0.65 and 0.35 < dropped.mean() < 0.65
    assert abs(np.corrcoef(unknown, dropped)[0, 1]) < 0.25


def test_images_have_times_of_their_own_or_their_clips():
    x0 = jnp.zeros((6, 5, 2, 2, 3))
    conditions = {'label': jnp.zeros((6, 5), jnp.int32)}
    times = {}
    for image_time in ('own', 'clip'):
        objective = dataclasses.replace(OBJECTIVE, image_time=image_time)
        ((_, times[image_time], _, _),), _ = seen_by(objective, x0, conditions, images=2)
    assert times['own'].shape == times['clip'].shape == (6, 5)
    assert (times['clip'] == times['clip'][:, :1]).all() and (times['own'][:, 3:] != times['own'][:, :1]).all()
    np.testing.assert_array_equal(times['own'][:, :3], times['clip'][:, :3])
