"""The collectives of a compiled module: of which kind, how often, how many bytes, and between which devices."""

import itertools
import math
import re
from dataclasses import dataclass, replace

from vdm_jax.planning.hlo import Computation, Instruction, Module

KINDS = ('all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'ragged-all-to-all', 'collective-permute')
KIND_OF = {'ONE_TO_ONE': 'collective-permute'}  # of TPU's transfers between slices
REDUCTIONS = ('all-reduce', 'reduce-scatter')


@dataclass(frozen=True)
class Collective:
    """One collective, with all of its repetitions.

    bytes: of its result on one device, of one run. arrays: how many it moves at once, as the compiler joins small ones.
    groups: of devices, by their place in the mesh; pairs (from, to) of a collective-permute. overlapped: whether the
    compiler lets the device compute meanwhile. between_slices: over the network between slices, where it says so.
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
    def sent(self) -> float:
        """Bytes that leave a device in one run, in the algorithm that sends least (a ring)."""
        if self.kind == 'collective-permute':
            return self.bytes
        size = max(map(len, self.groups), default=2)
        share = {'all-reduce': 2 * (size - 1) / size, 'reduce-scatter': size - 1}
        return self.bytes * share.get(self.kind, (size - 1) / size)

    def crosses(self, slices: int, devices: int) -> bool:
        """Whether it joins devices of several slices, where the mesh's devices lie slice after slice."""
        each = devices // slices
        return self.between_slices or any(len({device // each for device in group}) > 1 for group in self.groups)


def collectives_of(module: Module, devices: int) -> list[Collective]:
    """Every collective that moves something, for a module compiled for so many devices.

    A pair of -start and -done is one collective, as is one that the TPU compiler spreads over several fusions. What
    crosses slices is on TPU a send to the other slices, which says what it is a part of.
    """
    found = []
    for computation, made, times in module.runs():
        if made.op == 'fusion':
            inner = module.computations[made.called[0]]
            begun = [_collective(inner, one, times, devices, started) for one, started in _begun(inner)]
            scattered = 'AllReduceScatterFusion' in made.rest or inner.name.startswith('all-reduce-scatter')
            found += [_scattered(one, made) if scattered and one else one for one in begun]
        else:
            found.append(_collective(computation, made, times, devices))
    return [one for one in found if one is not None and one.times]


def summary(collectives: list[Collective]) -> dict[str, dict]:
    """{kind: {'count', 'bytes'}} of one device in one run: arrays moved, and bytes of all their results.

    Arrays, not instructions: how many the compiler joins in one instruction depends on how it meets them. An all-to-all
    counts once, though some compilers make a tuple of the pieces.
    """
    kinds = {}
    for one in collectives:
        entry = kinds.setdefault(one.kind, {'count': 0, 'bytes': 0})
        entry['count'] += round(one.times * one.arrays)
        entry['bytes'] += round(one.times * one.bytes)
    return dict(sorted(kinds.items()))


def _begun(inner: Computation) -> list[tuple[Instruction, bool]]:
    """The collectives that begin in a fusion, and whether they go on beside what follows."""
    calls = {one.attribute('custom_call_target') for one in inner.instructions.values()}
    started = 'AsyncCollectiveStart' in calls
    begun = [one for one in inner.instructions.values() if one.op in KINDS]
    return [(one, started) for one in begun if started or 'async_collective_fusion_config' not in one.rest]


def _scattered(one: Collective, fusion: Instruction) -> Collective:
    """What the TPU compiler writes as an all-reduce and a slice of it, in one fusion, and runs as a reduce-scatter."""
    size = sum(array.bytes for array in fusion.result)
    return replace(one, kind='reduce-scatter', bytes=size, arrays=len(fusion.result))


def _collective(inside: Computation, made: Instruction, times: float, devices: int, overlapped: bool = False):
    if made.op == 'send' and (kind := made.attribute('_xla_megascale_transfer_type')):
        name, size = made.attribute('_xla_host_transfer_rendezvous'), made.result[0].bytes
        return Collective(name, KIND_OF.get(kind, kind.lower().replace('_', '-')), size, 1, times, (), True, True)
    kind = made.op.removesuffix('-start')
    if kind not in KINDS:
        return None
    groups = groups_of(made.rest) or [list(range(devices))]
    if kind == 'collective-permute':
        groups = [pair for pair in groups if pair[0] != pair[1]]
    if max(map(len, groups), default=0) < 2:
        return None
    result = made.result
    if made.op in ('all-gather-start', 'collective-permute-start'):  # (operands, results, context)
        count = len(made.operands)
        result = result[count : 2 * count]
    within = inside.name.startswith('async') or 'async_execution_thread' in made.rest
    arrays = 1 if 'all-to-all' in kind else len(result)
    size = sum(array.bytes for array in result)
    started = overlapped or within or made.op.endswith('-start')
    return Collective(made.name, kind, size, arrays, times, tuple(map(tuple, groups)), started)


def groups_of(text: str) -> list[list[int]] | None:
    """The groups of replica_groups=… or source_target_pairs=… in an instruction's text, None where there are none.

    Three forms: {{0,1},{2,3}}; [2,4]<=[4,2]T(1,0), the numbers reshaped and transposed; mesh['a'=2,'b'=4] {'b'}, the
    groups along the named axes, with the devices of the mesh, device_ids=([4,2]T(1,0)), behind it where they are not in
    order.
    """
    found = re.search(
        r'(?:replica_groups|source_target_pairs)=(\{\{.*?\}\}|\{\}|\[[^ ]*|mesh\[.*?\][^{]*\{[^}]*\})', text
    )
    if not found:
        return None
    said = found[1]
    if said.startswith('{'):
        return [[int(n) for n in re.findall(r'\d+', group)] for group in re.findall(r'\{([\d, ]+)\}', said)]
    if said.startswith('['):
        return _iota(said)
    axes = {name: int(size) for name, size in re.findall(r"'([\w.]+)'=(\d+)", said.partition(']')[0])}
    along = re.findall(r"'([\w.]+)'(?::\((\d+)\)(\d+))?", said[said.rindex('{') :])
    return _along(said, axes, along)


def _iota(said: str) -> list[list[int]]:
    """[groups, size]<=[sides]T(order)."""
    shape, sides, order = re.match(r'\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?', said).groups()
    shape, sides = _numbers(shape), _numbers(sides)
    flat = _transposed(list(range(math.prod(sides))), sides, _numbers(order) if order else list(range(len(sides))))
    return [flat[i : i + shape[-1]] for i in range(0, len(flat), shape[-1])]


def _along(said: str, axes: dict[str, int], along) -> list[list[int]]:
    """Groups along mesh axes, or along a part 'axis':(before)size of one; the mesh may reorder the devices."""
    sides, chosen = [], []
    for name, size in axes.items():
        parts = [(int(before), int(part)) for axis, before, part in along if axis == name and before]
        if not parts:
            chosen += [len(sides)] if any(axis == name for axis, *_ in along) else []
            sides.append(size)
            continue
        ((before, part),) = parts
        chosen.append(len(sides) + 1)
        sides += [before, part, size // before // part]
    devices = list(range(math.prod(sides)))
    if ordered := re.search(r'device_ids=\((\[[\d,]+\](?:T\([\d,]+\))?|[\d,]+)\)', said):
        listed = not ordered[1].startswith('[')
        devices = _numbers(ordered[1]) if listed else sum(_iota(f'[1,{len(devices)}]<={ordered[1]}'), [])
    others = [i for i in range(len(sides)) if i not in chosen]
    flat = _transposed(devices, sides, [*others, *chosen])
    size = math.prod(sides[i] for i in chosen)
    return [flat[i : i + size] for i in range(0, len(flat), size)]


def _transposed(values: list, sides: list[int], order: list[int]) -> list:
    strides = [math.prod(sides[i + 1 :]) for i in range(len(sides))]
    steps = itertools.product(*(range(0, sides[i] * strides[i], strides[i]) for i in order))
    return [values[sum(step)] for step in steps]


def _numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(',')]
