"""How many bytes a compiled module moves between a device and its main memory."""

from vdm_jax.planning.access import main_bytes
from vdm_jax.planning.hlo import Array, Computation, Instruction, Module

FREE = {
    'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'after-all', 'partition-id', 'replica-id',
    'opt-barrier', 'optimization-barrier', 'while', 'conditional', 'call', 'send-done', 'recv', 'recv-done',
    'async-start', 'async-update', 'async-done',
}  # fmt: skip
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
    operands = [computation.instructions[name].result for name in made.operands]
    if made.op in ('copy-start', 'slice-start', 'dynamic-slice-start'):
        # (to, from, context) and (operands…, to, context)
        to = made.result[0 if made.op == 'copy-start' else sum(map(len, operands))]
        return to.bytes * (to.main + (_main(operands[0]) > 0))
    if made.op.endswith('-start') or made.op == 'send':
        return 2 * sum(map(_main, operands))
    return main_bytes(module, computation, made)


def _main(shape: tuple[Array, ...]) -> int:
    return sum(array.bytes for array in shape if array.main)
