"""The recurrent regressor sees what is given, and its own predictions after that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vdm_jax.errors import UserError
from vdm_jax.models.conv_lstm import ConvLSTM, ConvLSTMConfig

GIVEN = 3
FRAMES = 6
CONFIG = ConvLSTMConfig(layers=2, hidden=6, kernel=3, patch=2).fit_to((FRAMES, 4, 6, 1), 0)


def predicted(x, given=GIVEN):
    t = jnp.where(jnp.arange(FRAMES) < given, 0.0, 1000.0)
    return ConvLSTM(CONFIG, rngs=nnx.Rngs(0))(x, jnp.broadcast_to(t, (len(x), FRAMES)))


@pytest.fixture(scope='module')
def x():
    return jax.random.normal(jax.random.key(1), (2, FRAMES, 4, 6, 1))


def test_a_frame_is_predicted_from_given_ones_before_it_alone(x):
    reach = jax.jit(jax.jacrev(lambda x: predicted(x).sum((0, 2, 3, 4))))(x)  # (frames, B, frames, …)
    sees = np.abs(reach).max((1, 3, 4, 5)) > 0
    expected = np.arange(FRAMES) < np.minimum(np.arange(FRAMES), GIVEN)[:, None]
    np.testing.assert_array_equal(sees, expected)


def test_what_is_predicted_feeds_what_comes_after(x):
    """With one frame more that is given, and is what was predicted, nothing changes."""
    alone = predicted(x)
    np.testing.assert_allclose(predicted(x.at[:, GIVEN].set(alone[:, GIVEN]), GIVEN + 1), alone, atol=1e-5)
    assert alone.shape == x.shape and alone.dtype == jnp.float32 and not np.asarray(alone[:, 0]).any()


def test_it_has_the_weights_of_openstls_that_are_used():
    config = ConvLSTMConfig().fit_to((20, 64, 64, 1), 0)
    shapes = nnx.state(nnx.eval_shape(lambda: ConvLSTM(config, rngs=nnx.Rngs(0))), nnx.Param)
    count = sum(leaf.size for path, leaf in nnx.to_flat_state(shapes) if path[-1] == 'kernel')
    cells = 25 * 512 * ((16 + 128) + 3 * 256)
    assert count == cells + 128 * 16 == 11_675_648
    assert config.flops((20, 64, 64)) == 2 * 19 * 256 * count


def test_it_wants_given_frames(x):
    with pytest.raises(UserError, match=r'config\.diffusion\.context'):
        ConvLSTM(CONFIG, rngs=nnx.Rngs(0))(x, jnp.ones(2))
    with pytest.raises(UserError, match=r'config\.model\.patch=2.*4x5'):
        ConvLSTMConfig(patch=2).fit_to((6, 4, 5, 1), 0)
