"""A run directory's own files: config.json, environment.json, and whose run it is."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
from etils import epath

from vdm_jax.config.experiment_file import check_groups
from vdm_jax.config.old_configs import update_config
from vdm_jax.config.schema import find_differences
from vdm_jax.errors import UserError
from vdm_jax.files import check_no_link, check_regular, is_local, read_json, seal, unseal, write_atomically
from vdm_jax.train.manifest import list_steps
from vdm_jax.train.same_network import model_differences
from vdm_jax.train.types import Resolved

PACKAGES = (
    'jax',
    'jaxlib',
    'flax',
    'optax',
    'orbax-checkpoint',
    'grain',
    'tensorflow-datasets',
    'ml-collections',
    'av',
)

# Prefixes of keys that may change between starts of one run: they decide how far it goes, what is written and where it
# computes.
# (How far it goes also moves what is left of a cosine schedule.)
FREE_KEYS = tuple(
    f'config.{key}'
    for key in (
        'train.steps', 'train.accumulate', 'train.log_every', 'train.checkpoint_every', 'train.sample',
        'train.validate', 'train.evaluate', 'train.nonfinite', 'checkpoint.', 'evaluate.', 'profile.', 'log',
        'sampler.', 'guidance.', 'mesh.', 'model.scan', 'model.remat', 'model.attention.', 'data.path', 'data.threads',
        'data.prefetch', 'data.cache_mb', 'data.max_broken', 'data.limits', 'data.text', 'codec.path', 'latents',
        'text',
    )
)  # fmt: skip

# What a run, and those who read it, write in its directory.
FILES = ('config.json', 'environment.json', 'metrics.jsonl', 'metrics.jsonl.broken', 'run.lock')
DIRECTORIES = ('checkpoints', 'evals', 'profile', 'samples', 'tensorboard', 'wandb')


def make_workdir(workdir: epath.PathLike) -> None:
    """Make the run directory where it is not there.

    Raises:
      UserError: It cannot be made or written.
    """
    directory = epath.Path(workdir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--workdir={workdir}: cannot be made ({error.strerror}); choose another') from None
    if is_local(workdir) and not os.access(directory, os.W_OK):
        raise UserError(f'--workdir={workdir}: cannot be written; choose another')


def check_paths(workdir: epath.PathLike) -> None:
    """Check that what a run writes in its directory are files and directories there, and no links that lead elsewhere.

    Raises:
      UserError: One is something else.
    """
    if not is_local(workdir):
        return
    # First of all: what is checked below must not lie somewhere else.
    for name in (*FILES, *DIRECTORIES):
        check_no_link(f'{workdir}/{name}', f'--workdir={workdir}')
    for name in FILES:
        path = os.path.join(workdir, name)
        if os.path.lexists(path):
            check_regular(path)
    for name in DIRECTORIES:
        path = os.path.join(workdir, name)
        if os.path.lexists(path) and not os.path.isdir(path):
            raise UserError(f'{path}: is not a directory')


def check_workdir(workdir: epath.PathLike, resolved: Resolved) -> None:
    """Check that the run in a directory, if there is one, is of the same experiment and can resume.

    One at step 0 is of the same network: its weights are initial ones, of whatever is to be learned.

    Raises:
      UserError: The directory holds another experiment's run or its metrics, or a run that is past the last step, or
        one whose checkpoints are gone.
    """
    check_paths(workdir)
    directory = epath.Path(workdir)
    steps = list_steps(directory / 'checkpoints')
    metrics = directory / 'metrics.jsonl'
    lines = metrics.read_bytes() if not steps and metrics.is_file() else b''
    if not steps and not lines:
        return

    if not has_config(workdir):
        what = 'checkpoints' if steps else 'the metrics.jsonl of a run'
        raise UserError(f'{workdir} has {what} but no config.json; choose another --workdir')
    check_same_experiment(workdir, resolved, weights_alone=bool(steps) and max(steps) == 0)

    # A run that is killed in its first save has begun one, and lost nothing; the second begins once the first is whole.
    saves = lines.count(b'checkpoint_seconds')
    has_lost_folder = is_local(workdir) and not (directory / 'checkpoints').exists()
    if saves > 1 or (saves and has_lost_folder):
        raise UserError(
            f'{workdir}: its metrics.jsonl is of a run that saved checkpoints, and there are none; bring checkpoints/ '
            'back from a copy, or choose another --workdir'
        )
    if steps and max(steps) > resolved['train']['steps']:
        raise UserError(
            f'config.train.steps={resolved["train"]["steps"]}: the run in {workdir} is at step {max(steps)} already; '
            'ask for more steps, or choose another --workdir'
        )


def check_same_experiment(workdir: epath.PathLike, resolved: Resolved, weights_alone: bool) -> None:
    """Check that the run in a directory is of this experiment; where it has `weights_alone`, of this network.

    Raises:
      UserError: It is another one; names the first key.
    """
    previous = read_config(workdir)
    if weights_alone:
        changes = model_differences(previous['model'], resolved['model'])
    else:
        changes = find_differences(previous, resolved)

    fixed = {key: values for key, values in changes.items() if not _is_free(key)}
    if not fixed:
        return
    key, (old, new) = next(iter(fixed.items()))
    more = f' (and {len(fixed) - 1} more keys differ)' if len(fixed) > 1 else ''
    raise UserError(
        f"{workdir} holds another experiment's run: {key} is {old} there and {new} here{more}; choose another --workdir"
    )


def _is_free(key: str) -> bool:
    """Whether a key may change between starts of one run."""
    # What is free of one source is free of each of several.
    key = re.sub(r'\.(sources\.\d+|clips|images)(?=\.)', '', key)
    return key.startswith(FREE_KEYS)


def write_run_files(workdir: epath.PathLike, resolved: Resolved) -> None:
    """Write config.json and environment.json where they are not there as they should be."""
    for name, value in (('config.json', seal(resolved)), ('environment.json', describe_environment())):
        path = epath.Path(workdir) / name
        content = (json.dumps(value, indent=2) + '\n').encode()
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content)


def has_config(workdir: epath.PathLike) -> bool:
    """Return whether a directory holds a run's config.json."""
    return bool((epath.Path(workdir) / 'config.json').exists())


