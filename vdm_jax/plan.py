"""What an experiment needs on a machine that is not there: memory, least time of a step, collectives.

The numbers come from the real programs, compiled in a process of their own (ahead.py); this is how it is asked, and how
what it says is shown.
"""

import ast
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import typing
from collections.abc import Callable
from pathlib import Path

from vdm_jax.build import Experiment, read_experiment
from vdm_jax.errors import UserError
from vdm_jax.hardware import GIB, Topology, read_topology

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
PROGRAMS = ('train', 'sample')
COMPILES = 6  # of a search, the last one for sampling
BEGIN, END = '<!-- rows of `python -m vdm_jax plans` -->', '<!-- end of rows -->'


def plan(spec: str, assignments: list[str], topology: Topology, programs=PROGRAMS) -> dict[str, dict]:
    """{program: report} for an experiment on a machine; reports are those of ahead.report.

    Raises:
      UserError: a mistake in the experiment, or a program that the compiler died of.
    """
    request = {'config': spec, 'assignments': _with_slices(assignments, topology), 'topology': topology.name}
    request |= {'slices': topology.slices, 'programs': programs}
    here = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get('PYTHONPATH'))))
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / 'reports'
        command = [sys.executable, '-m', 'vdm_jax.ahead', json.dumps(request), str(out)]
        environment = os.environ | topology.environment | {'PYTHONPATH': here}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    found = {name: value for line in lines for name, value in line.items()}
    if done.returncode == 2 and 'error' in found:
        raise UserError(found['error'])
    if done.returncode < 0:
        raise UserError(death(done, found, topology))
    if done.returncode:
        raise RuntimeError(f'{" ".join(command[:3])} failed:\n{done.stderr[-4000:]}')
    return {program: found[program] for program in programs}


def _with_slices(assignments: list[str], topology: Topology) -> list[str]:
    return [*assignments, f'--config.mesh.slices={topology.slices}'] if topology.slices > 1 else assignments


def death(done: subprocess.CompletedProcess, found: dict, topology: Topology) -> str:
    """One line about a compiler that was killed, or killed itself."""
    of = signal.Signals(-done.returncode).name
    what = f'{topology.name}: the compiler died of {of} on the program {found.get("program", "before any")}'
    if done.returncode == -signal.SIGKILL:
        return f'{what}; this machine may have too little memory to compile it'
    said = [line for line in done.stderr.splitlines() if re.match(r'F\d{4} |.*(Check failed|FATAL)', line)]
    mesh = {axis: size for axis, size in found.get('experiment', {}).get('mesh', {}).items() if size != 1}
    return f'{what}, config.mesh={mesh}: choose another mesh. It said: {(said or ["nothing"])[0][:300]}'


def target_of(spec: str) -> tuple[str, list[str]]:
    """(name of the topology, overrides) that an experiment file's docstring says it is meant for, in a line
    'Topology: v5p:4x4x4' with overrides behind the name where planning needs some.

    Raises:
      UserError: the file has no such line.
    """
    file = spec.partition(':')[0]
    text = ast.get_docstring(ast.parse(Path(file).read_text())) if Path(file).is_file() else None
    line = re.search(r'^Topology: (\S+)(.*)$', text or '', flags=re.M)
    if not line:
        raise UserError(f'--topology=NAME is missing, and {file} has no line "Topology: NAME" in its docstring')
    return line[1], line[2].split()


def tries(experiment: Experiment, topology: Topology) -> list[list[str]]:
    """What a search compiles, in this order, as overrides.

    First the experiment as it stands; then with weights, moments and averages split over as many chips as the width and
    the batch axes allow, which costs no computation; then with that mesh and one rematerialisation policy after the
    other, in the order of their list, from least recomputed to most. One compile of COMPILES is kept for sampling.
    """
    model, mesh = experiment.model, experiment.mesh
    sizes = dict(zip(('slices', 'data', 'fsdp'), mesh.sizes(topology.chips * topology.slices), strict=False))
    widest = math.gcd(sizes['data'] * sizes['fsdp'], model.sizes.width)
    wide = [] if widest == sizes['fsdp'] else [f'--config.mesh.fsdp={widest}', '--config.mesh.data=-1']
    policies = list(typing.get_args(typing.get_type_hints(type(model)).get('remat')))
    later = policies[policies.index(model.remat) + 1 :] if policies else []
    found = [[], wide, *([*wide, f'--config.model.remat={policy}'] for policy in later)]
    return [each for i, each in enumerate(found) if each not in found[:i]][: COMPILES - 1]


