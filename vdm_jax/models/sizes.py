"""Named sizes as the papers have them, and what a network of a size costs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """`depth` counts attention blocks, space and time ones together, as Latte's Table 1 and DiT's do."""

    depth: int
    width: int
    heads: int


SIZES = {
    'tiny': Size(6, 128, 4),
    'S': Size(12, 384, 6),
    'B': Size(12, 768, 12),
    'L': Size(24, 1024, 16),
    'XL': Size(28, 1152, 16),
}


def flops_per_video(config, shape) -> float:
    """Floating-point operations of one forward pass on one video of shape (T, H, W); a multiply-add counts as 2.

    Matrix products only: per block 24 D^2 n for the projections and the MLP, 4 n c D for attention over contexts of
    c tokens, and 12 D^2 per conditioning vector for the modulation; plus patch embedding, time and label embedding
    and head. Norms, softmax, GELU and positions are left out, as is usual for MFU. A training step is 3x this.

    Args:
      config: a VideoDiTConfig with channels set.
      shape: (T, H, W) of what the network sees (latents, not pixels, where there is a codec).
    """
    size, (frames, height, width) = config.sizes, shape
    frames, space = frames // config.time_patch, (height // config.patch) * (width // config.patch)
    n, d = frames * space, size.width
    contexts = {'full': (n,), 'interleaved': (space, frames)}[config.layout]
    attention = sum(4 * n * c * d for c in contexts) / len(contexts)
    per_block = (8 + 4 * config.mlp_ratio) * d * d * n + attention + 12 * d * d
    patch = config.time_patch * config.patch**2 * config.channels
    embedding = 2 * n * patch * d + 2 * (256 * d + d * d)
    head = 2 * n * d * patch * (2 if config.learn_variance else 1) + 4 * d * d
    return float(size.depth * per_block + embedding + head)
