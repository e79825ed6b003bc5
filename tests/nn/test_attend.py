"""Attention backends against the definition, forward and backward, with masks; and which one `auto` takes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.nn.arrange import Full, Grid, Space, Time
from vdm_jax.nn.attend import AttentionConfig, attend, cudnn, plain, refusal, splash, suited
from vdm_jax.parallel.mesh import BATCH, MeshConfig, make_mesh

GRID = Grid(4, 8, 8, images=2)
MASKS = {
    'none': lambda length: None,
    'causal': lambda length: np.tril(np.ones((length, length), bool)),
    'two clips': lambda length: np.equal.outer(*2 * [np.arange(length) > length // 3]),
}


def qkv(length, dim=16, lead=(2,), heads=2, dtype=jnp.float32):
    shape = (*lead, heads, length, dim)
    return [jax.random.normal(jax.random.key(i), shape).astype(dtype) for i in range(3)]


def both_ways(attention, inputs):
    """Output and gradients with regard to q, k and v, for a cotangent that is not constant."""
    weights = jnp.cos(jnp.arange(inputs[0].size, dtype=jnp.float32)).reshape(inputs[0].shape)
    loss = lambda *inputs: (attention(*inputs).astype(jnp.float32) * weights).sum()
    return jax.jit(lambda *inputs: (attention(*inputs), jax.grad(loss, (0, 1, 2))(*inputs)))(*inputs)


def same(found, expected, atol):
    close = lambda a, b: np.testing.assert_allclose(a.astype('float32'), b.astype('float32'), atol=atol)
    jax.tree.map(close, found, expected)


# Lengths and heads that fill whole lanes and that do not; 72 is DiT-XL's.
@pytest.mark.parametrize('length, dim', [(128, 128), (200, 72), pytest.param(384, 72, marks=pytest.mark.slow)])
@pytest.mark.parametrize('mask', MASKS)
def test_splash_is_plain_attention(length, dim, mask):
    inputs, mask = qkv(length, dim), MASKS[mask](length)
    config = AttentionConfig(block_q=128, block_kv=128)
    kernel = functools.partial(splash, mask=mask, axes=(), config=config, interpret=True)
    same(both_ways(kernel, inputs), both_ways(functools.partial(plain, mask=mask), inputs), 2e-5)


@pytest.mark.gpu
@pytest.mark.parametrize('length, dim', [(256, 72), (256, 128), (4096, 72), (200, 64), (16, 72)])
@pytest.mark.parametrize('mask', MASKS)
def test_cudnn_is_plain_attention(length, dim, mask):
    inputs, mask = qkv(length, dim, dtype=jnp.bfloat16), MASKS[mask](length)
    exact = both_ways(functools.partial(plain, mask=mask), [x.astype(jnp.float32) for x in inputs])
    same(both_ways(functools.partial(cudnn, mask=mask, axes=(), config=None), inputs), exact, 0.05)


@pytest.mark.multidevice
@pytest.mark.parametrize('images', [0, 2])
def test_a_ring_is_plain_attention(images):
    """Keys and values on four devices, heads on two; with images, whose tokens see themselves alone."""
    grid = GRID._replace(images=images * 2)
    inputs, mask = qkv((4 + images * 2) * 64, lead=(1,)), Full().mask(grid)
    config = AttentionConfig(sequence='ring')
    around = lambda *inputs: attend(*inputs, mask, Full().axes_for(config), 'auto', config)
    expected = both_ways(functools.partial(plain, mask=mask), inputs)
    with jax.set_mesh(make_mesh(MeshConfig(sequence=4, tensor=2), jax.devices()[:8])):
        same(both_ways(around, inputs), expected, 2e-5)


@pytest.mark.multidevice
def test_kernels_run_on_each_devices_part():
    """Splash, which no partitioner splits, on a mesh: batch, frames and heads on axes of their own."""
    inputs = qkv(128, lead=(2, 4))
    axes = BATCH, 'sequence', 'tensor'
    here = functools.partial(splash, mask=None, axes=axes, config=AttentionConfig(), interpret=True)
    expected = both_ways(plain, inputs)
    with jax.set_mesh(make_mesh(MeshConfig(data=2, sequence=2, tensor=2), jax.devices()[:8])):
        same(both_ways(here, inputs), expected, 2e-5)


def on(platform):
    """A mesh of a platform that is not here."""
    device = jax.sharding.AbstractDevice(device_kind=platform, num_cores=1, platform=platform)
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ('data',), abstract_device=device))


@pytest.mark.parametrize(
    'platform, length, dtype, mask, expected',
    [
        ('cpu', 4096, 'bfloat16', None, 'xla'),
        ('cuda', 256, 'bfloat16', None, 'cudnn'),
        ('cuda', 256, 'float32', None, 'xla'),  # which cuDNN does not compute
        ('cuda', 16, 'bfloat16', None, 'xla'),
        ('tpu', 256, 'float32', None, 'splash'),
        ('tpu', 16, 'bfloat16', None, 'xla'),
        ('tpu', 256, 'bfloat16', np.ones((256, 256), bool), 'splash'),
        ('tpu', 256, 'bfloat16', np.ones((2, 1, 256, 256), bool), 'xla'),  # another mask for each window
    ],
)
def test_auto_takes_what_suits_platform_and_shapes(platform, length, dtype, mask, expected):
    q, k, _ = qkv(length, 72, dtype=dtype)
    with on(platform):
        assert suited(q, k, mask, AttentionConfig()) == expected


def test_a_backend_that_cannot_is_refused_by_name():
    q, k, v = qkv(256)
    with pytest.raises(ValueError, match='cudnn computes in bfloat16 or float16, not in float32'):
        attend(q, k, v, backend='cudnn')
    q, k, v = qkv(256, 12, dtype=jnp.bfloat16)
    assert 'multiple of 8' in refusal('cudnn', q, k, None)
    with pytest.raises(ValueError, match='only masks that are the same for all sequences'):
        attend(q, k, v, np.ones((2, 1, 256, 256), bool), backend='splash')


@pytest.mark.parametrize('arrangement, kind', [(Space(), 'space'), (Time(), 'time'), (Full(), 'full')])
def test_each_axis_has_a_backend_of_its_own(arrangement, kind):
    assert arrangement.kind == kind and hasattr(AttentionConfig(), kind)
