"""Softmax attention behind one call: BACKENDS names the ways to compute it, all equal to `plain`.

q (..., K, L, E) and k, v (..., K, S, E) -> (..., K, L, E). mask: bool, broadcast from the right against (..., K, L, S),
True where L may look at S, or None. axes: the mesh axes of (..., K), so that what attends to each other lies on one
device; or of (..., K, L), L in parts on the mesh's sequence axis.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from vdm_jax.config.ranges import Between, MultipleOf, OneOf, Ranged, Whole
from vdm_jax.nn.ring import RING, UNSEEN, ring
from vdm_jax.parallel.mesh import device_kind, platform
from vdm_jax.parallel.sharding import Axes, axis_size, shard_local

OUTPUT = 'attention'  # what rematerialisation calls outputs of attention, and the logsumexp that goes with them
LANES = 128  # of a TPU: heads are padded to a multiple of these, and blocks are a multiple of these
Block = Annotated[int, Between(LANES, 2**16), MultipleOf(LANES)]
Mask = np.ndarray | jax.Array | None
Tokens = jax.Array | jax.ShapeDtypeStruct  # of which shape and dtype count


def plain(q: jax.Array, k: jax.Array, v: jax.Array, mask: Mask = None) -> jax.Array:
    """Compute the definition, with the softmax in float32: what every backend equals."""
    # The scale goes to q, which is smaller than the scores. These leave the matmul in float32: near 50, numbers of
    # bfloat16 lie 0.25 apart.
    scores = jnp.matmul(q * q.shape[-1] ** -0.5, jnp.swapaxes(k, -1, -2), preferred_element_type=jnp.float32)
    if mask is not None:
        scores = jnp.where(jnp.expand_dims(mask, range(scores.ndim - mask.ndim)), scores, UNSEEN)
    return jnp.matmul(jax.nn.softmax(scores, axis=-1).astype(v.dtype), v)


def xla(q: jax.Array, k: jax.Array, v: jax.Array, mask: Mask, axes: Axes, config: 'AttentionConfig') -> jax.Array:
    """Leave the definition to XLA, which splits it as the mesh has its inputs."""
    out: jax.Array = checkpoint_name(plain(q, k, v, mask), OUTPUT)
    return out


def cudnn(q: jax.Array, k: jax.Array, v: jax.Array, mask: Mask, axes: Axes, config: 'AttentionConfig') -> jax.Array:
    """Run cuDNN's fused attention on each device's part; remat.py knows its output by the primitive."""

    def attend(*qkv: jax.Array) -> jax.Array:
        # One batch dimension and L before K, as jax's call wants them. To merge is free here: no mesh splits this part.
        lead = qkv[0].shape[:-3]
        q, k, v = (jnp.swapaxes(y.reshape(-1, *y.shape[-3:]), 1, 2) for y in qkv)  # (b, L, K, E)
        mask_bKLL = None if mask is None else jnp.asarray(mask)[None, None]
        out = jnp.swapaxes(jax.nn.dot_product_attention(q, k, v, mask=mask_bKLL, implementation='cudnn'), 1, 2)
        return out.reshape(*lead, *out.shape[1:])

    return shard_local(attend, (axes, axes, axes), axes)(q, k, v)


def splash(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    mask: Mask,
    axes: Axes,
    config: 'AttentionConfig',
    interpret: bool = False,
) -> jax.Array:
    """Run the Pallas kernel for TPUs that comes with jax (splash attention) on each device's part.

    Heads and sequences are padded to whole lanes; padding attends only to itself.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    def pad(y: jax.Array) -> jax.Array:
        return jnp.pad(y, [(0, 0)] * (y.ndim - 2) + [(0, -y.shape[-2] % LANES), (0, -y.shape[-1] % LANES)])

    # The kernel does not scale. By the head dimension before it is padded; the zeros that padding adds change no score.
    q_length, dim = q.shape[-2:]
    kv_length = k.shape[-2]
    q, k, v = (pad(y) for y in (q * dim**-0.5, k, v))

    shape = (q.shape[-2], k.shape[-2])
    padded_mask = masks.FullMask(shape) if mask is None else masks.NumpyMask(pad_mask(mask, shape))
    # Without a mask it is segments that keep tokens and padding apart.
    segment_ids = None
    if shape != (q_length, kv_length) and mask is None:
        is_padding_q = jnp.asarray(np.arange(shape[0]) >= q_length, jnp.int32)
        is_padding_kv = jnp.asarray(np.arange(shape[1]) >= kv_length, jnp.int32)
        segment_ids = kernel.SegmentIds(is_padding_q, is_padding_kv)

    block_q = block(shape[0], config.block_q)
    block_kv = block(shape[1], config.block_kv)
    sizes = kernel.BlockSizes(
        block_q=block_q, block_kv=block_kv, block_kv_compute=block_kv, block_q_dkv=block_q, block_kv_dkv=block_kv,
        block_kv_dkv_compute=block_kv, block_q_dq=block_q, block_kv_dq=block_kv,
    )  # fmt: skip

    def attend(*qkv: jax.Array) -> jax.Array:
        lead = qkv[0].shape[:-3]
        q, k, v = (y.reshape(-1, *y.shape[-3:]) for y in qkv)
        heads = masks.MultiHeadMask([padded_mask] * q.shape[1])
        # One shard each, as shard_local hands in whole heads and sequences. Output and logsumexp are named, without
        # which rematerialisation would run the forward kernel again.
        attention = kernel.make_splash_mha(
            heads, block_sizes=sizes, head_shards=1, q_seq_shards=1, residual_checkpoint_name=OUTPUT,
            interpret=interpret,
        )  # fmt: skip
        # The kernel takes the heads of one sequence, (K, L, E).
        out: jax.Array = jax.vmap(lambda q, k, v: attention(q, k, v, segment_ids=segment_ids))(q, k, v)
        return out.reshape(*lead, *out.shape[1:])

    return shard_local(attend, (axes, axes, axes), axes)(q, k, v)[..., :q_length, :dim]


