"""Diffusers' autoencoders for the image VAE's cases."""

import diffusers
import numpy as np
import torch

from vdm_jax.codecs.image_vae import ImageVAEConfig


def network(config: ImageVAEConfig) -> torch.nn.Module:
    """Theirs, of its own random weights."""
    levels = len(config.block_out_channels)
    sizes = {
        'in_channels': config.in_channels, 'out_channels': config.out_channels,
        'latent_channels': config.latent_channels, 'block_out_channels': config.block_out_channels,
        'layers_per_block': config.layers_per_block, 'down_block_types': ('DownEncoderBlock2D',) * levels,
    }  # fmt: skip
    if config.temporal:
        return diffusers.AutoencoderKLTemporalDecoder(**sizes).eval()
    return diffusers.AutoencoderKL(
        **sizes,
        up_block_types=('UpDecoderBlock2D',) * levels,
        norm_num_groups=config.norm_num_groups,
        mid_block_add_attention=config.mid_block_add_attention,
        use_quant_conv=config.use_quant_conv,
        use_post_quant_conv=config.use_post_quant_conv,
    ).eval()


def shapes(net: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Of every tensor, by its name."""
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def compute_outputs(net: torch.nn.Module, tensors: dict, video, z) -> dict[str, np.ndarray]:
    """{'mean', 'logvar', 'pixels'} (B, T, H, W, C) with these tensors."""
    net.load_state_dict({name: torch.tensor(array) for name, array in tensors.items()}, strict=True)

    def flat(x):
        return torch.tensor(x).flatten(0, 1).permute(0, 3, 1, 2)

    def back(y):
        return y.permute(0, 2, 3, 1).unflatten(0, video.shape[:2]).numpy()

    clips = {'num_frames': video.shape[1]} if isinstance(net, diffusers.AutoencoderKLTemporalDecoder) else {}
    with torch.no_grad():
        posterior = net.encode(flat(video)).latent_dist
        pixels = net.decode(flat(z), **clips).sample
    return {'mean': back(posterior.mean), 'logvar': back(posterior.logvar), 'pixels': back(pixels)}
