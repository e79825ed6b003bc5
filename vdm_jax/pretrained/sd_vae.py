"""Diffusers' AutoencoderKL and AutoencoderKLTemporalDecoder.

Stable Diffusion's VAE, its fine-tuned decoders (stabilityai/sd-vae-ft-mse, -ema), Stable Video Diffusion's.

A temporal decoder of another number of layers than the last one's two has tensors in its middle that diffusers does not
run; they are reported as unused.
"""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from vdm_jax.codecs.image_codec import ImageVAECodec
from vdm_jax.codecs.image_vae import ImageVAE, ImageVAEConfig
from vdm_jax.errors import UserError
from vdm_jax.parallel.rules import path_name
from vdm_jax.pretrained.checkpoint_checks import read_number, require_names, require_tensor, require_values
from vdm_jax.pretrained.report import Report
from vdm_jax.pretrained.source import Source
from vdm_jax.pretrained.table import CONV, LINEAR, SAME, Conversion, Row, export_tensors, row

# (beginning of our path, beginning of their name): the first that matches; the rest goes part by part, by PARTS.
PREFIXES = (
    (r'encoder/levels/(\d)/(\d)/conv/', r'encoder.down_blocks.\1.downsamplers.0.conv.'),
    (r'encoder/levels/(\d)/(\d)/', r'encoder.down_blocks.\1.resnets.\2.'),
    (r'decoder/levels/(\d)/(\d)/conv/', r'decoder.up_blocks.\1.upsamplers.0.conv.'),
    (r'decoder/levels/(\d)/(\d)/', r'decoder.up_blocks.\1.resnets.\2.'),
    (r'(en|de)coder/middle/1/(?=(norm|query|key|value|project)/)', r'\1coder.mid_block.attentions.0.'),
    (r'(en|de)coder/middle/0/', r'\1coder.mid_block.resnets.0.'),
    # The second block is number 2 behind the attention, and 1 where there is none.
    (r'(en|de)coder/middle/[12]/', r'\1coder.mid_block.resnets.1.'),
    (r'(en|de)coder/', r'\1coder.'),
    (r'', r''),
)
PARTS = {
    'quant': 'quant_conv', 'post_quant': 'post_quant_conv', 'norm_out': 'conv_norm_out', 'time_out': 'time_conv_out',
    'shortcut': 'conv_shortcut', 'spatial': 'spatial_res_block', 'temporal': 'temporal_res_block',
    'mix': 'time_mixer.mix_factor', 'norm': 'group_norm', 'query': 'to_q', 'key': 'to_k', 'value': 'to_v',
    'project': 'to_out.0', 'kernel': 'weight', 'scale': 'weight',
}  # fmt: skip
# Names of the attention in files of earlier diffusers, the published ones of Stable Diffusion's VAE among them.
OLD_NAMES = {'query': 'to_q', 'key': 'to_k', 'value': 'to_v', 'proj_attn': 'to_out.0'}
# What ImageVAE is built for, by the keys of config.json.
EXPECTED_VALUES = {
    'act_fn': 'silu', 'shift_factor': None, 'latents_mean': None, 'latents_std': None,
    'down_block_types': 'DownEncoderBlock2D', 'up_block_types': 'UpDecoderBlock2D',
}  # fmt: skip


