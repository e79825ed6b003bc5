"""Parser of a compiled module's text: its instructions, how often each runs, and the sizes of its arrays.

The compiler's own cost analysis counts the body of a loop once, so everything here is counted by walking from the entry
through the loops, each times its trip count. jax's `compiled.as_text()` is all that is read.
"""

import functools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Instructions that hand on a number as it is.
COPIES = ('copy', 'bitcast', 'convert', 'copy-done', 'copy-start')


@dataclass(frozen=True)
class Array:
    """One array of a shape.

    Attributes:
      bytes: On a device, without padding.
      count: Of its numbers.
      in_hbm: Whether it lies in the main memory (HBM).
    """

    bytes: int
    count: int
    in_hbm: bool


@dataclass(frozen=True)
class Instruction:
    """One instruction of a computation.

    Attributes:
      name: Of the instruction.
      op: What it does, such as 'add'.
      result: Its arrays, nested tuples made flat.
      operands: Names of the instructions whose results it takes.
      arguments: The text between its brackets.
      rest: The text behind them.
    """

    name: str
    op: str
    result: tuple[Array, ...]
    operands: tuple[str, ...]
    arguments: str
    rest: str

    @functools.cached_property
    def called_names(self) -> tuple[str, ...]:
        """Names of the computations that it runs."""
        names = re.findall(r'(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)', self.rest)
        branches = re.search(r'branch_computations=\{([^}]*)\}', self.rest)
        if branches:
            names += re.findall(r'[\w.\-]+', branches[1])
        return tuple(names)

    def attribute(self, name: str) -> str | None:
        """Return the value of `name=value` behind the operands, without its quotes or percent sign."""
        match = re.search(rf'\b{name}=["%]?([\w.\-]+)', self.rest)
        return match[1] if match else None


@dataclass(frozen=True)
class Computation:
    """A function of a module.

    Attributes:
      name: Of the computation.
      instructions: By name, in order.
      root: Name of the instruction whose result it returns.
    """

    name: str
    instructions: dict[str, Instruction]
    root: str

    @property
    def result(self) -> Instruction:
        """The instruction whose result it returns."""
        return self.instructions[self.root]


@dataclass(frozen=True)
class Module:
    """A compiled program.

    Attributes:
      computations: By name.
      entry: Name of the one that is run.
    """

    computations: dict[str, Computation]
    entry: str

    def runs(self) -> Iterator[tuple[Computation, Instruction, float]]:
        """Yield every instruction outside of fusions with how often a device runs it.

        Of a conditional's branches the longest is taken to run each time, and a loop of unknown length to run once;
        `guesses` says how many there are of either.
        """
        yield from self._runs(self.computations[self.entry], 1.0)

    def guesses(self) -> list[str]:
        """Return what had to be guessed of how often something runs, as text."""
        unknown_loops = 0
        conditionals = 0
        for computation, instruction, _ in self.runs():
            if instruction.op == 'while':
                unknown_loops += trip_count(self, computation, instruction) is None
            conditionals += instruction.op == 'conditional'
        lines = []
        if unknown_loops:
            lines.append(f'{unknown_loops} loops of unknown length counted once')
        if conditionals:
            lines.append(f'{conditionals} conditionals counted by their longest')
        return lines

    def called_by(self, instruction: Instruction) -> Computation:
        """Return the computation that a fusion or call runs."""
        return self.computations[instruction.called_names[0]]

    def _runs(self, computation: Computation, times: float) -> Iterator[tuple[Computation, Instruction, float]]:
        for instruction in computation.instructions.values():
            yield computation, instruction, times
            inner_times = times
            called_names = instruction.called_names
            if instruction.op == 'while':
                count = trip_count(self, computation, instruction)
                inner_times *= 1 if count is None else count
            elif instruction.op == 'conditional':
                # Which branch runs is not in the text: the longer one is the safer guess.
                called_names = (max(called_names, key=self._length),)
            elif instruction.op not in ('call', 'async-start'):
                # Of a fusion, what it reads and writes counts, not its instructions.
                continue
            for name in called_names:
                yield from self._runs(self.computations[name], inner_times)

    def _length(self, name: str) -> int:
        return len(self.computations[name].instructions)


def parse(text: str) -> Module:
    """Return the module that `compiled.as_text()` wrote."""
    computations: dict[str, Computation] = {}
    entry = ''
    name: str | None = None
    lines: list[str] = []
    for line in text.splitlines():
        if name is None:
            head = re.match(r'(ENTRY )?%?([\w.\-]+) ?\(', line) if line.endswith('{') else None
            if head:
                name = head[2]
                lines = []
                entry = name if head[1] else entry
        elif line.startswith('  '):
            lines.append(line.strip())
        elif re.match(r'\}($|, \w)', line):
            computations[name] = _parse_computation(name, lines)
            name = None
        else:
            # A kernel's description of itself has lines of its own, which are not indented.
            lines[-1] += line
    return Module(computations, entry)


def _parse_computation(name: str, lines: list[str]) -> Computation:
    instructions = {}
    root = ''
    for line in lines:
        instruction = _parse_instruction(line)
        instructions[instruction.name] = instruction
        if line.startswith('ROOT '):
            root = instruction.name
    return Computation(name, instructions, root)


