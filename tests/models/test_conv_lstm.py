"""The recurrent regressor sees the context frames, and its own predictions after that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vdm_jax.errors import UserError
from vdm_jax.models.conv_lstm import ConvLSTM, ConvLSTMConfig

CONTEXT = 3
FRAMES = 6
CONFIG = ConvLSTMConfig(layers=2, hidden=6, kernel=3, patch=2).fit_to((FRAMES, 4, 6, 1), 0)


def predict(x, context=CONTEXT):
    t = jnp.where(jnp.arange(FRAMES) < context, 0.0, 1000.0)
    return ConvLSTM(CONFIG, rngs=nnx.Rngs(0))(x, jnp.broadcast_to(t, (len(x), FRAMES)))


@pytest.fixture(scope='module')
def x():
    return jax.random.normal(jax.random.key(1), (2, FRAMES, 4, 6, 1))


def test_a_frame_is_predicted_only_from_context_frames_before_it(x):
    reach = jax.jit(jax.jacrev(lambda x: predict(x).sum((0, 2, 3, 4))))(x)  # (frames, B, frames, …)
    sees = np.abs(reach).max((1, 3, 4, 5)) > 0
    expected = np.arange(FRAMES) < np.minimum(np.arange(FRAMES), CONTEXT)[:, None]
    np.testing.assert_array_equal(sees, expected)


def test_predictions_are_inputs_of_later_frames(x):
    """One context frame more, equal to the prediction of it, changes nothing."""
    prediction = predict(x)
    np.testing.assert_allclose(
        predict(x.at[:, CONTEXT].set(prediction[:, CONTEXT]), CONTEXT + 1), prediction, atol=1e-5
    )
    assert prediction.shape == x.shape and prediction.dtype == jnp.float32 and not np.asarray(prediction[:, 0]).any()


def test_it_has_the_weights_of_openstls_that_are_used():
    config = ConvLSTMConfig().fit_to((20, 64, 64, 1), 0)
    shapes = nnx.state(nnx.eval_shape(lambda: ConvLSTM(config, rngs=nnx.Rngs(0))), nnx.Param)
    count = sum(leaf.size for path, leaf in nnx.to_flat_state(shapes) if path[-1] == 'kernel')
    cells = 25 * 512 * ((16 + 128) + 3 * 256)
    assert count == cells + 128 * 16 == 11_675_648
    assert config.flops((20, 64, 64)) == 2 * 19 * 256 * count


def test_it_needs_context_frames(x):
    with pytest.raises(UserError, match=r'config\.diffusion\.context'):
        ConvLSTM(CONFIG, rngs=nnx.Rngs(0))(x, jnp.ones(2))
    with pytest.raises(UserError, match=r'config\.model\.patch=2.*4x5'):
        ConvLSTMConfig(patch=2).fit_to((6, 4, 5, 1), 0)
