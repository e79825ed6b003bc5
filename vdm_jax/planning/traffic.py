"""How many bytes a compiled module moves between a device and its main memory."""

from vdm_jax.planning.access import instruction_traffic
from vdm_jax.planning.hlo import Array, Computation, Instruction, Module

# Instructions that move nothing themselves: names, control flow, and the ends of what a -start has moved.
FREE_OPS = {
    'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'after-all', 'partition-id', 'replica-id',
    'opt-barrier', 'optimization-barrier', 'while', 'conditional', 'call', 'send-done', 'recv', 'recv-done',
    'async-start', 'async-update', 'async-done',
}  # fmt: skip
FREE_CUSTOM_CALLS = {'AllocateBuffer', 'Sharding', 'SliceId', 'ConcatBitcast', 'AsyncCollectiveDone'}


def memory_bytes(module: Module) -> float:
    """Return bytes that a device reads from and writes to its main memory in one run, loops counted as they run.

    Each instruction outside of fusions reads its operands and writes its results; of what is sliced, and of what is
    updated in place, only the slice counts; what lies in VMEM does not count at all. Padding is left out.
    """
    return sum(times * _traffic(module, computation, instruction) for computation, instruction, times in module.runs())


def _traffic(module: Module, computation: Computation, instruction: Instruction) -> int:
    op = instruction.op
    if op in FREE_OPS or op.endswith('-done') or instruction.attribute('custom_call_target') in FREE_CUSTOM_CALLS:
        return 0
    operands = [computation.instructions[name].result for name in instruction.operands]
    if op in ('copy-start', 'slice-start', 'dynamic-slice-start'):
        # The results are (to, from, context) of a copy, and (operands…, to, context) of a slice.
        index = 0 if op == 'copy-start' else sum(map(len, operands))
        destination = instruction.result[index]
        # Between VMEM and main memory only the one side counts, between two places of main memory both.
        reads_hbm = _total_in_hbm(operands[0]) > 0
        return destination.bytes * (destination.in_hbm + reads_hbm)
    if op.endswith('-start') or op == 'send':
        # What is sent is read here, and as much is received and written.
        return 2 * sum(map(_total_in_hbm, operands))
    return instruction_traffic(module, computation, instruction)


def _total_in_hbm(arrays: tuple[Array, ...]) -> int:
    return sum(array.bytes for array in arrays if array.in_hbm)