def search(spec: str, assignments: list[str], topology: Topology, say: Callable[[str], None]) -> dict[str, dict]:
    """The reports of the first of `tries` that fits, or of the last one; `say` takes lines of progress."""
    todo = tries(read_experiment(spec, _with_slices(assignments, topology)), topology)
    shown = [' '.join(each) or 'as it stands' for each in todo]
    say('\n'.join(['search, in this order until one fits:', *(f'  {i + 1}. {each}' for i, each in enumerate(shown))]))
    for each, name in zip(todo, shown, strict=True):
        found = plan(spec, [*assignments, *each], topology, ('train',))
        say(f'{name}: {fit(found["train"])}')
        if found['train']['fits']:
            return found | plan(spec, [*assignments, *each], topology, ('sample',))
    return found


def fit(found: dict) -> str:
    """'fits, 3.2 GiB left of 95.7', or by how much not."""
    total, chip = found['bytes_per_chip']['total'], found['chip_bytes']
    if found['fits']:
        return f'fits, {gib(chip - total)} GiB left of {gib(chip)}'
    return f'does not fit, {gib(total - chip)} GiB more than the {gib(chip)} of a chip'


def as_json(found: dict[str, dict]) -> str:
    return json.dumps({program: {key: report[key] for key in KEYS} for program, report in found.items()}, indent=2)


def table(found: dict[str, dict], topology: Topology) -> str:
    """The reports as text."""
    report = next(iter(found.values()))
    mesh = ', '.join(f'{axis}={size}' for axis, size in report['mesh'].items() if size > 1) or 'one device'
    slices = f'{topology.slices} slices of ' if topology.slices > 1 else ''
    name = f'{topology.name} ({topology.cloud_name})' if topology.chip else topology.name
    lines = [f'{slices}{name}: {report["chips"]} chips, {report["devices"]} devices; mesh {mesh}']
    for program, report in found.items():
        lines += ['', *_described(program, report)]
    return '\n'.join(lines)


def _described(program: str, found: dict):
    parts, steps = found['bytes_per_chip'], found['steps']
    per_step = lambda value: f' ({value / steps:.4g} a sampler step)' if program == 'sample' else ''
    what = f'{found["batch"]} videos' + (f', {steps} sampler steps in all' if program == 'sample' else ' a step')
    held = ', '.join(f'{name} {gib(size)}' for name, size in parts.items() if name != 'total')
    yield f'{program}: {what}'
    yield f'  memory per chip     {gib(parts["total"])} GiB: {held}; {fit(found)}'
    yield f'  FLOPs per chip      {found["flops_per_chip"]:.4g}{per_step(found["flops_per_chip"])}'
    if (seconds := found['roofline_seconds']) is not None:
        least = ', '.join(f'{name} {value:.4g}' for name, value in found['parts'].items())
        yield f'  roofline            {seconds:.4g} s{per_step(seconds)}: {least}'
        yield f'  predicted MFU       {found["predicted_mfu"]:.1%} at most'
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


def rows(files: list[Path], say: Callable[[str], None]) -> list[str]:
    """A row of docs/plans.md for each experiment file, compiled for the machine it names."""
    found = []
    for file in files:
        say(f'{file} …')
        name, assignments = target_of(str(file))
        report = plan(str(file), assignments, read_topology(name), ('train',))['train']
        mfu, seconds = report['predicted_mfu'], report['roofline_seconds']
        cells = (
            f'`{file.name}`',
            name,
            str(report['batch']),
            f'{gib(report["bytes_per_chip"]["total"])} of {gib(report["chip_bytes"])} GiB',
            '-' if seconds is None else f'{seconds:.3g} s',
            '-' if mfu is None else f'{mfu:.0%}',
        )
        found.append(f'| {" | ".join(cells)} |')
    return found


def write_rows(found: list[str], out: str) -> None:
    """Puts rows where the file `out` has its old ones.

    Raises:
      UserError: the file has no place for them.
    """
    text = Path(out).read_text() if Path(out).is_file() else ''
    if BEGIN not in text or END not in text:
        raise UserError(f'--out={out}: no lines {BEGIN} and {END} in it')
    head = [
        '| experiment | topology | batch | memory per chip | least step | predicted MFU, at most |',
        '|' + ' --- |' * 6,
    ]
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    Path(out).write_text('\n'.join([before + BEGIN, '', *head, *found, '', after]))


def gib(size: float) -> str:
    return f'{size / GIB:.3g}' if abs(size) < 100 * GIB else f'{size / GIB:.0f}'
