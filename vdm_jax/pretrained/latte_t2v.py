"""Latte for text-to-video: diffusers' LatteTransformer3DModel (adaLN-single, cross-attention to T5 in space blocks)."""

from collections.abc import Mapping

import numpy as np

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.objective import Objective
from vdm_jax.errors import UserError
from vdm_jax.models.dit import VideoDiTConfig
from vdm_jax.pretrained.clues import demand_granted, number, wanted
from vdm_jax.pretrained.dit import dense, ratio
from vdm_jax.pretrained.network import Network
from vdm_jax.pretrained.table import SAME, Row, by_head, patches, reshaped, row, split_by_head

FREE = {'caption/none': 'a vector for "no text"; this network is shown the embedding of an empty prompt instead'}
SAMPLE_SIZE, FRAMES = 64, 16  # of LatteTransformer3DModel, where no config.json says otherwise
# What our network has for granted, as config.json calls it.
GRANTED = {
    'norm_type': 'ada_norm_single', 'activation_fn': 'gelu-approximate', 'norm_eps': 1e-6,
    'norm_elementwise_affine': False, 'attention_bias': True,
}  # fmt: skip


class TextNetwork(Network):
    """A Network that is always told a text, and of a clip: diffusers leaves out the position in time of a single
    frame.
    """

    def __call__(self, x_BTHWC, t_B, label=None, text=None, text_mask=None):
        if text is None:
            raise UserError('latte_t2v: wants text (B, S, W); where there is none, the embedding of an empty prompt')
        if np.shape(x_BTHWC)[1:2] == (1,):
            raise UserError('latte_t2v: wants clips of 2 frames or more, found one frame')
        return super().__call__(x_BTHWC, t_B, label, text, text_mask)


KIND = TextNetwork
GUIDED = None


def config_of(arrays: Mapping[str, np.ndarray], about: Mapping, heads: int | None = None) -> VideoDiTConfig:
    """The network that these tensors are of; `about` is diffusers' config.json.

    Raises:
      UserError: the tensors are of another network, neither config.json nor `heads` says how many heads there are, or
        they contradict each other, or config.json says what is no number.
    """
    width, channels, patch, _ = wanted(arrays, 'pos_embed.proj.weight', 4).shape
    stated = number(about, 'num_attention_heads', heads)
    if stated is None:
        raise UserError('no config.json beside the checkpoint says how many heads there are: say --heads=N')
    if heads not in (None, stated):
        raise UserError(f'--heads={heads}: config.json has num_attention_heads={stated}; leave it out')
    demand_granted(GRANTED, about)
    pairs = len({name.split('.')[1] for name in arrays if name.startswith('transformer_blocks.')})
    hidden = wanted(arrays, 'transformer_blocks.0.ff.net.0.proj.weight', 2).shape[0]
    out = wanted(arrays, 'proj_out.weight', 2).shape[0] // (patch * patch * channels)
    side = number(about, 'sample_size', SAMPLE_SIZE)
    return VideoDiTConfig(
        depth=2 * pairs,
        width=width,
        heads=stated,
        mlp_ratio=ratio(hidden, width),
        patch=patch,
        layout='interleaved',
        position_span=side // patch / max(side // 64, 1),
        modulation='adaln_single',
        learn_variance=out == 2,
        text_width=wanted(arrays, 'caption_projection.linear_1.weight', 2).shape[1],
        channels=channels,
        classes=0,
        grid=(number(about, 'video_length', FRAMES), side // patch, side // patch),
    )


def rows(config: VideoDiTConfig) -> list[Row]:
    """The table of names."""
    time, blocks = 'adaln_single.emb.timestep_embedder', range(config.sizes.depth // 2)
    return [
        row('patch_embed/kernel', 'pos_embed.proj.weight', patches(config.patch, config.channels)),
        row('patch_embed/bias', 'pos_embed.proj.bias', SAME),
        *dense('time_embed/up', f'{time}.linear_1'),
        *dense('time_embed/down', f'{time}.linear_2'),
        *dense('shared', 'adaln_single.linear'),
        *dense('caption/up', 'caption_projection.linear_1'),
        *dense('caption/down', 'caption_projection.linear_2'),
        row('head/modulation/table', 'scale_shift_table', reshaped(2, config.sizes.width)),
        *dense('head/out', 'proj_out'),
        *_blocks('layers/space', 'transformer_blocks.{}', config, blocks, text=True),
        *_blocks('layers/time', 'temporal_transformer_blocks.{}', config, blocks, text=False),
    ]


def fixed(config: VideoDiTConfig) -> dict[str, np.ndarray]:
    """None: diffusers computes positions and does not store them."""
    return {}


def objective(config: VideoDiTConfig) -> Objective:
    """What it was trained on: 1,000 linear steps, eps, and the learned variance of IDDPM."""
    variance = 'learned_range' if config.learn_variance else 'fixed'
    return Objective(DDPM(), 'eps', variance=variance)


def _blocks(ours: str, theirs: str, config: VideoDiTConfig, numbers, text: bool) -> list[Row]:
    heads, width = config.sizes.heads, config.sizes.width
    return [
        *_projected(f'{ours}/attention/qkv', f'{theirs}.attn1', 'qkv', split_by_head(heads, 3), numbers),
        *dense(f'{ours}/attention/out', f'{theirs}.attn1.to_out.0', numbers),
        *(_cross(ours, theirs, heads, numbers) if text else []),
        *dense(f'{ours}/mlp/up', f'{theirs}.ff.net.0.proj', numbers),
        *dense(f'{ours}/mlp/down', f'{theirs}.ff.net.2', numbers),
        row(f'{ours}/modulation/table', f'{theirs}.scale_shift_table', reshaped(6, width), numbers),
    ]


def _cross(ours: str, theirs: str, heads: int, numbers) -> list[Row]:
    return [
        *_projected(f'{ours}/cross/q', f'{theirs}.attn2', 'q', by_head(heads, 1), numbers),
        *_projected(f'{ours}/cross/kv', f'{theirs}.attn2', 'kv', split_by_head(heads, 2), numbers),
        *dense(f'{ours}/cross/out', f'{theirs}.attn2.to_out.0', numbers),
    ]


def _projected(ours: str, theirs: str, parts: str, kind, numbers) -> list[Row]:
    """The rows of projections to q, k or v that are one in ours."""

    def names(end):
        return tuple(f'{theirs}.to_{part}.{end}' for part in parts)

    return [
        row(f'{ours}/kernel', names('weight'), kind, numbers),
        row(f'{ours}/bias', names('bias'), kind, numbers),
    ]