def pad_mask(mask: np.ndarray | jax.Array, shape: tuple[int, int]) -> np.ndarray:
    """Extend a mask (L, S) to padded lengths, bool: no token looks at padding, and padding at itself."""
    # At itself and not at nothing, so that no row of the softmax is empty.
    padded = np.eye(*shape, dtype=bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return padded


def block(length: int, most: int) -> int:
    """Return the largest block of at most `most` tokens, in whole lanes, that divides a padded length."""
    return max(size for size in range(LANES, min(most, length) + 1, LANES) if length % size == 0)


def accept_all(q: Tokens, k: Tokens, mask: Mask) -> None:
    """Refuse nothing."""


def refuse_varying_masks(q: Tokens, k: Tokens, mask: Mask) -> str | None:
    """Return why splash cannot compute this; None where it can."""
    # A mask that is traced, or has leading dimensions, differs between sequences.
    if mask is not None and (not isinstance(mask, np.ndarray) or mask.ndim != 2):
        return 'takes only masks that are the same for all sequences'
    return None


def refuse_for_cudnn(q: Tokens, k: Tokens, mask: Mask) -> str | None:
    """Return why cuDNN cannot compute this; None where it can."""
    if reason := refuse_varying_masks(q, k, mask):
        return reason
    if q.dtype not in (jnp.bfloat16, jnp.float16):
        return f'computes in bfloat16 or float16, not in {q.dtype} (config.model.dtype)'
    most = 256 if re.search(r'[HB]\d00', device_kind()) else 128  # Hopper and later
    if q.shape[-1] % 8 or q.shape[-1] > most:
        return f'takes heads of up to {most} dimensions, a multiple of 8, not of {q.shape[-1]}'
    if mask is not None and (q.shape[-2] % 2 or k.shape[-2] % 2):
        return 'takes masks for even lengths alone'
    return None


HARDWARE = {'cpu': 'CPUs', 'gpu': 'NVIDIA GPUs', 'rocm': 'AMD GPUs', 'tpu': 'TPUs'}  # what messages call a platform


@dataclass(frozen=True)
class Backend:
    """A way to compute attention.

    Attributes:
      compute: (q, k, v, mask, axes, config) -> output. It names its output OUTPUT, unless remat.py knows its primitive.
      platform: The one that it runs on (parallel.mesh.platform); None for any. There `auto` prefers it to xla.
      refuse: (q, k, mask) -> why it cannot compute this on its platform; None where it can.
    """

    compute: Callable[[jax.Array, jax.Array, jax.Array, Mask, Axes, 'AttentionConfig'], jax.Array]
    platform: str | None = None
    refuse: Callable[[Tokens, Tokens, Mask], str | None] = accept_all


BACKENDS = {
    'xla': Backend(xla),
    'cudnn': Backend(cudnn, 'gpu', refuse_for_cudnn),
    'splash': Backend(splash, 'tpu', refuse_varying_masks),
}
BackendName = Annotated[str, OneOf(('auto', *BACKENDS))]


@dataclass(frozen=True)
class AttentionConfig(Ranged, where='config.model.attention'):
    """How attention is computed; what it computes is the same for all.

    The backend auto is cudnn on GPU and splash on TPU where they take the shapes and the sequence has `flash_from`
    tokens or more, else xla, whose batched matmuls suit 16 frames better than any kernel.

    Attributes:
      space: Backend over the tokens of one frame.
      time: Backend over the frames of one location.
      full: Backend over the tokens of several frames: full attention, windows.
      flash_from: Tokens of a sequence from which on auto takes cudnn or splash.
      block_q: At most so many queries in a block of splash.
      block_kv: At most so many keys and values in a block of splash.
      sequence: How full attention and windows are split over the mesh's sequence axis: by heads (ulysses), or full
        attention by tokens, whose keys and values go round (ring, which has no backend but its own).
    """

    space: BackendName = 'auto'
    time: BackendName = 'auto'
    full: BackendName = 'auto'
    flash_from: Whole = 128
    block_q: Block = 512
    block_kv: Block = 512
    sequence: Literal['ulysses', 'ring'] = 'ulysses'

    def backend_for(self, kind: str) -> str:
        """Return the backend of patterns of a kind (nn/attention_patterns.py): space, time or full."""
        return {'space': self.space, 'time': self.time, 'full': self.full}[kind]


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    mask: Mask = None,
    axes: Axes = (),
    backend: str = 'auto',
    config: AttentionConfig = AttentionConfig(),
) -> jax.Array:
    """Compute softmax attention (Vaswani et al. 2017) by the backend of that name, or by one that suits the shapes.

    Raises:
      ValueError: the backend does not take these shapes.
    """
    # Tokens are split over the mesh here, so that no backend on one device would see all keys.
    if RING in axes[-1:] and axis_size(RING) > 1:
        out: jax.Array = checkpoint_name(ring(q, k, v, mask, axes), OUTPUT)
        return out

    if backend == 'auto':
        backend = select_backend(q, k, mask, config)
    elif reason := unsupported_reason(backend, q, k, mask):
        raise ValueError(f'config.model.attention: {backend} {reason}; choose auto or xla')
    return BACKENDS[backend].compute(q, k, v, mask, axes, config)


def select_backend(q: jax.Array, k: jax.Array, mask: Mask, config: AttentionConfig) -> str:
    """Return the backend that `auto` takes here."""
    # A kernel never writes the scores to memory. Over the 16 frames of a location they are few, and batched matmuls
    # beat its overhead.
    if min(q.shape[-2], k.shape[-2]) < config.flash_from:
        return 'xla'
    kernels = [name for name, backend in BACKENDS.items() if backend.platform == platform()]
    fitting = (name for name in kernels if unsupported_reason(name, q, k, mask) is None)
    return next(fitting, 'xla')


def unsupported_reason(name: str, q: Tokens, k: Tokens, mask: Mask) -> str | None:
    """Return why a backend, or auto, cannot compute this; None where it can."""
    if name == 'auto':
        return None
    backend = BACKENDS[name]
    if backend.platform not in (None, platform()):
        return f'runs on {HARDWARE[backend.platform]} alone, and this is for {platform()}'
    return backend.refuse(q, k, mask)
