"""A plan as text and as JSON.

`roofline_seconds` and `predicted_mfu` are bounds, no forecasts (docs/performance.md).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

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

Report = Mapping[str, Any]  # see aot_worker.make_report


def as_json(reports: Mapping[str, Report]) -> str:
    """Return the reports of the programs as JSON, of each the KEYS."""
    # By a list and not all of it: what the table shows besides is no promise to who reads the JSON.
    selected = {program: {key: report[key] for key in KEYS} for program, report in reports.items()}
    return json.dumps(selected, indent=2)


def table(reports: Mapping[str, Report], topology: Topology) -> str:
    """Return the reports of the programs as text."""
    first = next(iter(reports.values()))
    mesh = ', '.join(f'{axis}={size}' for axis, size in first['mesh'].items() if size > 1) or 'one device'
    slices = f'{topology.slices} slices of ' if topology.slices > 1 else ''
    name = f'{topology.name} ({topology.cloud_name})' if topology.chip else f'cpu:{topology.chips}'
    lines = [f'{slices}{name}: {first["chips"]} chips, {first["devices"]} devices; mesh {mesh}']
    for program, report in reports.items():
        lines += ['', *_describe(program, report)]
    return '\n'.join(lines)


def _describe(program: str, report: Report) -> Iterator[str]:
    parts = report['bytes_per_chip']
    memory = ', '.join(f'{name} {format_gib(size)}' for name, size in parts.items() if name != 'total')
    flops = report['flops_per_chip']
    yield f'{program}: {_describe_batch(program, report)}'
    yield f'  memory per chip     {format_gib(parts["total"])} GiB: {memory}; {describe_fit(report)}'
    yield f'  FLOPs per chip      {flops:.4g}{_per_step(program, report, flops)}'
    yield from _describe_roofline(program, report)
    if report['compiler_seconds']:
        yield f'  compiler            {report["compiler_seconds"]:.4g} s'
    # None where the compiler refused the program.
    for kind, moved in (report['collectives'] or {}).items():
        size = moved['bytes'] / 1e6
        yield f'  {kind:18}  {moved["count"]} times, {size:.4g} MB per chip{_per_step(program, report, size)}'
    for name, times in report['kernels'].items():
        yield f'  kernel              {name}, {times} times'
    for guess in report['guesses']:
        yield f'  guessed             {guess}'
    for collective in report['crossing']:
        yield f'  CROSSES SLICES      {collective}'
    yield f'  compiled in         {report["compile_seconds"]:.0f} s'


def _describe_batch(program: str, report: Report) -> str:
    steps = report['steps']
    padding = f' (the devices work on {report["rows"]})' if report['rows'] > report['batch'] else ''
    if program == 'train':
        unit = ' a step'
    else:
        unit = f', {steps} sampler steps in all' if steps > 1 else ''
    return f'{report["batch"]} videos{padding}{unit}{report["about"]}'


def _describe_roofline(program: str, report: Report) -> Iterator[str]:
    seconds = report['roofline_seconds']
    if seconds is None:
        was_refused = report['collectives'] is None
        reason = 'the compiler refused the program' if was_refused else "this machine's peaks are unknown"
        yield f'  roofline            none, {reason}'
        return
    parts = ', '.join(f'{name} {value:.4g}' for name, value in report['parts'].items())
    yield f'  roofline            no less than {seconds:.4g} s{_per_step(program, report, seconds)}: {parts}'
    yield f'  MFU                 no more than {report["predicted_mfu"]:.1%}'
    yield f'                      {BOUND}'


def _per_step(program: str, report: Report, value: float) -> str:
    """Return the share of one sampler step, '' where there are none."""
    steps = report['steps']
    return f' ({value / steps:.4g} a sampler step)' if program == 'sample' and steps > 1 else ''


def describe_fit(report: Report) -> str:
    """Return 'fits, 3.2 GiB left of 95.7', or by how much it does not fit."""
    total = report['bytes_per_chip']['total']
    chip = report['chip_bytes']
    if report['fits']:
        return f'fits, {format_gib(chip - total)} GiB left of {format_gib(chip)}'
    return f'does not fit, {format_gib(total - chip)} GiB more than the {format_gib(chip)} of a chip'


def format_gib(size: float) -> str:
    """Return bytes in GiB, with three digits or more."""
    return f'{size / GIB:.3g}' if abs(size) < 100 * GIB else f'{size / GIB:.0f}'
