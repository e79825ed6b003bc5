"""A run directory's own papers: config.json, environment.json, and whose run it is."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from pathlib import Path

import jax
from etils import epath

from vdm_jax.config import differences
from vdm_jax.errors import UserError
from vdm_jax.files import is_local

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

# Keys that may change between starts of one run: they decide how far it goes, what is written and where it computes.
# (How far it goes also moves what is left of a cosine schedule.)
FREE = tuple(
    f'config.{key}'
    for key in (
        'train.steps', 'train.accumulate', 'train.log_every', 'train.checkpoint_every', 'train.sample',
        'train.validate', 'checkpoint.', 'evaluate.', 'profile.', 'sampler.', 'guidance.', 'mesh.', 'model.scan',
        'model.remat', 'model.attention.', 'data.path', 'data.threads', 'data.prefetch', 'data.cache_mb',
        'data.max_broken', 'data.limits', 'data.text', 'codec.path', 'latents', 'text',
    )
)  # fmt: skip


# Keys of a source that came later, with what was done before there was a choice.
LATER_KEYS = {'video_folder': {'pixel_aspect': 'stored'}, 'tfds': {'pixel_aspect': 'stored'}}

# How a network is computed, and which clips it has seen: no weight hangs on these.
COMPUTING = ('attention', 'remat', 'scan', 'dtype', 'grid', 'images')


def unlike(ours: dict, theirs: dict, where: str = 'config.model') -> dict[str, tuple]:
    """Dotted keys at which two configs of a network differ in more than COMPUTING, with both values: the weights of one
    are not the other's. The places of learned positions are weights."""
    weightless = set(COMPUTING) - ({'grid'} if 'learned' in ours.get('position', '') else set())
    keep = lambda model: {key: value for key, value in model.items() if key not in weightless}
    return differences(keep(ours), keep(theirs), where)


def check_workdir(workdir, resolved: dict) -> None:
    """Makes the run directory, or checks that the run that is there is of the same experiment and can go on.

    At step 0 it is of the same network: its weights are a beginning, of whatever is to be learned.

    Raises:
      UserError: workdir holds another experiment's run, or one that is past the last step, or cannot be written.
    """
    directory = epath.Path(workdir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--workdir={workdir}: cannot be made ({error.strerror}); choose another') from None
    if is_local(workdir) and not os.access(directory, os.W_OK):
        raise UserError(f'--workdir={workdir}: cannot be written; choose another')
    checkpoints = directory / 'checkpoints'
    steps = [int(path.name) for path in checkpoints.iterdir() if path.name.isdigit()] if checkpoints.exists() else []
    if not steps:
        return
    if (directory / 'config.json').exists():
        there = read_config(workdir)
        found = differences(there, resolved)
        if max(steps) == 0:
            found = unlike(there['model'], resolved['model'])
        # What is free of one source is free of each of several.
        plain = lambda key: re.sub(r'\.(sources\.\d+|clips|images)(?=\.)', '', key)
        fixed = {key: pair for key, pair in found.items() if not plain(key).startswith(FREE)}
        if fixed:
            key, (old, new) = next(iter(fixed.items()))
            more = f' (and {len(fixed) - 1} more keys differ)' if len(fixed) > 1 else ''
            raise UserError(
                f"{workdir} holds another experiment's run: {key} is {old} there and {new} here{more}; "
                'choose another --workdir'
            )
    else:
        raise UserError(f'{workdir} has checkpoints but no config.json; choose another --workdir')
    if max(steps) > resolved['train']['steps']:
        raise UserError(
            f'config.train.steps={resolved["train"]["steps"]}: the run in {workdir} is at step {max(steps)} already; '
            'ask for more steps, or choose another --workdir'
        )


def write_papers(workdir, resolved: dict) -> None:
    """Writes config.json and environment.json where they are not there as they should be."""
    for name, value in (('config.json', resolved), ('environment.json', environment())):
        path, text = epath.Path(workdir) / name, json.dumps(value, indent=2) + '\n'
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def read_config(workdir) -> dict:
    """The resolved config of a run.

    Raises:
      UserError: workdir holds no run.
    """
    path = epath.Path(workdir) / 'config.json'
    if not path.exists():
        raise UserError(f'--workdir={workdir}: no run there (no config.json); train one with python -m vdm_jax train')
    try:
        return _with_later_keys(json.loads(path.read_text()))
    except json.JSONDecodeError as error:
        raise UserError(f'{path} is not JSON ({error}); it is written by train and not meant to be edited') from None


def _with_later_keys(config):
    """The config of a run, with the keys that its version did not know yet at what that version did."""
    if isinstance(config, list):
        return [_with_later_keys(item) for item in config]
    if not isinstance(config, dict):
        return config
    later = LATER_KEYS.get(config.get('source'), {})
    return later | {key: _with_later_keys(value) for key, value in config.items()}


def environment() -> dict:
    """Versions, devices and commit, for whoever wants to run it again."""
    return {
        'python': platform.python_version(),
        'platform': platform.platform(),
        'packages': {name: version for name in PACKAGES if (version := _version(name))},
        'devices': [str(device) for device in jax.devices()],
        'device_kind': jax.devices()[0].device_kind,
        'processes': jax.process_count(),
        'commit': _commit(),
    }


def _commit() -> str | None:
    """The package's own commit; None where there is no git, or the package lies in no checkout of its own."""
    ask = lambda *what: subprocess.run(
        ['git', 'rev-parse', *what], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    ).stdout.strip()
    try:
        return ask('HEAD') or None if ask('--show-toplevel') == str(Path(__file__).parents[2]) else None
    except OSError:
        return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
