"""A compiled module's text: its instructions, how often each runs, and the bytes that it moves.

The compiler's own cost analysis counts the body of a loop once, so everything here is counted by walking from the entry
through the loops, each times its trip count. jax's `compiled.as_text()` is all that is read.
"""

import functools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Array:
    """One array of a shape: its bytes on a device without padding, how many numbers they are, and whether it lies in
    the main memory (HBM).
    """

    bytes: int
    count: int
    main: bool


@dataclass(frozen=True)
class Instruction:
    """`result` arrays flat; `operands` and `called` are names; `rest` is everything behind the operands."""

    name: str
    op: str
    result: tuple[Array, ...]
    operands: tuple[str, ...]
    arguments: str
    rest: str

    @functools.cached_property
    def called(self) -> tuple[str, ...]:
        named = re.findall(r'(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)', self.rest)
        branches = re.search(r'branch_computations=\{([^}]*)\}', self.rest)
        return (*named, *(re.findall(r'[\w.\-]+', branches[1]) if branches else ()))

    def attribute(self, name: str) -> str | None:
        """The value of `name=value`, without its quotes or percent sign, behind the operands."""
        found = re.search(rf'\b{name}=["%]?([\w.\-]+)', self.rest)
        return found and found[1]


@dataclass(frozen=True)
class Computation:
    """A computation's instructions by name, in order."""

    name: str
    instructions: dict[str, Instruction]
    root: str


@dataclass(frozen=True)
class Module:
    """A module's computations by name, and which of them is run."""

    computations: dict[str, Computation]
    entry: str

    def runs(self) -> Iterator[tuple[Computation, Instruction, float]]:
        """Every instruction outside of fusions with how often a device runs it.

        Of a conditional's branches the longest is taken to run each time, and a loop of unknown length to run once;
        `guesses` says how many there are of either.
        """
        yield from self._runs(self.computations[self.entry], 1.0)

    def guesses(self) -> list[str]:
        """What had to be guessed of how often something runs, as text."""
        loops = [(where, made) for where, made, _ in self.runs() if made.op == 'while']
        unknown = sum(trip_count(self, where, made) is None for where, made in loops)
        branching = sum(made.op == 'conditional' for _, made, _ in self.runs())
        said = f'{unknown} loops of unknown length counted once', f'{branching} conditionals counted by their longest'
        return [text for text, count in zip(said, (unknown, branching), strict=True) if count]

    def _runs(self, computation: Computation, times: float):
        for instruction in computation.instructions.values():
            yield computation, instruction, times
            inner, called = times, instruction.called
            if instruction.op == 'while':
                count = trip_count(self, computation, instruction)
                inner *= 1 if count is None else count
            elif instruction.op == 'conditional':
                called = (max(called, key=lambda name: len(self.computations[name].instructions)),)
            elif instruction.op not in ('call', 'async-start'):
                continue
            for name in called:
                yield from self._runs(self.computations[name], inner)


def parse(text: str) -> Module:
    """The module that `compiled.as_text()` wrote."""
    computations, entry, name, lines = {}, None, None, []
    for line in text.splitlines():
        if name is None:
            if line.endswith('{') and (head := re.match(r'(ENTRY )?%?([\w.\-]+) ?\(', line)):
                name, lines = head[2], []
                entry = name if head[1] else entry
        elif line.startswith('  '):
            lines.append(line.strip())
        elif re.match(r'\}($|, \w)', line):
            root = next(_instruction(line).name for line in lines if line.startswith('ROOT '))
            instructions = map(_instruction, lines)
            computations[name] = Computation(name, {one.name: one for one in instructions}, root)
            name = None
        else:  # what a kernel says of itself has lines of its own, which are not indented
            lines[-1] += line
    return Module(computations, entry)