@dataclass(frozen=True)
class Autoencoder:
    """A codec with third-party weights.

    Slices, tiles, and whether latents are drawn, are changed by dataclasses.replace, of the codec and of this:
    replace(vae, config=replace(vae.config, sample=True)).

    Attributes:
      source: The module that read them.
      config: The codec, as config.codec takes it.
      params: Its weights.
      report: What became of the checkpoint.
    """

    source: Source = field(repr=False)
    config: ImageVAECodec
    params: dict[str, Any] = field(repr=False)
    report: Report

    def encode(self, video_BTHWC: ArrayLike, keys_B: jax.Array | None = None) -> jax.Array:
        """Return scaled latents (B, T, h, w, C) float32 of a video.

        Args:
          video_BTHWC: uint8 (B, T, H, W, C), or floats in [-1, 1].
          keys_B: With config.sample a key for each row, by which latents are drawn; else ignored, and latents are
            means, as they are without keys.

        Raises:
          UserError: the video is of another shape or dtype.
        """
        latents: jax.Array = self._encode(self.params, video_BTHWC, keys_B)
        return latents

    def decode(self, latents_BTHWC: ArrayLike) -> jax.Array:
        """Return the uint8 video of scaled latents (B, T, h, w, C).

        Raises:
          UserError: the latents are of another shape.
        """
        video: jax.Array = self._decode(self.params, latents_BTHWC)
        return video

    def export(self, params: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
        """Return parameters (its own by default) as diffusers' tensors, by today's names."""
        return export_tensors(rows(self.config), self.params if params is None else params)

    @functools.cached_property
    def _encode(self) -> Callable[..., Any]:
        return jax.jit(self.config.encode)

    @functools.cached_property
    def _decode(self) -> Callable[..., Any]:
        return jax.jit(self.config.decode)

    @staticmethod
    def init(config: ImageVAECodec) -> dict[str, Any]:
        """Return fresh parameters."""
        params: dict[str, Any] = nnx.to_pure_dict(nnx.state(ImageVAE(config.model, rngs=nnx.Rngs(0)), nnx.Param))
        return params


NOT_STORED: Mapping[str, str] = {}
MODEL = Autoencoder


def rows(config: ImageVAECodec) -> list[Row]:
    """Return the table of names: PREFIXES and PARTS, spelt out for every parameter."""
    # From our own tree, as the networks differ in levels, blocks and whether they are temporal.
    leaves = jax.tree_util.tree_flatten_with_path(config.abstract_weights())[0]
    return [row(path_name(path), _diffusers_name(path_name(path)), _conversion(leaf.ndim)) for path, leaf in leaves]


def _diffusers_name(path: str) -> str:
    for pattern, prefix in PREFIXES:
        if match := re.match(pattern, path):
            parts = [PARTS.get(part, part) for part in path[match.end() :].split('/')]
            return match.expand(prefix) + '.'.join(parts)
    raise AssertionError(f'no prefix matches {path}')  # the last one matches anything


def _conversion(ndim: int) -> Conversion:
    if ndim == 1:
        return SAME
    return LINEAR if ndim == 2 else CONV


def computed_tensors(config: ImageVAECodec) -> dict[str, np.ndarray]:
    """Return the tensors that are computed: none."""
    return {}


def rename(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors, those of attention by the names that diffusers gives them now."""
    old_name = re.compile(r'(?<=\.attentions\.0\.)({})(?=\.)'.format('|'.join(OLD_NAMES)))

    def new_name(match: re.Match[str]) -> str:
        return OLD_NAMES[match[0]]

    return {old_name.sub(new_name, name): array for name, array in arrays.items()}


def infer_config(
    arrays: Mapping[str, np.ndarray], config_json: Mapping[str, Any], heads: int | None = None
) -> ImageVAECodec:
    """Return the codec that these tensors belong to.

    Args:
      arrays: Tensors by name.
      config_json: What config.json holds, which alone has the groups of the norms (32 by default) and the scale.
      heads: One, always.

    Raises:
      UserError: they belong to another network, or to one that ImageVAE is not, or `config_json` has a value that is no
        number.
    """
    if heads not in (None, 1):
        raise UserError(f'--heads={heads}: the attention of the image VAE has one; leave it out')
    require_values(EXPECTED_VALUES, config_json)
    # Of a checkpoint without any level the message names the first one as missing.
    levels = _count_numbers(arrays, r'encoder\.down_blocks\.(\d+)\.')
    first_convs = [f'encoder.down_blocks.{i}.resnets.0.conv1.weight' for i in range(max(levels, 1))]
    outer_convs = ('encoder.conv_in.weight', 'decoder.conv_in.weight', 'decoder.conv_out.weight')
    require_names((*first_convs, *outer_convs), arrays, "it is not diffusers' AutoencoderKL")

    model = ImageVAEConfig(
        in_channels=require_tensor(arrays, 'encoder.conv_in.weight', 4).shape[1],
        out_channels=len(require_tensor(arrays, 'decoder.conv_out.weight', 4)),
        latent_channels=require_tensor(arrays, 'decoder.conv_in.weight', 4).shape[1],
        block_out_channels=tuple(len(require_tensor(arrays, name, 4)) for name in first_convs),
        layers_per_block=_count_numbers(arrays, r'encoder\.down_blocks\.0\.resnets\.(\d+)\.'),
        norm_num_groups=read_number(config_json, 'norm_num_groups', 32),
        mid_block_add_attention='encoder.mid_block.attentions.0.group_norm.weight' in arrays,
        use_quant_conv='quant_conv.weight' in arrays,
        use_post_quant_conv='post_quant_conv.weight' in arrays,
        scaling_factor=read_number(config_json, 'scaling_factor', ImageVAEConfig.scaling_factor, float),
        temporal='decoder.time_conv_out.weight' in arrays,
    )
    return ImageVAECodec(model=model)


def _count_numbers(arrays: Mapping[str, np.ndarray], pattern: str) -> int:
    """How many different numbers the names have where the pattern's group is."""
    matches = [re.match(pattern, name) for name in arrays]
    return len({match[1] for match in matches if match})
