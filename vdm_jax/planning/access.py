"""What an instruction of a compiled module reads of its operands and writes of its results.

Followed backward from the results, through fusions nested in fusions: what is only sliced counts as its slices, and
what is updated in place as its updates. A slice that several nested fusions take of one operand counts once.
"""

import re
from typing import Any, NamedTuple

from vdm_jax.planning.hlo import Array, Computation, Instruction, Module

SLICES = {'dynamic-slice', 'slice', 'gather'}
UPDATES = {'dynamic-update-slice', 'scatter'}
CALLS = {'fusion', 'call'}
# Of which an element of the result needs one element, at most, of each operand.
ONE_TO_ONE = {
    'abs', 'add', 'and', 'atan2', 'bitcast', 'bitcast-convert', 'broadcast', 'cbrt', 'ceil', 'clamp', 'compare',
    'complex', 'concatenate', 'convert', 'copy', 'cosine', 'count-leading-zeros', 'divide', 'erf', 'exponential',
    'exponential-minus-one', 'floor', 'imag', 'is-finite', 'log', 'log-plus-one', 'logistic', 'maximum', 'minimum',
    'multiply', 'negate', 'not', 'or', 'pad', 'popcnt', 'power', 'real', 'reduce-precision', 'remainder', 'reshape',
    'reverse', 'round-nearest-afz', 'round-nearest-even', 'rsqrt', 'select', 'shift-left', 'shift-right-arithmetic',
    'shift-right-logical', 'sign', 'sine', 'sqrt', 'stochastic-convert', 'subtract', 'tan', 'tanh', 'transpose', 'xor',
}  # fmt: skip

Name = tuple[Any, ...]  # what an operand is called outside of all fusions
# {which part of an array: its elements}. The key of a part says how it is sliced out: equal keys are one part.
Parts = dict[Name, int]
ALL: Name = ()  # the key of the entire array


class Source(NamedTuple):
    """Where an array of a result comes from, unchanged but for updates.

    Attributes:
      operand: Index of the operand.
      array: Index of the array in that operand.
      updated: Elements that are written into it on the way.
    """

    operand: int
    array: int
    updated: int


def instruction_traffic(module: Module, computation: Computation, instruction: Instruction) -> int:
    """Return bytes of main memory that one instruction outside of fusions reads and writes."""
    results = instruction.result
    updated = [_updated_elements(module, computation, instruction, i) for i in range(len(results))]
    # Of what is updated in place nothing is needed beforehand but where it is written.
    wanted: list[Parts] = [
        {ALL: array.count} if count is None else {} for array, count in zip(results, updated, strict=True)
    ]
    in_place = {i for i, count in enumerate(updated) if count is not None}
    names: list[Name] = [(name,) for name in instruction.operands]
    reads = _operand_parts(module, computation, instruction, wanted, in_place, names)

    total = 0
    for name, arrays_parts in zip(instruction.operands, reads, strict=True):
        for array, parts in zip(computation.instructions[name].result, arrays_parts, strict=True):
            total += _hbm_bytes(array, _count_elements(array, parts))
    for array, count in zip(results, updated, strict=True):
        total += _hbm_bytes(array, array.count if count is None else count)
    return total


def _hbm_bytes(array: Array, elements: int) -> int:
    return array.bytes * elements // array.count if array.in_hbm and array.count else 0


def _count_elements(array: Array, parts: Parts) -> int:
    """Elements of an array in all of its parts."""
    # Different slices may overlap, and no more than the array is ever read.
    return min(array.count, sum(parts.values()))


def _updated_elements(module: Module, computation: Computation, instruction: Instruction, index: int) -> int | None:
    """Elements that are written into array `index` of a result that is an operand updated in place; None for others.

    The compiler has copied the operand beforehand wherever it is needed again.
    """
    source = _source(module, computation, instruction, index)
    return source.updated if source and source.updated else None


def _source(module: Module, computation: Computation, instruction: Instruction, index: int) -> Source | None:
    """Return what array `index` of a result is, where it is an array of an operand, with or without updates."""
    match instruction.op:
        case 'bitcast':
            return Source(0, 0, 0)
        case 'get-tuple-element':
            return Source(0, _tuple_index(instruction), 0)
        case 'tuple':
            return Source(index, 0, 0)
        case 'dynamic-update-slice' | 'scatter':
            update = instruction.operands[_update_operand(instruction, index)]
            return Source(index, 0, computation.instructions[update].result[0].count)
        case 'fusion' | 'call':
            return _parameter_source(module, module.called_by(instruction), index)
    return None


def _parameter_source(module: Module, inner: Computation, index: int) -> Source | None:
    """`_source` of array `index` of what a computation returns, among its parameters."""
    instruction = inner.result
    updated = 0
    while instruction.op != 'parameter':
        source = _source(module, inner, instruction, index)
        if source is None:
            return None
        instruction = inner.instructions[instruction.operands[source.operand]]
        index = source.array
        updated += source.updated
    return Source(int(instruction.arguments), index, updated)


def _update_operand(instruction: Instruction, index: int) -> int:
    """Which operand is written into operand `index`."""
    if instruction.op == 'dynamic-update-slice':  # (into, update, starts…)
        return 1
    return len(instruction.operands) // 2 + 1 + index  # (into…, indices, updates…)


