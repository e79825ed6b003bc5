"""Latte for text-to-video: diffusers' LatteTransformer3DModel (adaLN-single, cross-attention to T5 in space blocks)."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.objective import Objective
from vdm_jax.errors import UserError
from vdm_jax.models.dit import VideoDiTConfig
from vdm_jax.pretrained.checkpoint_checks import read_number, require_tensor, require_values
from vdm_jax.pretrained.dit import dense_rows, mlp_ratio, rename
from vdm_jax.pretrained.network import Network
from vdm_jax.pretrained.table import SAME, Conversion, Row, by_head, patches, reshape, row, split_by_head

__all__ = [
    'GUIDED_CHANNELS',
    'MODEL',
    'NOT_STORED',
    'TextNetwork',
    'computed_tensors',
    'infer_config',
    'objective',
    'rename',
    'rows',
]

NOT_STORED: Mapping[str, str] = {
    'caption/none': 'a vector for "no text"; this network is shown the embedding of an empty prompt instead'
}
# Defaults of LatteTransformer3DModel, where config.json does not say.
SAMPLE_SIZE = 64
FRAMES = 16
# What our network is built for, by the keys of config.json.
EXPECTED_VALUES = {
    'norm_type': 'ada_norm_single',
    'activation_fn': 'gelu-approximate',
    'norm_eps': 1e-6,
    'norm_elementwise_affine': False,
    'attention_bias': True,
}


class TextNetwork(Network):
    """A Network that requires text and at least two frames.

    Diffusers leaves out the position in time of a single frame, which we do not.
    """

    def __call__(
        self,
        x_BTHWC: ArrayLike,
        t_B: ArrayLike,
        label: ArrayLike | None = None,
        text: ArrayLike | None = None,
        text_mask: ArrayLike | None = None,
    ) -> jax.Array:
        if text is None:
            raise UserError('latte_t2v: wants text (B, S, W); where there is none, the embedding of an empty prompt')
        if np.shape(x_BTHWC)[1:2] == (1,):
            raise UserError('latte_t2v: wants clips of 2 frames or more, found one frame')
        return super().__call__(x_BTHWC, t_B, label, text, text_mask)


MODEL = TextNetwork
GUIDED_CHANNELS: int | None = None


def infer_config(
    arrays: Mapping[str, np.ndarray], config_json: Mapping[str, Any], heads: int | None = None
) -> VideoDiTConfig:
    """Return the config of the network that these tensors belong to; `config_json` is diffusers' config.json.

    Raises:
      UserError: the tensors belong to another network, neither config.json nor `heads` has the number of heads, or
        they contradict each other, or a value of config.json is no number.
    """
    width, channels, patch, _ = require_tensor(arrays, 'pos_embed.proj.weight', 4).shape
    num_heads = read_number(config_json, 'num_attention_heads', heads)
    if num_heads is None:
        raise UserError('no config.json beside the checkpoint says how many heads there are: say --heads=N')
    if heads not in (None, num_heads):
        raise UserError(f'--heads={heads}: config.json has num_attention_heads={num_heads}; leave it out')
    require_values(EXPECTED_VALUES, config_json)

    block_numbers = {name.split('.')[1] for name in arrays if name.startswith('transformer_blocks.')}
    hidden_width = require_tensor(arrays, 'transformer_blocks.0.ff.net.0.proj.weight', 2).shape[0]
    outputs_per_pixel = require_tensor(arrays, 'proj_out.weight', 2).shape[0] // (patch * patch * channels)
    side = read_number(config_json, 'sample_size', SAMPLE_SIZE)
    return VideoDiTConfig(
        depth=2 * len(block_numbers),  # a block over space and one over time for each number
        width=width,
        heads=num_heads,
        mlp_ratio=mlp_ratio(hidden_width, width),
        patch=patch,
        layout='interleaved',
        # Diffusers' interpolation_scale: above 64 latents a side, positions are squeezed by side // 64.
        position_span=side // patch / max(side // 64, 1),
        modulation='adaln_single',
        learn_variance=outputs_per_pixel == 2,
        text_width=require_tensor(arrays, 'caption_projection.linear_1.weight', 2).shape[1],
        channels=channels,
        classes=0,
        grid=(read_number(config_json, 'video_length', FRAMES), side // patch, side // patch),
    )


def rows(config: VideoDiTConfig) -> list[Row]:
    """Return the table of names."""
    assert config.channels is not None
    time_embed = 'adaln_single.emb.timestep_embedder'
    layers = range(config.sizes.depth // 2)
    return [
        row('patch_embed/kernel', 'pos_embed.proj.weight', patches(config.patch, config.channels)),
        row('patch_embed/bias', 'pos_embed.proj.bias', SAME),
        *dense_rows('time_embed/up', f'{time_embed}.linear_1'),
        *dense_rows('time_embed/down', f'{time_embed}.linear_2'),
        *dense_rows('shared', 'adaln_single.linear'),
        *dense_rows('caption/up', 'caption_projection.linear_1'),
        *dense_rows('caption/down', 'caption_projection.linear_2'),
        row('head/modulation/table', 'scale_shift_table', reshape(2, config.sizes.width)),
        *dense_rows('head/out', 'proj_out'),
        *_block_rows('layers/space', 'transformer_blocks.{}', config, layers, has_text=True),
        *_block_rows('layers/time', 'temporal_transformer_blocks.{}', config, layers, has_text=False),
    ]


def computed_tensors(config: VideoDiTConfig) -> dict[str, np.ndarray]:
    """Return none: diffusers computes positions and does not store them."""
    return {}


def objective(config: VideoDiTConfig) -> Objective:
    """Return the training objective: 1,000 linear steps, eps, and the learned variance of IDDPM."""
    return Objective(DDPM(), 'eps', variance='learned_range' if config.learn_variance else 'fixed')


def _block_rows(ours: str, theirs: str, config: VideoDiTConfig, layers: Iterable[int], has_text: bool) -> list[Row]:
    heads = config.sizes.heads
    return [
        *_projection_rows(f'{ours}/attention/qkv', f'{theirs}.attn1', 'qkv', split_by_head(heads, 3), layers),
        *dense_rows(f'{ours}/attention/out', f'{theirs}.attn1.to_out.0', layers),
        *(_cross_attention_rows(ours, theirs, heads, layers) if has_text else []),
        *dense_rows(f'{ours}/mlp/up', f'{theirs}.ff.net.0.proj', layers),
        *dense_rows(f'{ours}/mlp/down', f'{theirs}.ff.net.2', layers),
        row(f'{ours}/modulation/table', f'{theirs}.scale_shift_table', reshape(6, config.sizes.width), layers),
    ]


def _cross_attention_rows(ours: str, theirs: str, heads: int, layers: Iterable[int]) -> list[Row]:
    return [
        *_projection_rows(f'{ours}/cross/q', f'{theirs}.attn2', 'q', by_head(heads, 1), layers),
        *_projection_rows(f'{ours}/cross/kv', f'{theirs}.attn2', 'kv', split_by_head(heads, 2), layers),
        *dense_rows(f'{ours}/cross/out', f'{theirs}.attn2.to_out.0', layers),
    ]


def _projection_rows(ours: str, theirs: str, parts: str, conversion: Conversion, layers: Iterable[int]) -> list[Row]:
    """Return the rows of the projections to `parts` (of q, k, v), which are one projection in ours."""

    def names(suffix: str) -> tuple[str, ...]:
        return tuple(f'{theirs}.to_{part}.{suffix}' for part in parts)

    return [
        row(f'{ours}/kernel', names('weight'), conversion, layers),
        row(f'{ours}/bias', names('bias'), conversion, layers),
    ]
