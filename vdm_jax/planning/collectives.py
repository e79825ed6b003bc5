"""The collectives of a compiled module: of which kind, how often, how many bytes, and between which devices."""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vdm_jax.planning.hlo import Computation, Instruction, Module

KINDS = ('all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'ragged-all-to-all', 'collective-permute')
TRANSFER_KINDS = {'ONE_TO_ONE': 'collective-permute'}  # of TPU's transfers between slices
REDUCTIONS = ('all-reduce', 'reduce-scatter')

Groups = list[list[int]]


@dataclass(frozen=True)
class Collective:
    """One collective, with all of its repetitions.

    Attributes:
      name: Of its instruction.
      kind: One of KINDS, or another transfer between slices.
      bytes: Of its result on one device, of one run.
      arrays: How many it moves at once, as the compiler joins small ones.
      times: How often it runs.
      groups: Of devices, by their position in the mesh; pairs (from, to) of a collective-permute.
      overlapped: Whether the compiler lets the device compute meanwhile.
      between_slices: Whether it goes over the network between slices, where the compiler marks it so.
    """

    name: str
    kind: str
    bytes: int
    arrays: int
    times: float
    groups: tuple[tuple[int, ...], ...]
    overlapped: bool
    between_slices: bool = False

    @property
    def bytes_sent(self) -> float:
        """Bytes that leave a device in one run, in the algorithm that sends least (a ring)."""
        if self.kind == 'collective-permute':
            return self.bytes
        size = max(map(len, self.groups), default=2)
        # By the bytes of the result: an all-reduce sends each part on twice, once to be summed and once to be shared;
        # the result of a reduce-scatter is one part of n, that of the others all of them.
        share = {'all-reduce': 2 * (size - 1) / size, 'reduce-scatter': size - 1}
        return self.bytes * share.get(self.kind, (size - 1) / size)

    def crosses(self, slices: int, devices: int) -> bool:
        """Return whether it joins devices of several slices, where the mesh's devices lie slice after slice."""
        if self.between_slices:
            return True
        # The mesh's first axis is `slices`, so that the devices of a slice have consecutive numbers.
        slice_size = devices // slices
        return any(len({device // slice_size for device in group}) > 1 for group in self.groups)


def find_collectives(module: Module, devices: int) -> list[Collective]:
    """Return every collective that moves something, for a module compiled for so many devices.

    A pair of -start and -done is one collective, as is one that the TPU compiler spreads over several fusions. What
    crosses slices is on TPU a send to the other slices, which says what it is a part of.
    """
    collectives: list[Collective | None] = []
    for computation, instruction, times in module.runs():
        if instruction.op == 'fusion':
            collectives += _in_fusion(module.called_by(instruction), instruction, times, devices)
        else:
            collectives.append(_collective(computation, instruction, times, devices))
    return [each for each in collectives if each is not None and each.times]


def summarise(collectives: Sequence[Collective]) -> dict[str, dict[str, int]]:
    """Return {kind: {'count', 'bytes'}} of one device in one run: arrays moved, and bytes of all their results.

    Arrays, not instructions: how many the compiler joins in one instruction depends on how it meets them. An all-to-all
    counts once, though some compilers make a tuple of the pieces.
    """
    kinds: dict[str, dict[str, int]] = {}
    for collective in collectives:
        entry = kinds.setdefault(collective.kind, {'count': 0, 'bytes': 0})
        entry['count'] += round(collective.times * collective.arrays)
        entry['bytes'] += round(collective.times * collective.bytes)
    return dict(sorted(kinds.items()))


def _in_fusion(inner: Computation, fusion: Instruction, times: float, devices: int) -> list[Collective | None]:
    """Return the collectives that begin in a fusion."""
    targets = {instruction.attribute('custom_call_target') for instruction in inner.instructions.values()}
    is_start = 'AsyncCollectiveStart' in targets
    is_scatter = 'AllReduceScatterFusion' in fusion.rest or inner.name.startswith('all-reduce-scatter')
    collectives: list[Collective | None] = []
    for instruction in inner.instructions.values():
        # Of one that is spread over several fusions, those behind the first only go on with it.
        is_continued = not is_start and 'async_collective_fusion_config' in instruction.rest
        if instruction.op not in KINDS or is_continued:
            continue
        collective = _collective(inner, instruction, times, devices, overlapped=is_start)
        collectives.append(_as_reduce_scatter(collective, fusion) if collective and is_scatter else collective)
    return collectives


def _as_reduce_scatter(collective: Collective, fusion: Instruction) -> Collective:
    """Return the reduce-scatter that the TPU compiler writes as an all-reduce and a slice of it, in one fusion."""
    size = sum(array.bytes for array in fusion.result)
    return replace(collective, kind='reduce-scatter', bytes=size, arrays=len(fusion.result))


def _collective(
    computation: Computation, instruction: Instruction, times: float, devices: int, overlapped: bool = False
) -> Collective | None:
    """Return the collective that an instruction is, None where it is none or moves nothing."""
    if instruction.op == 'send' and (transfer := instruction.attribute('_xla_megascale_transfer_type')):
        return Collective(
            name=instruction.attribute('_xla_host_transfer_rendezvous') or '',
            kind=TRANSFER_KINDS.get(transfer, transfer.lower().replace('_', '-')),
            bytes=instruction.result[0].bytes,
            arrays=1,
            times=times,
            groups=(),
            overlapped=True,
            between_slices=True,
        )

    kind = instruction.op.removesuffix('-start')
    if kind not in KINDS:
        return None
    # Without groups all devices are one group.
    groups = parse_groups(instruction.rest) or [list(range(devices))]
    if kind == 'collective-permute':
        # A device that sends to itself moves nothing.
        groups = [pair for pair in groups if pair[0] != pair[1]]
    if max(map(len, groups), default=0) < 2:
        return None

    result = instruction.result
    if instruction.op in ('all-gather-start', 'collective-permute-start'):
        # These return (operands, results, context); the others their results alone.
        count = len(instruction.operands)
        result = result[count : 2 * count]
    # In a computation or on a thread of its own a collective runs beside the program.
    in_thread = computation.name.startswith('async') or 'async_execution_thread' in instruction.rest
    return Collective(
        name=instruction.name,
        kind=kind,
        bytes=sum(array.bytes for array in result),
        arrays=1 if 'all-to-all' in kind else len(result),
        times=times,
        groups=tuple(map(tuple, groups)),
        overlapped=overlapped or in_thread or instruction.op.endswith('-start'),
    )


def parse_groups(text: str) -> Groups | None:
    """Return the groups of replica_groups=… or source_target_pairs=… in an instruction's text, None without any.

    Three forms: {{0,1},{2,3}}; [2,4]<=[4,2]T(1,0), the numbers reshaped and transposed; mesh['a'=2,'b'=4] {'b'}, the
    groups along the named axes, with the devices of the mesh, device_ids=([4,2]T(1,0)), behind it where they are not in
    order.
    """
    match = re.search(
        r'(?:replica_groups|source_target_pairs)=(\{\{.*?\}\}|\{\}|\[[^ ]*|mesh\[.*?\][^{]*\{[^}]*\})', text
    )
    if not match:
        return None
    groups = match[1]
    if groups.startswith('{'):
        return [_numbers(group) for group in re.findall(r'\{([\d, ]+)\}', groups)]
    if groups.startswith('['):
        return _parse_iota(groups)
    return _parse_mesh(groups)


def _parse_iota(text: str) -> Groups:
    """Return the groups of [groups, size]<=[sides]T(order)."""
    match = re.match(r'\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?', text)
    assert match is not None, text
    size = _numbers(match[1])[-1]
    sides = _numbers(match[2])
    order = _numbers(match[3]) if match[3] else list(range(len(sides)))
    return _split(_transpose(list(range(math.prod(sides))), sides, order), size)


def _parse_mesh(text: str) -> Groups:
    """Return the groups along mesh axes, or a part 'axis':(before)size of one; the mesh may reorder the devices."""
    sizes = {name: int(size) for name, size in re.findall(r"'([\w.]+)'=(\d+)", text.partition(']')[0])}
    axes = re.findall(r"'([\w.]+)'(?::\((\d+)\)(\d+))?", text[text.rindex('{') :])

    sides: list[int] = []
    chosen: list[int] = []
    for name, size in sizes.items():
        parts = [(int(before), int(part)) for axis, before, part in axes if axis == name and before]
        if not parts:
            chosen += [len(sides)] if any(axis == name for axis, *_ in axes) else []
            sides.append(size)
            continue
        # A part splits its axis in three: what is before it, itself, and what is behind.
        ((before, part),) = parts
        chosen.append(len(sides) + 1)
        sides += [before, part, size // before // part]

    others = [i for i in range(len(sides)) if i not in chosen]
    devices = _mesh_devices(text, math.prod(sides))
    return _split(_transpose(devices, sides, [*others, *chosen]), math.prod(sides[i] for i in chosen))


def _mesh_devices(text: str, count: int) -> list[int]:
    """Return the devices of a mesh in its order: device_ids=(a list, or an iota), else 0, 1 and so on."""
    match = re.search(r'device_ids=\((\[[\d,]+\](?:T\([\d,]+\))?|[\d,]+)\)', text)
    if not match:
        return list(range(count))
    if not match[1].startswith('['):
        return _numbers(match[1])
    (devices,) = _parse_iota(f'[1,{count}]<={match[1]}')
    return devices


def _split(values: list[int], size: int) -> Groups:
    return [values[i : i + size] for i in range(0, len(values), size)]


def _transpose(values: list[int], sides: list[int], order: list[int]) -> list[int]:
    """Return the values of an array of these sides, flat, with its axes in another order."""
    strides = [math.prod(sides[i + 1 :]) for i in range(len(sides))]
    offsets = itertools.product(*(range(0, sides[i] * strides[i], strides[i]) for i in order))
    return [values[sum(offset)] for offset in offsets]


def _numbers(text: str) -> list[int]:
    return [int(digits) for digits in re.findall(r'\d+', text)]
