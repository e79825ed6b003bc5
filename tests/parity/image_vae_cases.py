"""Small image VAEs with weights and inputs by seed, for the live comparison with diffusers and for its fixtures."""

from pathlib import Path

import numpy as np

from vdm_jax.codecs.image_vae import ImageVAEConfig

STABLE = ImageVAEConfig(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, scaling_factor=0.25)
ODD = ImageVAEConfig(
    in_channels=1, out_channels=2, latent_channels=3, block_out_channels=(8, 24, 16), layers_per_block=3,
    norm_num_groups=8,
)  # fmt: skip
VIDEO = ImageVAEConfig(block_out_channels=(64, 32), use_post_quant_conv=False, temporal=True)
# name: (network, shape of a video (B, T, H, W)); rows are never as many as columns
CASES = {
    'kl': (STABLE, (1, 2, 12, 20)),
    'kl, 3 levels and layers': (ODD, (2, 1, 20, 12)),
    'kl, no quant': (
        ImageVAEConfig(
            block_out_channels=(16, 8), norm_num_groups=2, use_quant_conv=False, use_post_quant_conv=False
        ),
        (1, 2, 8, 14),
    ),
    'kl, no attention': (
        ImageVAEConfig(block_out_channels=(8, 8, 8, 8), norm_num_groups=8, mid_block_add_attention=False),
        (1, 1, 32, 16),
    ),
    'kl, 32 groups': (ImageVAEConfig(block_out_channels=(32, 64, 64)), (1, 1, 16, 24)),
    'temporal': (VIDEO, (2, 5, 8, 12)),
    'temporal, 1 layer': (
        ImageVAEConfig(block_out_channels=(32, 64, 32), layers_per_block=1, use_post_quant_conv=False, temporal=True),
        (1, 3, 12, 8),
    ),
    'temporal, 3 layers': (
        ImageVAEConfig(block_out_channels=(32, 32), layers_per_block=3, use_post_quant_conv=False, temporal=True),
        (1, 4, 6, 10),
    ),
    'Stable Diffusion, full size': (ImageVAEConfig(), (1, 1, 64, 96)),
    'Stable Video Diffusion, full size': (ImageVAEConfig(use_post_quant_conv=False, temporal=True), (1, 3, 64, 96)),
}  # fmt: skip
STORED = 'kl', 'temporal'  # fixtures of the default suite
FIXTURE = Path(__file__).parent / 'fixtures' / 'image_vae.npz'


def about(config: ImageVAEConfig) -> dict:
    """Return the entries of diffusers' config.json that the tensors do not determine."""
    return {'norm_num_groups': config.norm_num_groups, 'scaling_factor': config.scaling_factor}


def tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Noise for every name, in the order of names: kernels that keep the variance, norms about 1, and neither a bias
    nor the share of a temporal block at zero."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name in sorted(shapes):
        drawn = rng.standard_normal(shapes[name], np.float32)
        if len(shapes[name]) > 1:
            drawn *= np.float32(np.prod(shapes[name][1:]) ** -0.5)
        elif name.endswith('.bias'):
            drawn *= np.float32(0.1)
        elif name.endswith('.weight'):
            drawn = 1 + np.float32(0.2) * drawn
        arrays[name] = drawn
    return arrays


def inputs(config: ImageVAEConfig, shape: tuple[int, ...], seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(video in [-1, 1], latents as the decoder takes them)."""
    rng = np.random.default_rng(seed)
    factor = config.factor
    batch, frames, height, width = shape
    video = rng.uniform(-1, 1, (*shape, config.in_channels)).astype(np.float32)
    z = rng.standard_normal((batch, frames, height // factor, width // factor, config.latent_channels), np.float32)
    return video, z
