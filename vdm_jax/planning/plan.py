"""Plan an experiment: its programs are compiled in a process of their own (aot_worker.py), which may die of it."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vdm_jax.config.packaged import find_experiment
from vdm_jax.errors import UserError
from vdm_jax.parallel.hardware import Topology
from vdm_jax.planning.baselines import read_docstring

PROGRAMS = ('train', 'sample')
FEATURES = 'features'  # of samples, where the protocol of the run has a network that judges them
LONGEST_LINE = 300  # characters of a compiler's last words


def plan(
    spec: str, assignments: Sequence[str], topology: Topology, programs: Sequence[str] = (*PROGRAMS, FEATURES)
) -> dict[str, dict[str, Any]]:
    """Return {program: report} for an experiment on a machine; reports are those of aot_worker.make_report.

    Args:
      spec: FILE or FILE:ARG of the experiment.
      assignments: Overrides, --config.KEY=VALUE.
      topology: The machine.
      programs: Of PROGRAMS, and FEATURES, which is left out where the run's protocol has no network.

    Raises:
      UserError: a mistake in the experiment, or a program that the compiler died of.
    """
    request = {
        'config': spec,
        'assignments': with_slices(assignments, topology),
        'topology': topology.name,
        'slices': topology.slices,
        'programs': programs,
    }
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / 'reports'
        command = [sys.executable, '-m', 'vdm_jax.planning.aot_worker', json.dumps(request), str(out)]
        process = subprocess.run(command, env=_environment(topology), capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []

    # A line has one name or more; of a name that comes twice, the last value counts.
    values = {name: value for line in lines for name, value in line.items()}
    if process.returncode == 2 and 'error' in values:
        raise UserError(values['error'])
    # A negative code is the signal that ended it: compilers abort on what they do not expect.
    if process.returncode < 0:
        raise UserError(describe_crash(process, values, topology))
    if process.returncode:
        raise RuntimeError(f'{" ".join(command[:3])} failed:\n{process.stderr[-4000:]}')
    return {program: values[program] for program in programs if program != FEATURES or program in values}


def _environment(topology: Topology) -> dict[str, str]:
    """Return the environment of the worker, which finds this package wherever it is started."""
    paths = [str(Path(__file__).parents[2]), os.environ.get('PYTHONPATH', '')]
    return os.environ | topology.environment | {'PYTHONPATH': os.pathsep.join(filter(None, paths))}


def with_slices(assignments: Sequence[str], topology: Topology) -> list[str]:
    """Return the overrides, with the machine's slices in them."""
    slices = [f'--config.mesh.slices={topology.slices}'] if topology.slices > 1 else []
    return [*assignments, *slices]


def describe_crash(process: subprocess.CompletedProcess[str], values: Mapping[str, Any], topology: Topology) -> str:
    """Return one line about a compiler that was killed, or killed itself.

    Args:
      process: The worker's.
      values: What it reported before, by name.
      topology: The machine.
    """
    name = signal.Signals(-process.returncode).name
    crash = f'{topology.name}: the compiler died of {name} on the program {values.get("program", "before any")}'
    # The kernel kills what takes too much memory.
    if process.returncode == -signal.SIGKILL:
        return f'{crash}; this machine may have too little memory to compile it'

    # The compiler's last words: lines of absl's logging at level F, or a failed check.
    fatal = re.compile(r'F\d{4} |.*(Check failed|FATAL)')
    message = next((line for line in process.stderr.splitlines() if fatal.match(line)), 'nothing')
    mesh = {axis: size for axis, size in values.get('experiment', {}).get('mesh', {}).items() if size != 1}
    return f'{crash}, config.mesh={mesh}: choose another mesh. It said: {message[:LONGEST_LINE]}'


def read_target(spec: str) -> tuple[str, list[str]]:
    """Return (name of the topology, overrides) that an experiment file's docstring names.

    It has a line 'Topology: v5p:4x4x4', with overrides behind the name where planning needs some.

    Raises:
      UserError: no such file, or it has no such line.
    """
    file, _ = find_experiment(spec)
    line = re.search(r'^Topology: (\S+)(.*)$', read_docstring(file), flags=re.M)
    if not line:
        raise UserError(f'--topology=NAME is missing, and {file} has no line "Topology: NAME" in its docstring')
    return line[1], line[2].split()
