"""What an instruction of a compiled module reads of its operands and writes of its results.

Followed backward from the results, through fusions nested in fusions: what is only sliced counts as its slices, and
what is updated in place as its updates. A slice that several nested fusions take of one operand counts once.
"""

import re

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

# {which part of an array: its elements}. The key of a part says how it is sliced out: equal keys are one part.
Parts = dict[tuple, int]
WHOLE = ()


def main_bytes(module: Module, computation: Computation, made: Instruction) -> int:
    """Bytes of main memory that one instruction outside of fusions reads and writes."""
    written = [_update(module, computation, made, i) for i in range(len(made.result))]
    wanted = [{WHOLE: array.count} if count is None else {} for array, count in zip(made.result, written, strict=True)]
    in_place = {i for i, count in enumerate(written) if count is not None}
    read = _wanted_of_operands(module, computation, made, wanted, in_place, [(name,) for name in made.operands])

    total = 0
    for name, parts in zip(made.operands, read, strict=True):
        for array, each in zip(computation.instructions[name].result, parts, strict=True):
            total += _bytes(array, _elements(array, each))
    for array, count in zip(made.result, written, strict=True):
        total += _bytes(array, array.count if count is None else count)
    return total


def _bytes(array: Array, elements: int) -> int:
    return array.bytes * elements // array.count if array.main and array.count else 0


def _elements(array: Array, parts: Parts) -> int:
    """Elements of an array in all of its parts."""
    return min(array.count, sum(parts.values()))


def _update(module: Module, computation: Computation, made: Instruction, index: int) -> int | None:
    """Elements that are written into array `index` of a result, where that is an operand updated in place; else None.

    The compiler has copied the operand beforehand wherever it is needed again.
    """
    source = _source(module, computation, made, index)
    return source[2] if source and source[2] else None


def _source(module: Module, computation: Computation, made: Instruction, index: int) -> tuple[int, int, int] | None:
    """(operand, which of its arrays, elements written into it) of what array `index` of a result is, with updates."""
    match made.op:
        case 'bitcast':
            return 0, 0, 0
        case 'get-tuple-element':
            return 0, _index(made), 0
        case 'tuple':
            return index, 0, 0
        case 'dynamic-update-slice' | 'scatter':
            return index, 0, computation.instructions[made.operands[_update_operand(made, index)]].result[0].count
        case 'fusion' | 'call':
            return _source_through(module, module.computations[made.called[0]], index)
    return None


def _source_through(module: Module, inner: Computation, index: int) -> tuple[int, int, int] | None:
    """`_source` of array `index` of what a computation returns, among its parameters."""
    made, written = inner.instructions[inner.root], 0
    while made.op != 'parameter':
        source = _source(module, inner, made, index)
        if source is None:
            return None
        operand, index, count = source
        made, written = inner.instructions[made.operands[operand]], written + count
    return int(made.arguments), index, written


def _update_operand(made: Instruction, index: int) -> int:
    """Which operand is written into operand `index`: (into, update, starts…), or (into…, places, updates…)."""
    return 1 if made.op == 'dynamic-update-slice' else len(made.operands) // 2 + 1 + index


def _index(made: Instruction) -> int:
    return int(made.attribute('index'))


def _wanted_of_operands(
    module: Module,
    computation: Computation,
    made: Instruction,
    wanted: list[Parts],
    in_place: set[int],
    names: list[tuple],
) -> list[list[Parts]]:
    """What an instruction needs of each array of each operand for the parts of its results that are wanted.

    in_place: the arrays of its result that are operands updated in place. names: what each operand is called outside of
    all fusions, by which slices are compared.
    """
    operands = [computation.instructions[name].result for name in made.operands]
    nothing = [[{} for _ in arrays] for arrays in operands]
    if not any(wanted) and not in_place:
        return nothing
    if made.op in CALLS:
        return _wanted_of_parameters(module, module.computations[made.called[0]], wanted, in_place, names)
    if made.op == 'tuple':
        return [[parts] for parts in wanted]
    if made.op == 'get-tuple-element':
        nothing[0][_index(made)] = wanted[0]
        return nothing
    whole = [[{WHOLE: array.count} for array in arrays] for arrays in operands]
    if made.op in SLICES:
        return [[_sliced(made, wanted[0], names)], *whole[1:]]
    if made.op in UPDATES and in_place:
        return _wanted_of_updated(made, whole, in_place)
    if made.op in ONE_TO_ONE or made.op == 'dynamic-update-slice':
        return [[_cut(array, wanted[0]) for array in arrays] for arrays in operands]
    return whole


def _cut(array: Array, parts: Parts) -> Parts:
    """The parts, none with more elements than the array has."""
    return {key: min(array.count, count) for key, count in parts.items()}


def _sliced(made: Instruction, wanted: Parts, names: list[tuple]) -> Parts:
    """Parts of what is sliced, for parts of the slice."""
    sizes = re.search(r'slice(?:_sizes)?=\{[^}]*\}', made.rest)
    key = (made.op, sizes and sizes[0], *names[1:])
    return {(*key, *part): count for part, count in wanted.items()}


def _wanted_of_updated(made: Instruction, whole: list[list[Parts]], in_place: set[int]) -> list[list[Parts]]:
    """Updates and places are read whole; what they are written into not at all, or by a scatter where it writes."""
    found = list(whole)
    for index in in_place:
        (updates,) = whole[_update_operand(made, index)]
        found[index] = [{} if made.op == 'dynamic-update-slice' else {(made.name,): updates[WHOLE]}]
    return found


def _wanted_of_parameters(
    module: Module, inner: Computation, wanted: list[Parts], in_place: set[int], names: list[tuple]
) -> list[list[Parts]]:
    """`_wanted_of_operands` of a fusion or call: what its computation needs of its parameters."""
    parts_of = {name: [{} for _ in made.result] for name, made in inner.instructions.items()}
    places_of = {name: set() for name in inner.instructions}
    parts_of[inner.root], places_of[inner.root] = list(wanted), in_place

    for name, made in reversed(inner.instructions.items()):
        called = [_name(inner, operand, names) for operand in made.operands]
        read = _wanted_of_operands(module, inner, made, parts_of[name], places_of[name], called)
        for operand, arrays in zip(made.operands, read, strict=True):
            for known, parts in zip(parts_of[operand], arrays, strict=True):
                for key, count in parts.items():
                    known[key] = max(known.get(key, 0), count)
        for index in places_of[name] if made.op != 'parameter' else ():
            operand, array, _ = _source(module, inner, made, index)
            places_of[made.operands[operand]].add(array)

    parameters = {int(made.arguments): name for name, made in inner.instructions.items() if made.op == 'parameter'}
    return [parts_of[parameters[i]] for i in range(len(names))]


def _name(inner: Computation, operand: str, names: list[tuple]) -> tuple:
    """What an operand inside of a computation is called outside, where it is a parameter; a constant is its value."""
    made = inner.instructions[operand]
    if made.op == 'parameter':
        return names[int(made.arguments)]
    return ('constant', made.arguments) if made.op == 'constant' else (inner.name, operand)
