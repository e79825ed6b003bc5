"""Asking for a plan: the real programs are compiled in a process of their own (ahead.py), which may die of it."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from vdm_jax.config.packaged import file_of
from vdm_jax.errors import UserError
from vdm_jax.parallel.hardware import Topology
from vdm_jax.planning.baselines import docstring

PROGRAMS = ('train', 'sample')


def plan(spec: str, assignments: list[str], topology: Topology, programs=PROGRAMS) -> dict[str, dict]:
    """{program: report} for an experiment on a machine; reports are those of ahead.report.

    Raises:
      UserError: a mistake in the experiment, or a program that the compiler died of.
    """
    request = {'config': spec, 'assignments': with_slices(assignments, topology), 'topology': topology.name}
    request |= {'slices': topology.slices, 'programs': programs}
    here = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get('PYTHONPATH'))))
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / 'reports'
        command = [sys.executable, '-m', 'vdm_jax.planning.aot_worker', json.dumps(request), str(out)]
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


def with_slices(assignments: list[str], topology: Topology) -> list[str]:
    """The overrides, with the machine's slices in them."""
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
      UserError: no such file, or it has no such line.
    """
    file, _ = file_of(spec)
    line = re.search(r'^Topology: (\S+)(.*)$', docstring(file), flags=re.M)
    if not line:
        raise UserError(f'--topology=NAME is missing, and {file} has no line "Topology: NAME" in its docstring')
    return line[1], line[2].split()
