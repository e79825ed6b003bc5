"""How many bytes a compiled module moves between a device and its main memory."""

from vdm_jax.planning.hlo import Array, Computation, Instruction, Module

FREE = {
    'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'after-all', 'partition-id', 'replica-id',
    'opt-barrier', 'optimization-barrier', 'while', 'conditional', 'call', 'send-done', 'recv', 'recv-done',
    'async-start', 'async-update', 'async-done',
}  # fmt: skip
SLICES = {'dynamic-slice', 'slice', 'gather'}
UNSEEN_CALLS = {'AllocateBuffer', 'Sharding', 'SliceId', 'ConcatBitcast', 'AsyncCollectiveDone'}


def memory_bytes(module: Module) -> float:
    """Bytes that a device reads from and writes to its main memory in one run, loops counted as often as they run.

    Each instruction outside of fusions reads its operands and writes its results; of what is sliced, and of what is
    updated in place, only the slice counts; what lies in VMEM does not count at all. Padding is left out.
    """
    return sum(times * _traffic(module, computation, instruction) for computation, instruction, times in module.runs())


def _traffic(module: Module, computation: Computation, made: Instruction) -> int:
    if made.op in FREE or made.op.endswith('-done') or made.attribute('custom_call_target') in UNSEEN_CALLS:
        return 0
    shapes = [computation.instructions[name].result for name in made.operands]
    if made.op == 'fusion':
        return _fused(module.computations[made.called[0]], made, shapes)
    if made.op in SLICES:
        taken = sum(array.bytes for array in made.result)
        return _main(made.result) + (taken if _main(shapes[0]) else 0)
    if made.op == 'dynamic-update-slice':
        return 2 * _main(shapes[1]) if _main(made.result) else _main(shapes[1])
    if made.op in ('copy-start', 'slice-start'):  # (to, from, context) and (from, to, context)
        to = made.result[0 if made.op == 'copy-start' else 1]
        return to.bytes * (to.main + (_main(shapes[0]) > 0))
    if made.op.endswith('-start') or made.op == 'send':
        return 2 * sum(map(_main, shapes))
    return _main(made.result) + sum(map(_main, shapes))


def _main(shape: tuple[Array, ...]) -> int:
    return sum(array.bytes for array in shape if array.main)


def _fused(inner: Computation, made: Instruction, shapes: list) -> int:
    """What a fusion reads and writes: operands that it only slices, and results updated in place, count as slices."""
    users = {}
    for instruction in inner.instructions.values():
        for name in instruction.operands:
            users.setdefault(name, []).append(instruction)
    size = lambda name: sum(array.bytes for array in inner.instructions[name].result)

    def read(name: str, whole: int) -> int:
        found = 0
        for user in users.get(name, ()):
            if user.op in SLICES and user.operands[0] == name:
                found += size(user.name)
            elif user.op == 'bitcast':
                found += read(user.name, whole)
            elif user.op != 'dynamic-update-slice' or user.operands[0] != name:
                return whole
        return min(found, whole)

    parameters = {int(one.arguments): one.name for one in inner.instructions.values() if one.op == 'parameter'}
    total = sum(read(parameters[i], _main(shape)) for i, shape in enumerate(shapes) if _main(shape))
    root = inner.instructions[inner.root]
    outputs = [inner.instructions[name] for name in root.operands] if root.op == 'tuple' else [root]
    if len(outputs) != len(made.result):
        return total + _main(made.result)
    for output, array in zip(outputs, made.result, strict=True):
        while output.op in ('bitcast', 'copy') and output.operands:
            output = inner.instructions[output.operands[0]]
        if array.main:
            total += size(output.operands[1]) if output.op == 'dynamic-update-slice' else array.bytes
    return total
