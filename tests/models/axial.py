"""Attention along rows, along columns and over time, three in one block: a layout that the package does not have."""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np

from vdm_jax.config.ranges import OneOf
from vdm_jax.models.block_spec import BlockSpec
from vdm_jax.models.dit import VideoDiTConfig
from vdm_jax.models.layouts import Layout
from vdm_jax.nn.attention_patterns import AttentionPattern, Time
from vdm_jax.parallel.mesh import BATCH


@dataclasses.dataclass(frozen=True)
class Rows(AttentionPattern):
    """Each row of a frame by itself."""

    needs_time_positions: ClassVar[bool] = False
    kind: ClassVar[str] = 'space'
    axes: ClassVar = (BATCH, 'sequence', None, 'tensor')

    def split(self, x, grid):
        return self._by_row(x, grid).transpose(0, 1, 2, 4, 3, 5)

    def join(self, x, grid):
        x = x.transpose(0, 1, 2, 4, 3, 5)
        return x.reshape(*x.shape[:2], grid.tokens_per_frame, *x.shape[-2:])

    def angles(self, grid, rotary):
        return rotary.angles({2: np.arange(grid.columns)})

    def length(self, grid):
        return grid.columns

    def _by_row(self, x, grid):
        return x.reshape(*x.shape[:2], grid.rows, grid.columns, *x.shape[-2:])


@dataclasses.dataclass(frozen=True)
class Columns(Rows):
    """Each column of a frame by itself."""

    def split(self, x, grid):
        return self._by_row(x, grid).transpose(0, 1, 3, 4, 2, 5)

    def join(self, x, grid):
        x = x.transpose(0, 1, 4, 2, 3, 5)
        return x.reshape(*x.shape[:2], grid.tokens_per_frame, *x.shape[-2:])

    def angles(self, grid, rotary):
        return rotary.angles({1: np.arange(grid.rows)})

    def length(self, grid):
        return grid.rows


class Axial(Layout):
    """Rows, columns and time in one block, and no frame sees a later one."""

    @classmethod
    def block_specs(cls, config):
        return (BlockSpec.in_turn(Rows(), Columns(), Time(causal=True)),)


class AxialBlocks(Layout):
    """The same in a block each."""

    @property
    def stack_names(self):
        return 'rows', 'columns', 'time'

    @classmethod
    def block_specs(cls, config):
        return BlockSpec.in_turn(Rows()), BlockSpec.in_turn(Columns()), BlockSpec.in_turn(Time())


class Uneven(Layout):
    """A block over rows, then one over columns and time."""

    @property
    def stack_names(self):
        return 'rows', 'others'

    @classmethod
    def block_specs(cls, config):
        return BlockSpec.in_turn(Rows()), BlockSpec.in_turn(Columns(), Time())


class RowsAlone(Layout):
    """Blocks along rows, which no frame's position in time reaches."""

    @classmethod
    def block_specs(cls, config):
        return (BlockSpec.in_turn(Rows()),)


AXIAL_LAYOUTS = {'axial': Axial, 'axial_blocks': AxialBlocks, 'uneven': Uneven, 'rows_alone': RowsAlone}


@dataclasses.dataclass(frozen=True)
class AxialConfig(VideoDiTConfig):
    """VideoDiT in these layouts, which a test enters in LAYOUTS."""

    layout: Annotated[str, OneOf(AXIAL_LAYOUTS)] = 'axial'
