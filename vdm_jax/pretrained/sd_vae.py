"""Diffusers' AutoencoderKL and AutoencoderKLTemporalDecoder: Stable Diffusion's VAE, its fine-tuned decoders
(stabilityai/sd-vae-ft-mse, -ema), Stable Video Diffusion's.

A temporal decoder of another number of layers than the last one's two has tensors in its middle that diffusers does not
run; they are reported as unused.
"""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

import jax
import numpy as np
from flax import nnx

from vdm_jax.codecs.image_codec import ImageVAECodec
from vdm_jax.codecs.image_vae import ImageVAE, ImageVAEConfig
from vdm_jax.errors import UserError
from vdm_jax.parallel.rules import path_name
from vdm_jax.pretrained.clues import demand, demand_granted, number, wanted
from vdm_jax.pretrained.report import Report
from vdm_jax.pretrained.table import CONV, LINEAR, SAME, Row, give, row

# Beginnings of our names and of theirs, the first that fits, then what may follow.
PLACES = (
    (r'encoder/levels/(\d)/(\d)/conv/', r'encoder.down_blocks.\1.downsamplers.0.conv.'),
    (r'encoder/levels/(\d)/(\d)/', r'encoder.down_blocks.\1.resnets.\2.'),
    (r'decoder/levels/(\d)/(\d)/conv/', r'decoder.up_blocks.\1.upsamplers.0.conv.'),
    (r'decoder/levels/(\d)/(\d)/', r'decoder.up_blocks.\1.resnets.\2.'),
    (r'(en|de)coder/middle/1/(?=(norm|query|key|value|project)/)', r'\1coder.mid_block.attentions.0.'),
    (r'(en|de)coder/middle/0/', r'\1coder.mid_block.resnets.0.'),
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
# Of the attention in files of earlier diffusers, the published ones of Stable Diffusion's VAE among them.
OLD = {'query': 'to_q', 'key': 'to_k', 'value': 'to_v', 'proj_attn': 'to_out.0'}
# What ImageVAE has for granted, as config.json calls it.
GRANTED = {
    'act_fn': 'silu', 'shift_factor': None, 'latents_mean': None, 'latents_std': None,
    'down_block_types': 'DownEncoderBlock2D', 'up_block_types': 'UpDecoderBlock2D',
}  # fmt: skip


@dataclass(frozen=True)
class Autoencoder:
    """A codec with other people's weights. config: the codec, as config.codec takes it. params: its weights. report:
    what became of the checkpoint.

    Slices, tiles, and whether latents are drawn, are changed by dataclasses.replace, of the codec and of this:
    replace(vae, config=replace(vae.config, sample=True)).
    """

    source: ModuleType = field(repr=False)
    config: ImageVAECodec
    params: dict = field(repr=False)
    report: Report

    def encode(self, video_BTHWC, keys_B=None) -> jax.Array:
        """uint8 video (B, T, H, W, C), or floats in [-1, 1] -> scaled latents (B, T, h, w, C) float32.

        keys_B: with config.sample a key for each row, by which latents are drawn; else they are not looked at, and
        latents are means, as they are without keys.

        Raises:
          UserError: the video is of another shape or dtype.
        """
        return self._encode(self.params, video_BTHWC, keys_B)

    def decode(self, latents_BTHWC) -> jax.Array:
        """Scaled latents (B, T, h, w, C) -> uint8 video.

        Raises:
          UserError: the latents are of another shape.
        """
        return self._decode(self.params, latents_BTHWC)

    def export(self, params: dict | None = None) -> dict[str, np.ndarray]:
        """Parameters (its own) as diffusers' tensors, by the names of today."""
        return give(rows(self.config), self.params if params is None else params)

    @functools.cached_property
    def _encode(self) -> Callable:
        return jax.jit(self.config.encode)

    @functools.cached_property
    def _decode(self) -> Callable:
        return jax.jit(self.config.decode)

    @staticmethod
    def init(config: ImageVAECodec) -> dict:
        """Fresh parameters."""
        return nnx.to_pure_dict(nnx.state(ImageVAE(config.model, rngs=nnx.Rngs(0)), nnx.Param))


FREE: Mapping[str, str] = {}
KIND = Autoencoder


def rows(config: ImageVAECodec) -> list[Row]:
    """The table of names: PLACES and PARTS, spelt out for every parameter."""
    found = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(config.abstract_weights())[0]:
        ours = path_name(path)
        pattern, place = next(each for each in PLACES if re.match(each[0], ours))
        start = re.match(pattern, ours)
        parts = [PARTS.get(part, part) for part in ours[start.end() :].split('/')]
        kind = SAME if leaf.ndim == 1 else LINEAR if leaf.ndim == 2 else CONV
        found.append(row(ours, start.expand(place) + '.'.join(parts), kind))
    return found


def fixed(config: ImageVAECodec) -> dict[str, np.ndarray]:
    """Tensors that are computed: none."""
    return {}


def renamed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors, those of attention by the names that diffusers gives them now."""
    old = re.compile(r'(?<=\.attentions\.0\.)({})(?=\.)'.format('|'.join(OLD)))
    return {old.sub(lambda match: OLD[match[0]], name): array for name, array in arrays.items()}


def config_of(arrays: Mapping[str, np.ndarray], about: Mapping, heads: int | None = None) -> ImageVAECodec:
    """The codec that these tensors are of; `about` alone knows the groups of its norms (32 unless it says) and its
    scale. heads: one, always.

    Raises:
      UserError: they are of another network, or of one that ImageVAE is not, or `about` says what is no number.
    """
    if heads not in (None, 1):
        raise UserError(f'--heads={heads}: the attention of the image VAE has one; leave it out')
    demand_granted(GRANTED, about)
    levels = _count(arrays, r'encoder\.down_blocks\.(\d+)\.')
    first = [f'encoder.down_blocks.{i}.resnets.0.conv1.weight' for i in range(max(levels, 1))]
    ends = 'encoder.conv_in.weight', 'decoder.conv_in.weight', 'decoder.conv_out.weight'
    demand((*first, *ends), arrays, "it is not diffusers' AutoencoderKL")
    model = ImageVAEConfig(
        in_channels=wanted(arrays, 'encoder.conv_in.weight', 4).shape[1],
        out_channels=len(wanted(arrays, 'decoder.conv_out.weight', 4)),
        latent_channels=wanted(arrays, 'decoder.conv_in.weight', 4).shape[1],
        block_out_channels=tuple(len(wanted(arrays, name, 4)) for name in first),
        layers_per_block=_count(arrays, r'encoder\.down_blocks\.0\.resnets\.(\d+)\.'),
        norm_num_groups=number(about, 'norm_num_groups', 32),
        mid_block_add_attention='encoder.mid_block.attentions.0.group_norm.weight' in arrays,
        use_quant_conv='quant_conv.weight' in arrays,
        use_post_quant_conv='post_quant_conv.weight' in arrays,
        scaling_factor=number(about, 'scaling_factor', ImageVAEConfig.scaling_factor, float),
        temporal='decoder.time_conv_out.weight' in arrays,
    )
    return ImageVAECodec(model=model)


def _count(arrays: Mapping[str, np.ndarray], pattern: str) -> int:
    """How many different numbers the names have there."""
    found = (re.match(pattern, name) for name in arrays)
    return len({match[1] for match in found if match})
