"""The training step: where its randomness comes from, and that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vdm_jax.codecs.identity import Identity
from vdm_jax.diffusion.objective import Objective
from vdm_jax.train import ema
from vdm_jax.train.ema import EmaConfig
from vdm_jax.train.state import TrainState
from vdm_jax.train.step import example_keys, losses, make_train_step, make_validation_step

OBJECTIVE = Objective(label_dropout=0.5)


def network(params, x_t, t, label):
    """Predicts one colour for each label, the fourth standing for "no label"."""
    return jnp.zeros_like(x_t) + params['table'][label][:, None, None, None, None]


def batch(size, frames=2):
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (size, frames, 4, 4, 3), np.uint8)
    return {'video': jnp.asarray(video), 'label': jnp.arange(size) % 3}


PARAMS = {'table': jnp.array([0.1, 0.2, 0.3, 9.0])}


def test_noise_goes_by_global_row():
    """The first rows of a batch have the same keys, and so the same losses, whatever the batch's size."""
    clips, x0 = batch(8), Identity().encode(batch(8)['video'])
    keys = example_keys(jax.random.key(0), jnp.int32(3), 8)
    all_rows, t = losses(network, OBJECTIVE, PARAMS, x0, clips['label'], 3, keys)
    some, _ = losses(network, OBJECTIVE, PARAMS, x0[2:5], clips['label'][2:5], 3, keys[2:5])
    np.testing.assert_allclose(all_rows[2:5], some, rtol=1e-5)
    assert len(set(np.asarray(t).tolist())) == 8
    other = example_keys(jax.random.key(0), jnp.int32(4), 8)
    assert not (jax.random.key_data(keys) == jax.random.key_data(other)).any(-1).all()


def test_labels_are_dropped_at_their_rate():
    clips = batch(64)
    x0 = jnp.zeros((64, 1, 2, 2, 3))
    keys = example_keys(jax.random.key(0), jnp.int32(0), 64)
    loss, _ = losses(network, OBJECTIVE, PARAMS, x0, clips['label'], 3, keys)
    assert 0.25 < float((loss > 50).mean()) < 0.75  # the colour of "no label" is far off
    kept = dataclasses.replace(OBJECTIVE, label_dropout=0.0)
    assert float(losses(network, kept, PARAMS, x0, clips['label'], 3, keys)[0].max()) < 50


def test_a_step_is_sgd_on_the_mean_loss_and_counts():
    clips, config = batch(4), EmaConfig((0.5,), warmup=False)
    objective = dataclasses.replace(OBJECTIVE, label_dropout=0.0)
    optimizer = optax.sgd(0.1)
    step = make_train_step(network, objective, Identity(), optimizer, config, 3, seed=0)
    state = TrainState(jnp.int32(0), PARAMS, ema.start(config, PARAMS), optimizer.init(PARAMS))
    after, scalars = jax.jit(step)(state, clips)
    keys = example_keys(jax.random.fold_in(jax.random.key(0), 1), 0, 4)
    mean = lambda p: losses(network, objective, p, Identity().encode(clips['video']), clips['label'], 3, keys)[0].mean()
    loss, grad = jax.value_and_grad(mean)(PARAMS)
    np.testing.assert_allclose(scalars['loss'], loss, rtol=1e-6)
    np.testing.assert_allclose(scalars['grad_norm'], optax.tree.norm(grad), rtol=1e-5)
    np.testing.assert_allclose(after.params['table'], PARAMS['table'] - 0.1 * grad['table'], rtol=1e-5)
    np.testing.assert_allclose(after.ema['0.5']['table'], PARAMS['table'] - 0.05 * grad['table'], rtol=1e-5)
    assert int(after.step) == 1


def test_validation_is_the_same_every_time():
    step = jax.jit(make_validation_step(network, OBJECTIVE, Identity(), 3, seed=0))
    first, again, other = step(PARAMS, batch(4), 0), step(PARAMS, batch(4), 0), step(PARAMS, batch(4), 1)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_images_train_as_videos_of_one_frame():
    step = jax.jit(make_validation_step(network, OBJECTIVE, Identity(), 3, seed=0))
    assert step(PARAMS, batch(4, frames=1), 0).shape == (4,)


def test_a_variance_in_the_channels_has_no_say_in_this_loss():
    both = lambda *inputs: jnp.concatenate([network(*inputs), 100 + 0 * inputs[1]], -1)
    keys = example_keys(jax.random.key(0), jnp.int32(0), 4)
    x0, label = Identity().encode(batch(4)['video']), batch(4)['label']
    plain, wide = (losses(f, OBJECTIVE, PARAMS, x0, label, 3, keys)[0] for f in (network, both))
    np.testing.assert_allclose(plain, wide)