def _parse_instruction(line: str) -> Instruction:
    """Return an instruction of a line '%name = shape op(arguments), rest'."""
    # The compiler numbers the elements of long tuples by /*index=5*/, within shapes and operands.
    without_comments = re.sub(r'/\*.*?\*/', '', line)
    name, _, rest = without_comments.removeprefix('ROOT ').partition(' = ')

    # The shape of a tuple has spaces and brackets in it.
    shape_end = _closing_bracket(rest, 0) + 1 if rest.startswith('(') else rest.index(' ')
    shape = rest[:shape_end]
    rest = rest[shape_end:].lstrip()

    opening = rest.index('(')
    closing = _closing_bracket(rest, opening)
    arguments = rest[opening + 1 : closing]
    operands = tuple(re.findall(r'%([\w.\-]+)', arguments))
    return Instruction(name.lstrip('%'), rest[:opening], arrays(shape), operands, arguments, rest[closing + 1 :])


def _closing_bracket(text: str, start: int) -> int:
    """Where the bracket that opens at `start` closes."""
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == '(') - (text[index] == ')')
        if not depth:
            return index
    raise ValueError(f'no closing bracket in {text[:80]}')


def arrays(shape: str) -> tuple[Array, ...]:
    """Return the arrays of a shape such as 'bf16[8,128]{1,0:T(8,128)S(1)}' or a tuple of such, flat.

    S(n) is a memory space other than the main one (on TPU 1 is VMEM, 5 the host).
    """
    result = []
    for dtype, sides, layout in re.findall(r'\b([a-z]\w*)\[([\d,<= ]*)\](\{[^}]*\})?', shape):
        count = math.prod(int(side) for side in re.findall(r'\d+', sides))
        # Bits are multiplied before they are divided, as there are types of four.
        result.append(Array(_bits(dtype) * count // 8, count, 'S(' not in layout))
    return tuple(result)


def _bits(dtype: str) -> int:
    """Of one number: 16 of 'bf16', 8 of 'f8e4m3fn' and 'pred', 0 of a token."""
    width = re.match(r'[a-z]+(\d+)', dtype)
    if width:
        return int(width[1])
    return 8 if dtype == 'pred' else 0


def trip_count(module: Module, computation: Computation, loop: Instruction) -> int | None:
    """Return how often a while loop runs.

    As the compiler notes it, else from its condition `counter < limit`; None for a loop of another form.
    """
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest):
        return int(known[1])

    condition = module.computations[loop.attribute('condition') or '']
    body = module.computations[loop.attribute('body') or '']
    compare, operand_names = _comparison(module, condition)
    direction = compare.attribute('direction')
    counter, limit = (condition.instructions.get(name or '') for name in operand_names)
    if compare.op != 'compare' or counter is None or limit is None or counter.op != 'get-tuple-element':
        return None

    index = int(counter.attribute('index') or '')
    stop = _constant(condition, limit.name)
    start = _constant(computation, _element(computation, loop.operands[0], index))
    step = _step(module, body, index)
    if start is None or stop is None or not step or direction not in ('LT', 'LE'):
        return None
    if direction == 'LE':
        stop += 1
    # Rounded up: the last round may begin just below the limit.
    return max(0, -(-(stop - start) // step))


def _comparison(module: Module, condition: Computation) -> tuple[Instruction, Sequence[str | None]]:
    """Return the root of a loop's condition, and the names of its operands within the condition."""
    compare = condition.result
    if compare.op != 'fusion':
        return compare, compare.operands
    # The comparison is wrapped: its operands are parameters, for which the fusion's operands stand.
    fusion = compare
    inner = module.called_by(fusion)
    compare = inner.result
    names: list[str | None] = []
    for name in compare.operands:
        operand = inner.instructions[name]
        names.append(fusion.operands[int(operand.arguments)] if operand.op == 'parameter' else None)
    return compare, names


def _element(computation: Computation, name: str, index: int) -> str | None:
    """Return the name of what a tuple holds at `index`."""
    instruction = computation.instructions[name]
    return instruction.operands[index] if instruction.op == 'tuple' else None


def _constant(computation: Computation, name: str | None) -> int | None:
    """Return the number that an instruction holds, through copies."""
    while name in computation.instructions:
        instruction = computation.instructions[name]
        if instruction.op == 'constant' and re.fullmatch(r'-?\d+', instruction.arguments):
            return int(instruction.arguments)
        if instruction.op not in COPIES:
            return None
        name = instruction.operands[0]
    return None


def _step(module: Module, body: Computation, index: int) -> int | None:
    """By how much a loop's counter, element `index` of its tuple, grows."""
    instruction = body.instructions.get(_element(body, body.root, index) or '')
    while instruction is not None and instruction.op in ('copy', 'bitcast'):
        instruction = body.instructions[instruction.operands[0]]
    if instruction is not None and instruction.op == 'fusion':
        body = module.called_by(instruction)
        instruction = body.result
    if instruction is None or instruction.op != 'add':
        return None
    for name in instruction.operands:
        number = _constant(body, name)
        if number is not None:
            return number
    return None
