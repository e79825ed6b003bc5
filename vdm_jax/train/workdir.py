"""A run directory's own papers: config.json, environment.json, and whose run it is."""

import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

import jax
from etils import epath

from vdm_jax.config import differences
from vdm_jax.errors import UserError

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

# Keys that may change between starts of one run: they decide how far it goes, what is written and where it computes,
# not what is learned.
FREE = tuple(
    f'config.{key}'
    for key in (
        'train.steps', 'train.log_every', 'train.checkpoint_every', 'train.sample', 'train.validate', 'checkpoint.',
        'evaluate.', 'sampler.', 'mesh.', 'model.scan', 'data.path', 'data.threads', 'data.prefetch', 'data.cache_mb',
        'data.max_broken',
    )
)  # fmt: skip


def claim(workdir, resolved: dict) -> None:
    """Writes config.json and environment.json, or checks that the run that is there is of the same experiment.

    Raises:
      UserError: workdir holds another experiment's run; nothing is written.
    """
    directory = epath.Path(workdir)
    if (directory / 'config.json').exists():
        found = differences(read_config(workdir), resolved)
        fixed = {key: pair for key, pair in found.items() if not key.startswith(FREE)}
        if fixed:
            key, (old, new) = next(iter(fixed.items()))
            more = f' (and {len(fixed) - 1} more keys differ)' if len(fixed) > 1 else ''
            raise UserError(
                f"{workdir} holds another experiment's run: {key} is {old} there and {new} here{more}; "
                'choose another --workdir'
            )
    elif (directory / 'checkpoints').exists():
        raise UserError(f'{workdir} has checkpoints but no config.json; choose another --workdir')
    directory.mkdir(parents=True, exist_ok=True)
    (directory / 'config.json').write_text(json.dumps(resolved, indent=2) + '\n')
    (directory / 'environment.json').write_text(json.dumps(environment(), indent=2) + '\n')


def read_config(workdir) -> dict:
    """The resolved config of a run.

    Raises:
      UserError: workdir holds no run.
    """
    path = epath.Path(workdir) / 'config.json'
    if not path.exists():
        raise UserError(f'--workdir={workdir}: no run there (no config.json); train one with python -m vdm_jax train')
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f'{path} is not JSON ({error}); it is written by train and not meant to be edited') from None


def environment() -> dict:
    """Versions, devices and commit, for whoever wants to run it again."""
    commit = subprocess.run(
        ['git', 'rev-parse', 'HEAD'], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return {
        'python': platform.python_version(),
        'platform': platform.platform(),
        'packages': {name: version for name in PACKAGES if (version := _version(name))},
        'devices': [str(device) for device in jax.devices()],
        'device_kind': jax.devices()[0].device_kind,
        'processes': jax.process_count(),
        'commit': commit.stdout.strip() or None,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