def _tuple_index(instruction: Instruction) -> int:
    return int(instruction.attribute('index') or '')


def _operand_parts(
    module: Module,
    computation: Computation,
    instruction: Instruction,
    wanted: list[Parts],
    in_place: set[int],
    names: list[Name],
) -> list[list[Parts]]:
    """Return what an instruction needs of each array of each operand for the parts of its results that are wanted.

    Args:
      module: Of the instruction.
      computation: Of the instruction.
      instruction: What reads.
      wanted: The parts of each array of its result.
      in_place: The arrays of its result that are operands updated in place.
      names: What each operand is called outside of all fusions, by which slices are compared.
    """
    operands = [computation.instructions[name].result for name in instruction.operands]
    nothing: list[list[Parts]] = [[{} for _ in arrays] for arrays in operands]
    # Of a result that nobody needs nothing is computed, so nothing is read.
    if not any(wanted) and not in_place:
        return nothing
    if instruction.op in CALLS:
        return _parameter_parts(module, module.called_by(instruction), wanted, in_place, names)
    if instruction.op == 'tuple':
        return [[parts] for parts in wanted]
    if instruction.op == 'get-tuple-element':
        nothing[0][_tuple_index(instruction)] = wanted[0]
        return nothing

    # What is left below (products, reductions, calls that nobody knows) reads its operands entirely.
    everything: list[list[Parts]] = [[{ALL: array.count} for array in arrays] for arrays in operands]
    if instruction.op in SLICES:
        return [[_sliced_parts(instruction, wanted[0], names)], *everything[1:]]
    if instruction.op in UPDATES and in_place:
        return _updated_parts(instruction, everything, in_place)
    # A broadcast may want more elements than its operand has.
    if instruction.op in ONE_TO_ONE or instruction.op == 'dynamic-update-slice':
        return [[_limit_parts(array, wanted[0]) for array in arrays] for arrays in operands]
    return everything


def _limit_parts(array: Array, parts: Parts) -> Parts:
    """Return the parts, none with more elements than the array has."""
    return {key: min(array.count, count) for key, count in parts.items()}


def _sliced_parts(instruction: Instruction, wanted: Parts, names: list[Name]) -> Parts:
    """Parts of what is sliced, for parts of the slice."""
    sizes = re.search(r'slice(?:_sizes)?=\{[^}]*\}', instruction.rest)
    # Sizes and starts together say which part it is: nested fusions that take the same slice read it once.
    key = (instruction.op, sizes[0] if sizes else None, *names[1:])
    return {(*key, *part): count for part, count in wanted.items()}


def _updated_parts(instruction: Instruction, everything: list[list[Parts]], in_place: set[int]) -> list[list[Parts]]:
    """Return the operands that are read: updates and indices entirely; their target by a scatter alone."""
    reads = list(everything)
    for index in in_place:
        (updates,) = everything[_update_operand(instruction, index)]
        # A scatter adds to what is there, so it reads what it writes.
        reads[index] = [{} if instruction.op == 'dynamic-update-slice' else {(instruction.name,): updates[ALL]}]
    return reads


def _parameter_parts(
    module: Module, inner: Computation, wanted: list[Parts], in_place: set[int], names: list[Name]
) -> list[list[Parts]]:
    """`_operand_parts` of a fusion or call: what its computation needs of its parameters."""
    parts_of: dict[str, list[Parts]] = {}
    in_place_of: dict[str, set[int]] = {}
    for name, instruction in inner.instructions.items():
        parts_of[name] = [{} for _ in instruction.result]
        in_place_of[name] = set()
    parts_of[inner.root] = list(wanted)
    in_place_of[inner.root] = in_place

    # Backward: all that reads an instruction's result has been seen when its turn comes.
    for name, instruction in reversed(inner.instructions.items()):
        outer_names = [_outer_name(inner, operand, names) for operand in instruction.operands]
        reads = _operand_parts(module, inner, instruction, parts_of[name], in_place_of[name], outer_names)
        for operand, arrays_parts in zip(instruction.operands, reads, strict=True):
            for known, parts in zip(parts_of[operand], arrays_parts, strict=True):
                _merge(known, parts)
        if instruction.op == 'parameter':
            continue
        for index in in_place_of[name]:
            source = _source(module, inner, instruction, index)
            assert source is not None  # as it is updated in place
            in_place_of[instruction.operands[source.operand]].add(source.array)

    parameters = {
        int(instruction.arguments): name
        for name, instruction in inner.instructions.items()
        if instruction.op == 'parameter'
    }
    return [parts_of[parameters[i]] for i in range(len(names))]


def _merge(known: Parts, parts: Parts) -> None:
    """Add parts to those that are known; what is read twice counts once."""
    for key, count in parts.items():
        known[key] = max(known.get(key, 0), count)


def _outer_name(inner: Computation, operand: str, names: list[Name]) -> Name:
    """Return what an operand of a computation is called outside, where it is a parameter; a constant is its value."""
    instruction = inner.instructions[operand]
    if instruction.op == 'parameter':
        return names[int(instruction.arguments)]
    # The same constant has another name in every fusion, so its value is what tells slices apart.
    return ('constant', instruction.arguments) if instruction.op == 'constant' else (inner.name, operand)