def read_config(workdir: epath.PathLike) -> Resolved:
    """Return the resolved config of a run, with today's keys.

    Raises:
      UserError: The directory holds no run, or its config.json is not what train wrote.
    """
    path = epath.Path(workdir) / 'config.json'
    if not has_config(workdir):
        raise UserError(f'--workdir={workdir}: no run there (no config.json); train one with python -m vdm_jax train')
    try:
        return update_config(check_groups(unseal(read_json(path), str(path)), str(path)))
    except UserError as error:
        advice = 'it is written by train and not meant to be edited: bring it back from a copy'
        raise UserError(f'{error}; {advice}') from None


def describe_environment() -> dict[str, Any]:
    """Return versions, devices, commit and command line, for whoever wants to run it again, as JSON values."""
    versions = {name: _read_version(name) for name in PACKAGES}
    return {
        'python': platform.python_version(),
        'platform': platform.platform(),
        'packages': {name: version for name, version in versions.items() if version},
        'devices': [str(device) for device in jax.devices()],
        'device_kind': jax.devices()[0].device_kind,
        'processes': jax.process_count(),
        'commit': _read_commit(),
        # Of a notebook these are the arguments of its kernel.
        'command': sys.argv,
    }


def _read_commit() -> str | None:
    """Return the package's own commit; None where there is no git, or the package lies in no checkout of its own."""
    try:
        if _rev_parse('--show-toplevel') != str(Path(__file__).parents[2]):
            return None
        return _rev_parse('HEAD') or None
    except OSError:
        return None


def _rev_parse(what: str) -> str:
    command = ['git', 'rev-parse', what]
    ended = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return ended.stdout.strip()


def _read_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