def _instruction(line: str) -> Instruction:
    name, _, rest = re.sub(r'/\*.*?\*/', '', line).removeprefix('ROOT ').partition(' = ')
    end = _closing(rest, 0) + 1 if rest.startswith('(') else rest.index(' ')
    shape, rest = rest[:end], rest[end:].lstrip()
    opening = rest.index('(')
    closing = _closing(rest, opening)
    arguments = rest[opening + 1 : closing]
    operands = tuple(re.findall(r'%([\w.\-]+)', arguments))
    return Instruction(name.lstrip('%'), rest[:opening], arrays(shape), operands, arguments, rest[closing + 1 :])


def _closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` closes."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == '(') - (text[at] == ')')
        if not depth:
            return at
    raise ValueError(f'no closing bracket in {text[:80]}')


def arrays(shape: str) -> tuple[Array, ...]:
    """The arrays of a shape such as 'bf16[8,128]{1,0:T(8,128)S(1)}' or a tuple of such, flat.

    S(n) is a memory space other than the main one (on TPU 1 is VMEM, 5 the host).
    """
    found = re.findall(r'\b([a-z]\w*)\[([\d,<= ]*)\](\{[^}]*\})?', shape)
    counts = [_elements(sides) for _, sides, _ in found]
    return tuple(
        Array(_bits(kind) * count // 8, count, 'S(' not in layout)
        for count, (kind, _, layout) in zip(counts, found, strict=True)
    )


def _bits(kind: str) -> int:
    """Of one number: 16 of 'bf16', 8 of 'f8e4m3fn' and 'pred', 0 of a token."""
    width = re.match(r'[a-z]+(\d+)', kind)
    return int(width[1]) if width else 8 * (kind == 'pred')


def _elements(sides: str) -> int:
    return math.prod(int(side) for side in re.findall(r'\d+', sides))


def trip_count(module: Module, computation: Computation, loop: Instruction) -> int | None:
    """How often a while loop runs: as the compiler notes it, else from its condition `counter < limit`; None for a loop
    of another form.
    """
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest):
        return int(known[1])
    condition, body = (module.computations[loop.attribute(name)] for name in ('condition', 'body'))
    compare, names = condition.instructions[condition.root], None
    if compare.op == 'fusion':  # the compare is wrapped: its operands are the fusion's
        inner, names = module.computations[compare.called[0]], compare.operands
        compare = inner.instructions[inner.root]
        parameters = [inner.instructions[name] for name in compare.operands]
        names = [names[int(one.arguments)] if one.op == 'parameter' else None for one in parameters]
    counter, limit = (condition.instructions.get(name) for name in names or compare.operands)
    if compare.op != 'compare' or None in (counter, limit) or counter.op != 'get-tuple-element':
        return None
    index, last = int(re.search(r'index=(\d+)', counter.rest)[1]), _constant(condition, limit.name)
    start = _constant(computation, _element(computation, loop.operands[0], index))
    step = _step(module, body, index)
    if start is None or last is None or not step or compare.attribute('direction') not in ('LT', 'LE'):
        return None
    return max(0, -(-(last - start + (compare.attribute('direction') == 'LE')) // step))


def _element(computation: Computation, name: str, index: int) -> str | None:
    """The name of what a tuple holds at `index`."""
    made = computation.instructions[name]
    return made.operands[index] if made.op == 'tuple' else None


def _constant(computation: Computation, name: str | None) -> int | None:
    """The number that an instruction holds, through copies."""
    while name in computation.instructions:
        made = computation.instructions[name]
        if made.op == 'constant' and re.fullmatch(r'-?\d+', made.arguments):
            return int(made.arguments)
        if made.op not in ('copy', 'bitcast', 'convert', 'copy-done', 'copy-start'):
            return None
        name = made.operands[0]
    return None


def _step(module: Module, body: Computation, index: int) -> int | None:
    """By how much a loop's counter, element `index` of its tuple, grows."""
    made = body.instructions.get(_element(body, body.root, index) or '')
    while made is not None and made.op in ('copy', 'bitcast'):
        made = body.instructions[made.operands[0]]
    if made is not None and made.op == 'fusion':
        inner = module.computations[made.called[0]]
        made, body = inner.instructions[inner.root], inner
    if made is None or made.op != 'add':
        return None
    return next((number for name in made.operands if (number := _constant(body, name)) is not None), None)
