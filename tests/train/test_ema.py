"""Averages: what a constant and a short run leave in them."""

import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.train import ema
from vdm_jax.train.ema import EmaConfig


def test_several_decays_follow_their_formula():
    config = EmaConfig((0.5, 0.9), warmup=False)
    averages = ema.init(config, {'a': jnp.zeros(())})
    for step in range(3):
        averages = ema.update(config, averages, {'a': jnp.float32(step + 1)}, step)
    assert float(averages['0.5']['a']) == pytest.approx(((0.5 * 0.5 + 1) * 0.5) + 1.5, rel=1e-6)
    expected = 0.0
    for step in range(3):
        expected = 0.9 * expected + 0.1 * (step + 1)
    assert float(averages['0.9']['a']) == pytest.approx(expected, rel=1e-6)


def test_warm_up_forgets_the_start():
    config = EmaConfig((0.9999,))
    plain = EmaConfig((0.9999,), warmup=False)
    forgetful = ema.init(config, {'a': jnp.ones(())})
    stubborn = ema.init(plain, {'a': jnp.ones(())})
    for step in range(100):
        forgetful = ema.update(config, forgetful, {'a': jnp.zeros(())}, step)
        stubborn = ema.update(plain, stubborn, {'a': jnp.zeros(())}, step)
    assert float(forgetful['0.9999']['a']) < 1e-8 < 0.98 < float(stubborn['0.9999']['a'])
    np.testing.assert_allclose(stubborn['0.9999']['a'], 0.9999**100, rtol=1e-4)
