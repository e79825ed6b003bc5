"""Guidance 1 is none, 0 is unconditional, and it does not matter which kind of prediction is guided."""

import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.diffusion.guidance import guide
from vdm_jax.diffusion.prediction import KINDS, convert
from vdm_jax.diffusion.process import DDPM, RectifiedFlow


def test_known_scales(normals):
    c, u = normals(2, 19, 2, 3)
    np.testing.assert_array_equal(guide(c, u, 1.0), c)
    np.testing.assert_array_equal(guide(c, u, 0.0), u)
    np.testing.assert_allclose(guide(c, u, 7.5), u + 7.5 * (c - u), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('process', [DDPM('cosine'), RectifiedFlow()], ids=str)
@pytest.mark.parametrize('kind', KINDS)
def test_any_kind_may_be_guided(process, kind, normals):
    t = jnp.linspace(0.2, 0.8, 19)
    x_t, c, u = normals(3, 19, 2, 3)
    as_kind = lambda eps: convert(eps, x_t, t, process, 'eps', kind)
    np.testing.assert_allclose(as_kind(guide(c, u, 4.0)), guide(as_kind(c), as_kind(u), 4.0), rtol=1e-3, atol=1e-3)
