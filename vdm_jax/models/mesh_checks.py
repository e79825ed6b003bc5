"""Whether a mesh can split a VideoDiT, and whether the attention backends that are named can compute on it."""

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import jax

from vdm_jax.errors import UserError
from vdm_jax.nn.attention_backends import AttentionConfig, unsupported_reason
from vdm_jax.nn.attention_patterns import AttentionPattern, Grid
from vdm_jax.parallel.rules import nearest_mesh, sizes_split_on

if TYPE_CHECKING:
    from vdm_jax.models.dit import VideoDiTConfig


class Divisible(NamedTuple):
    """A size that a mesh axis has to divide.

    Attributes:
      axis: Of the mesh.
      size: What it has to divide.
      name: What there are so many of.
      is_ulysses: Whether it has to because the sequence axis splits heads while they attend.
    """

    axis: str
    size: int
    name: str
    is_ulysses: bool = False


def check_split(config: 'VideoDiTConfig', mesh: jax.sharding.Mesh, grid: Grid) -> None:
    """Check that the mesh's axes divide frames, patches of a frame and heads of clips of so many patches.

    Raises:
      UserError: one does not; with the nearest mesh that works.
    """
    sizes = sizes_to_divide(config, mesh, grid)
    for each in sizes:
        devices = mesh.shape[each.axis]
        if each.size % devices == 0:
            continue

        # The mesh that is named has to pass every check on this axis, and divide the weights too: not only what failed
        # here.
        known = [other.size for other in sizes if other.axis == each.axis]
        known += sizes_split_on(each.axis, config.abstract_params(), config.sharding_rules)
        heads = config.sizes.heads // config.max_head_groups
        if each.axis == 'tensor' and splits_heads(config, config.attention) and heads % mesh.shape['sequence'] == 0:
            known.append(heads // mesh.shape['sequence'])  # so that the sequence axis still divides each part of them
        hint = nearest_mesh(mesh, each.axis, known)

        # A ring splits tokens and no heads: it helps where it was the number of heads that did not divide.
        ring = dataclasses.replace(config.attention, sequence='ring')
        if each.is_ulysses and not splits_heads(config, ring):
            hint += '; or config.model.attention.sequence=ring'
        raise UserError(f'config.mesh.{each.axis}={devices} does not divide the {each.size} {each.name}; {hint}')


def sizes_to_divide(config: 'VideoDiTConfig', mesh: jax.sharding.Mesh, grid: Grid) -> list[Divisible]:
    """Return what the mesh's axes have to divide, in the order in which it is checked."""
    heads = config.sizes.heads // config.max_head_groups
    sizes = [Divisible('tensor', heads, 'heads'), Divisible('sequence', grid.frames, 'frames of patches')]
    if grid.images:
        frames = grid.frames + grid.images
        sizes.append(Divisible('sequence', frames, 'frames of patches with the images behind'))
    if any(splits_positions(pattern) for pattern in patterns_of(config)):
        sizes.append(Divisible('sequence', grid.tokens_per_frame, 'patches of a frame'))
    if splits_heads(config, config.attention):
        # Ulysses splits the heads that tensor parallelism has left on each device. With fewer heads than devices on the
        # tensor axis that would be 0, which every axis divides; that mistake is reported first.
        part = heads // mesh.shape['tensor'] or 1
        name = 'heads on each part of config.mesh.tensor'
        sizes.append(Divisible('sequence', part, name, is_ulysses=True))
    return sizes


def patterns_of(config: 'VideoDiTConfig') -> tuple[AttentionPattern, ...]:
    """Return the patterns of all blocks, each once."""
    return tuple(dict.fromkeys(pattern for spec in config.block_specs for pattern in spec.patterns))


def splits_positions(pattern: AttentionPattern) -> bool:
    """Return whether the sequence axis splits a frame's tokens between its attentions, and not frames."""
    *_, axis = pattern.token_axes
    return axis == 'sequence'


def splits_heads(config: 'VideoDiTConfig', attention: AttentionConfig) -> bool:
    """Return whether the sequence axis splits heads while they attend by some pattern (Ulysses)."""
    return any(('sequence', 'tensor') in pattern.axes_for(attention) for pattern in patterns_of(config))


def check_backends(config: 'VideoDiTConfig', mesh: jax.sharding.Mesh, grid: Grid) -> None:
    """Check that the attention backends that are asked for by name can compute what the network asks of them.

    Raises:
      UserError: one cannot, with the reason.
    """
    head_dim = config.sizes.width // config.sizes.heads
    for pattern in patterns_of(config):
        backend = config.attention.backend_for(pattern.kind)
        if backend == 'auto':
            continue
        tokens = jax.ShapeDtypeStruct((config.sizes.heads, pattern.length(grid), head_dim), config.dtype)
        # What computes is asked of the mesh in context (parallel/mesh.py), which `plan` sets to machines that are not
        # there.
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            reason = unsupported_reason(backend, tokens, tokens, pattern.mask(grid))
        if reason:
            raise UserError(f'config.model.attention.{pattern.kind}={backend}: {backend} {reason}; choose auto or xla')
