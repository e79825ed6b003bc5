"""Networks that judge are opened in the size of the weights that are named."""

import jax
import numpy as np
import pytest

from tests.parity.features_cases import NARROW, clips, tensors
from vdm_jax.evals.features.c3d import C3D
from vdm_jax.evals.features.i3d import I3D
from vdm_jax.evals.features.inception import InceptionFID
from vdm_jax.experiment.feature_networks import open_weights


@pytest.mark.parametrize(
    'source, stored, want',
    [
        ('i3d', I3D(multiplier=NARROW), I3D(resize='half_pixel', side=64)),
        ('inception_fid', InceptionFID(multiplier=NARROW), InceptionFID(side=75, logit_bias=True)),
        ('c3d', C3D(multiplier=NARROW, side=32), C3D(resize='half_pixel', precision='default')),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_the_size_is_that_of_the_weights_and_all_else_as_asked(source, stored, want, tmp_path):
    np.savez(tmp_path / 'own.npz', **tensors(source, stored))
    opened = open_weights(want, str(tmp_path / 'own.npz'))
    assert opened.network.multiplier == NARROW
    assert opened.network.resize == want.resize and opened.network.precision == want.precision
    assert opened.network.side == (32 if source == 'c3d' else want.side)
    shapes = jax.eval_shape(opened.network.apply, opened.params, clips((2, 16, 12, 20, 3)))
    assert shapes.shape == (2 * opened.network.rows_per_clip(16), stored.width)
