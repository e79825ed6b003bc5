"""Machines: TPU chips, the slices of them that exist, virtual CPU devices, and the peaks of what jax finds.

Figures are for one chip, from Google's pages (docs.cloud.google.com/tpu/docs/v4, v5e, v5p, v6e; November 2026). Two
exceptions: `memory` is the limit at which the compiler of libtpu 0.0.42 refuses a program, and v4's `links` and
`network` have no source.
"""

import importlib.util
import itertools
import math
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vdm_jax.errors import UserError

if TYPE_CHECKING:
    import jax

GIB = 2**30
FLAT = ('1x1', '2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
MOST = 512  # chips


def _cubes() -> tuple[str, ...]:
    """List 2x2x1 to 2x4x4, and all of 4A x 4B x 4C with A <= B <= C."""
    sides = itertools.combinations_with_replacement(range(4, MOST, 4), 3)
    cubes = sorted((shape for shape in sides if math.prod(shape) <= MOST), key=math.prod)
    return '2x2x1', '2x2x2', '2x2x4', '2x4x4', *('x'.join(map(str, shape)) for shape in cubes)


@dataclass(frozen=True)
class Chip:
    """A kind of chip.

    Attributes:
      cloud_name: The cloud's name of the kind.
      named_cores: What the cloud's names of slices count a chip as (v5p:4x4x4 is v5p-128).
      memory: Bytes of HBM.
      flops: bfloat16 FLOP/s at most.
      bandwidth: Bytes/s of HBM.
      links: Bytes/s that leave it over all of its links to other chips (ICI).
      network: Bytes/s between slices.
      shapes: Slices that there are, in chips.
    """

    cloud_name: str
    named_cores: int
    memory: int
    flops: float
    bandwidth: float
    links: float
    network: float
    shapes: tuple[str, ...]


CHIPS = {
    'v4': Chip('v4', 2, int(30.75 * GIB), 275e12, 1200e9, 300e9, 6.25e9, _cubes()),
    'v5e': Chip('v5litepod', 1, int(15.75 * GIB), 197e12, 819e9, 200e9, 3.125e9, FLAT),
    'v5p': Chip('v5p', 2, int(95.74 * GIB), 459e12, 2765e9, 600e9, 6.25e9, _cubes()),
    'v6e': Chip('v6e', 1, int(31.25 * GIB), 918e12, 1640e9, 448e9, 12.5e9, FLAT),
}


# bfloat16 FLOP/s of one device, dense, by how jax calls it (the beginning of its device_kind); makers' data sheets.
PEAKS = {
    'TPU v4': CHIPS['v4'].flops,
    'TPU v5 lite': CHIPS['v5e'].flops,
    'TPU v5': CHIPS['v5p'].flops,
    'TPU v6 lite': CHIPS['v6e'].flops,
    'NVIDIA A100': 312e12,
    'NVIDIA H100 PCIe': 756e12,
    'NVIDIA H100': 989e12,
    'NVIDIA H200': 989e12,
    'NVIDIA B200': 2250e12,
}


def peak_flops(device_kind: str) -> float | None:
    """Return the peak bfloat16 FLOP/s of a device, None where it is not known (CPUs)."""
    return next((peak for name, peak in PEAKS.items() if device_kind.startswith(name)), None)


@dataclass(frozen=True)
class Topology:
    """A machine.

    Attributes:
      name: Such as 'v5p:4x4x4' or 'cpu:8'.
      chip: Its kind of chip; None for virtual CPU devices, whose peaks are not known.
      chips: Of a slice.
      slices: Number of slices.
    """

    name: str
    chip: Chip | None
    chips: int
    slices: int = 1

    @property
    def memory(self) -> int:
        """Bytes for each chip; of virtual CPU devices an equal share of this machine's."""
        if self.chip:
            return self.chip.memory
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // (self.chips * self.slices)

    @property
    def cloud_name(self) -> str:
        """The cloud's name of one slice."""
        return f'{self.chip.cloud_name}-{self.chips * self.chip.named_cores}' if self.chip else self.name

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the process that compiles for it; they count only where jax has not been imported yet."""
        # jax and libtpu read them when they start, hence a process of its own for each machine.
        if self.chip is None:
            # What the user set stays, but for the one flag that must be ours.
            flags = re.sub(r'--xla_force_host_platform_device_count=\S*', '', os.environ.get('XLA_FLAGS', ''))
            count = self.chips * self.slices
            return {'XLA_FLAGS': f'{flags} --xla_force_host_platform_device_count={count}', 'JAX_PLATFORMS': 'cpu'}
        return {
            'JAX_PLATFORMS': 'cpu',
            'TPU_SKIP_MDS_QUERY': '1',  # there is no machine to ask what it is
            'TPU_ACCELERATOR_TYPE': self.cloud_name,
            'TPU_WORKER_HOSTNAMES': 'localhost',
            'TPU_LOG_DIR': 'disabled',
            'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
        }

    def devices(self) -> 'list[jax.Device]':
        """Return the devices, one a chip, which need not be there; in a process started with `environment`."""
        import jax
        from jax.experimental.topologies import get_topology_desc

        if self.chip is None:
            return jax.devices()[: self.chips * self.slices]
        options: dict[str, Any] = {'num_slices': self.slices} if self.slices > 1 else {}
        if self.name.startswith('v4'):
            options['chip_config_name'] = 'megacore'  # one device a chip, as on the cloud's machines
        # By default a host has four chips; a smaller slice is described chip by chip.
        if self.chips < 4:
            options['chips_per_host_bounds'] = [1, 1, 1]
        return list(get_topology_desc(platform='tpu', topology_name=self.name, **options).devices)


def read_topology(name: str, slices: int = 1) -> Topology:
    """Return the machine called 'v5p:4x4x4' or 'cpu:8'.

    Raises:
      UserError: there is no such machine, or the TPU compiler is not installed.
    """
    option = f'--topology={name}'
    kind, _, shape = name.partition(':')
    if slices < 1:
        raise UserError(f'--slices={slices}: want 1 or more')
    if kind == 'cpu':
        if not re.fullmatch(r'[1-9]\d{0,2}', shape) or int(shape) > MOST:
            raise UserError(f'{option}: want cpu:1 to cpu:{MOST}, so many virtual devices')
        if int(shape) % slices:
            raise UserError(f'--slices={slices}: it does not divide the {shape} devices of {name}')
        return Topology(name, None, int(shape) // slices, slices)
    if kind not in CHIPS:
        raise UserError(f'{option}: want one of {", ".join(CHIPS)} with a shape, such as v5p:4x4x4, or cpu:8')
    if shape not in CHIPS[kind].shapes:
        raise UserError(f'{option}: there is no such slice; {_nearest(kind, shape)}')
    if importlib.util.find_spec('libtpu') is None:
        raise UserError(f"{option}: needs the TPU compiler, pip install 'vdm_jax[tpu]'; cpu:8 works without")
    return Topology(name, CHIPS[kind], _chips(shape), slices)


def _nearest(kind: str, shape: str) -> str:
    """Name the slices with about as many chips."""
    shapes = CHIPS[kind].shapes
    if not re.fullmatch(r'[1-9]\d*(x[1-9]\d*)*', shape):
        return f'those of {kind}: {", ".join(shapes)}'

    def distance(other: str) -> float:
        # Half the chips are as near as twice the chips.
        return abs(math.log(_chips(other) / _chips(shape)))

    near = sorted(sorted(shapes, key=distance)[:3], key=_chips)
    return 'the nearest are ' + ', '.join(f'{kind}:{other} ({_chips(other)} chips)' for other in near)


def _chips(shape: str) -> int:
    return math.prod(map(int, shape.split('x')))
