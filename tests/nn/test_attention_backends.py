"""Attention backends against the definition, forward and backward, with masks; and which one `auto` takes."""

import collections
import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.absent import absent
from tests.models.small import LABEL, SMALL, T, network, video
from vdm_jax.nn.attention_backends import (
    BACKENDS,
    AttentionConfig,
    Backend,
    attend,
    cudnn,
    plain,
    select_backend,
    splash,
    unsupported_reason,
)
from vdm_jax.nn.attention_patterns import Full, Grid
from vdm_jax.nn.remat import rematerialise
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

    def loss(*inputs):
        return (attention(*inputs).astype(jnp.float32) * weights).sum()

    return jax.jit(lambda *inputs: (attention(*inputs), jax.grad(loss, (0, 1, 2))(*inputs)))(*inputs)


def same(actual, expected, atol):
    def close(a, b):
        return np.testing.assert_allclose(a.astype('float32'), b.astype('float32'), atol=atol)

    jax.tree.map(close, actual, expected)


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
@pytest.mark.parametrize('images, causal', [(0, False), (4, False), (0, True)])
def test_a_ring_is_plain_attention(images, causal):
    """Keys and values on four devices, heads on two; with images, whose tokens see only themselves."""
    grid = GRID._replace(images=images)
    inputs = qkv(grid.tokens, lead=(1,))
    mask = Full(causal).mask(grid)
    config = AttentionConfig(sequence='ring')

    def around(*inputs):
        return attend(*inputs, mask, Full().axes_for(config), 'auto', config)

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
    with absent(platform):
        assert select_backend(q, k, mask, AttentionConfig()) == expected


def test_a_backend_that_cannot_is_refused_by_name():
    q, k, v = qkv(256)
    with pytest.raises(ValueError, match='cudnn runs on NVIDIA GPUs alone, and this is for cpu'):
        attend(q, k, v, backend='cudnn')
    odd, usual, wide = ([*qkv(256, dim, dtype=jnp.bfloat16)[:2], None] for dim in (12, 64, 160))
    with absent('cuda'):
        assert 'computes in bfloat16 or float16, not in float32' in unsupported_reason('cudnn', q, k, None)
        assert 'multiple of 8' in unsupported_reason('cudnn', *odd)
        assert 'up to 128' in unsupported_reason('cudnn', *wide) and select_backend(*wide, AttentionConfig()) == 'xla'
    with absent('cuda', 'NVIDIA H200'):
        assert unsupported_reason('cudnn', *wide) is None
    with absent('rocm'):
        assert select_backend(*usual, AttentionConfig()) == 'xla'
    with absent('tpu'), pytest.raises(ValueError, match='only masks that are the same for all sequences'):
        attend(q, k, v, np.ones((2, 1, 256, 256), bool), backend='splash')


def test_each_axis_takes_the_backend_that_is_set_for_it(monkeypatch):
    """Two attentions, over space and over time: each is computed by its own."""
    calls = []
    for name in ('cudnn', 'splash'):

        def take(q, k, v, mask, axes, config, name=name):
            return calls.append((name, q.shape[-2])) or plain(q, k, v, mask)

        monkeypatch.setitem(BACKENDS, name, Backend(take))
    config = dataclasses.replace(SMALL, attention=AttentionConfig(space='cudnn', time='splash', full='xla'))
    apply, params = network(config)
    apply(params, video(), T, LABEL, 0)
    assert calls == [('cudnn', 16), ('splash', 4)]  # 4 x 4 patches, 4 frames


@pytest.fixture
def as_if_on_gpu(monkeypatch):
    """Queries for cuDNN and a card return yes, so that programs can be lowered for CUDA anywhere."""
    kernels = pytest.importorskip('jax._src.cudnn.fused_attention_stablehlo')
    for name, answer in (('check_cudnn_version', 91000), ('check_compute_capability', True)):
        monkeypatch.setattr(kernels, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(kernels, 'check_is_flash_attention', lambda *_, **__: None)


@pytest.mark.parametrize('mask', MASKS)
def test_cudnn_lowers_to_one_kernel_forth_and_one_back(mask, as_if_on_gpu):
    inputs, mask = qkv(256, 72, lead=(2, 3), dtype=jnp.bfloat16), MASKS[mask](256)

    def loss(*inputs):
        return cudnn(*inputs, mask, (), None).astype(jnp.float32).sum()

    with absent('cuda'):
        lowered = jax.jit(jax.grad(loss, (0, 1, 2))).trace(*inputs).lower(lowering_platforms=('cuda',))
        output = jax.eval_shape(lambda *inputs: cudnn(*inputs, mask, (), None), *inputs)
    kernels = collections.Counter(re.findall(r'@(__cudnn\$\w+)', lowered.as_text()))
    assert len(kernels) == 2 and sum(kernels.values()) == 2 and any(name.endswith('Backward') for name in kernels)
    assert output.shape == inputs[0].shape


def primitives(jaxpr):
    """The names of all operations of a program, however deep."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, 'eqns')):
            if hasattr(value, 'eqns'):
                yield from primitives(getattr(value, 'jaxpr', value))


@pytest.mark.parametrize(('policy', 'forth'), [('none', 1), ('attention', 1), ('dots', 1), ('full', 2)])
def test_kept_outputs_of_a_kernel_are_not_made_again(policy, forth, as_if_on_gpu):
    """Its logsumexp has to be kept with its output: without it the backward pass runs the kernel again."""
    inputs = qkv(256, 72, lead=(2, 3), dtype=jnp.bfloat16)
    scale = jnp.bfloat16(1.5)

    def layer(scale, x, index):
        return jnp.sin(attend(x * scale, *inputs[1:], backend='cudnn'))

    call = rematerialise(layer, policy)

    def loss(scale):
        return call(scale, inputs[0], 0).astype(jnp.float32).sum()

    with absent('cuda'):
        program = jax.make_jaxpr(jax.grad(loss))(scale)
    counts = collections.Counter(primitives(program.jaxpr))
    kernels = {name: count for name, count in counts.items() if name.startswith('dot_product_attention')}
    assert sorted(kernels.values()) == sorted([forth, 1]) and sum('bwd' in name for name in kernels) == 1
