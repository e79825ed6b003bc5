"""What a plan says, as text and as JSON.

`roofline_seconds` and `predicted_mfu` are bounds, no forecasts (docs/performance.md).
"""

import json

from vdm_jax.parallel.hardware import GIB, Topology

KEYS = (
    'topology',
    'chips',
    'mesh',
    'fits',
    'chip_bytes',
    'bytes_per_chip',
    'flops_per_chip',
    'compiler_seconds',
    'roofline_seconds',
    'predicted_mfu',
    'collectives',
    'compile_seconds',
)

BOUND = 'bounds, not forecasts: real steps stay far from both (docs/performance.md has by how much)'


def as_json(found: dict[str, dict]) -> str:
    return json.dumps({program: {key: report[key] for key in KEYS} for program, report in found.items()}, indent=2)


def table(found: dict[str, dict], topology: Topology) -> str:
    """The reports as text."""
    report = next(iter(found.values()))
    mesh = ', '.join(f'{axis}={size}' for axis, size in report['mesh'].items() if size > 1) or 'one device'
    slices = f'{topology.slices} slices of ' if topology.slices > 1 else ''
    name = f'{topology.name} ({topology.cloud_name})' if topology.chip else f'cpu:{topology.chips}'
    lines = [f'{slices}{name}: {report["chips"]} chips, {report["devices"]} devices; mesh {mesh}']
    for program, report in found.items():
        lines += ['', *_described(program, report)]
    return '\n'.join(lines)


def _described(program: str, found: dict):
    parts, steps = found['bytes_per_chip'], found['steps']

    def per_step(value):
        return f' ({value / steps:.4g} a sampler step)' if program == 'sample' and steps > 1 else ''

    filled = f' (the devices work on {found["rows"]})' if found['rows'] > found['batch'] else ''
    how = ' a step' if program == 'train' else f', {steps} sampler steps in all' if steps > 1 else ''
    what = f'{found["batch"]} videos{filled}{how}'
    held = ', '.join(f'{name} {gib(size)}' for name, size in parts.items() if name != 'total')
    yield f'{program}: {what}'
    yield f'  memory per chip     {gib(parts["total"])} GiB: {held}; {fit(found)}'
    yield f'  FLOPs per chip      {found["flops_per_chip"]:.4g}{per_step(found["flops_per_chip"])}'
    if (seconds := found['roofline_seconds']) is not None:
        least = ', '.join(f'{name} {value:.4g}' for name, value in found['parts'].items())
        yield f'  roofline            no less than {seconds:.4g} s{per_step(seconds)}: {least}'
        yield f'  MFU                 no more than {found["predicted_mfu"]:.1%}'
        yield f'                      {BOUND}'
    else:
        why = 'the compiler refused the program' if found['collectives'] is None else "this machine's peaks are unknown"
        yield f'  roofline            none, {why}'
    if found['compiler_seconds']:
        yield f'  compiler            {found["compiler_seconds"]:.4g} s'
    for kind, moved in (found['collectives'] or {}).items():
        size = moved['bytes'] / 1e6
        yield f'  {kind:18}  {moved["count"]} times, {size:.4g} MB per chip{per_step(size)}'
    for name, times in found['kernels'].items():
        yield f'  kernel              {name}, {times} times'
    for guess in found['guesses']:
        yield f'  guessed             {guess}'
    for wrong in found['crossing']:
        yield f'  CROSSES SLICES      {wrong}'
    yield f'  compiled in         {found["compile_seconds"]:.0f} s'


def fit(found: dict) -> str:
    """'fits, 3.2 GiB left of 95.7', or by how much not."""
    total, chip = found['bytes_per_chip']['total'], found['chip_bytes']
    if found['fits']:
        return f'fits, {gib(chip - total)} GiB left of {gib(chip)}'
    return f'does not fit, {gib(total - chip)} GiB more than the {gib(chip)} of a chip'


def gib(size: float) -> str:
    return f'{size / GIB:.3g}' if abs(size) < 100 * GIB else f'{size / GIB:.0f}'
