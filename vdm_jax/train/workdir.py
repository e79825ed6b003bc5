"""A run directory's own papers: config.json, environment.json, and whose run it is."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from pathlib import Path

import jax
from etils import epath

from vdm_jax.config import check_groups, differences
from vdm_jax.errors import MisfitError, UserError
from vdm_jax.files import check_no_link, check_regular, is_local, read_json, sealed, unsealed, write_whole
from vdm_jax.old_configs import update_config
from vdm_jax.train.manifest import steps_of

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
        'train.validate', 'train.nonfinite', 'checkpoint.', 'evaluate.', 'profile.', 'log', 'sampler.', 'guidance.',
        'mesh.', 'model.scan', 'model.remat', 'model.attention.', 'data.path', 'data.threads', 'data.prefetch',
        'data.cache_mb', 'data.max_broken', 'data.limits', 'data.text', 'codec.path', 'latents', 'text',
    )
)  # fmt: skip

# What a run, and those who look at it, write in its directory.
FILES = 'config.json', 'environment.json', 'metrics.jsonl', 'metrics.jsonl.broken', 'run.lock'
DIRECTORIES = 'checkpoints', 'evals', 'profile', 'samples', 'tensorboard', 'wandb'

# How a network is computed, and which clips it has seen: no weight hangs on these.
COMPUTING = ('attention', 'remat', 'scan', 'dtype', 'grid', 'images')

# What may be another in sampling than in training, though it has a say in what comes out: it is for other sizes.
VARYING = ('rope_interpolate', 'position_span')

# What data and codec decide where it is not set.
FITTED = ('channels', 'classes', 'grid')


def unlike(ours: dict, theirs: dict, where: str = 'config.model') -> dict[str, tuple]:
    """Dotted keys at which two configs of a network differ in more than COMPUTING, with both values: the weights of one
    are not the other's. The places of learned positions are weights.
    """
    weightless = set(COMPUTING) - ({'grid'} if 'learned' in ours.get('position', '') else set())

    def keep(model):
        return {key: value for key, value in model.items() if key not in weightless}

    return differences(keep(ours), keep(theirs), where)


def make_workdir(workdir) -> None:
    """Makes the run directory where it is not there.

    Raises:
      UserError: it cannot be made or written.
    """
    directory = epath.Path(workdir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--workdir={workdir}: cannot be made ({error.strerror}); choose another') from None
    if is_local(workdir) and not os.access(directory, os.W_OK):
        raise UserError(f'--workdir={workdir}: cannot be written; choose another')


def check_places(workdir) -> None:
    """Whether what a run writes in its directory are files and directories there, and no links that lead elsewhere.

    Raises:
      UserError: one is something else.
    """
    if not is_local(workdir):
        return
    for name in (*FILES, *DIRECTORIES):
        check_no_link(f'{workdir}/{name}', f'--workdir={workdir}')
    for path in (os.path.join(workdir, name) for name in FILES):
        if os.path.lexists(path):
            check_regular(path)
    for path in (os.path.join(workdir, name) for name in DIRECTORIES):
        if os.path.lexists(path) and not os.path.isdir(path):
            raise UserError(f'{path}: is not a directory')


def check_workdir(workdir, resolved: dict) -> None:
    """Whether the run that is in a directory, if there is one, is of the same experiment and can go on.

    At step 0 it is of the same network: its weights are a beginning, of whatever is to be learned.

    Raises:
      UserError: workdir holds another experiment's run or its metrics, or a run that is past the last step, or one
        whose checkpoints are gone.
    """
    check_places(workdir)
    directory = epath.Path(workdir)
    steps = steps_of(directory / 'checkpoints')
    metrics = directory / 'metrics.jsonl'
    lines = metrics.read_bytes() if not steps and metrics.is_file() else b''
    if not steps and not lines:
        return
    if not has_config(workdir):
        what = 'checkpoints' if steps else 'the metrics.jsonl of a run'
        raise UserError(f'{workdir} has {what} but no config.json; choose another --workdir')
    check_alike(workdir, resolved, begins=bool(steps) and max(steps) == 0)
    # A run that is killed in its first save has begun one, and lost nothing; the second begins once the first is whole.
    saves = lines.count(b'checkpoint_seconds')
    if saves > 1 or (saves and is_local(workdir) and not (directory / 'checkpoints').exists()):
        raise UserError(
            f'{workdir}: its metrics.jsonl is of a run that saved checkpoints, and there are none; bring checkpoints/ '
            'back from a copy, or choose another --workdir'
        )
    if steps and max(steps) > resolved['train']['steps']:
        raise UserError(
            f'config.train.steps={resolved["train"]["steps"]}: the run in {workdir} is at step {max(steps)} already; '
            'ask for more steps, or choose another --workdir'
        )


def check_alike(workdir, resolved: dict, begins: bool) -> None:
    """Whether the run in a directory is of this experiment; where it only `begins` there, of this network.

    Raises:
      UserError: it is another one; names the first key.
    """
    there = read_config(workdir)
    found = unlike(there['model'], resolved['model']) if begins else differences(there, resolved)

    # What is free of one source is free of each of several.
    def plain(key):
        return re.sub(r'\.(sources\.\d+|clips|images)(?=\.)', '', key)

    fixed = {key: pair for key, pair in found.items() if not plain(key).startswith(FREE)}
    if not fixed:
        return
    key, (old, new) = next(iter(fixed.items()))
    more = f' (and {len(fixed) - 1} more keys differ)' if len(fixed) > 1 else ''
    raise UserError(
        f"{workdir} holds another experiment's run: {key} is {old} there and {new} here{more}; choose another --workdir"
    )


def check_network(there: dict, resolved: dict, called: str) -> None:
    """Whether weights are used in the network that they were trained in.

    Args:
      there: the resolved config of the run that they are of.
      resolved: the one that they are to be used in.
      called: what messages call the weights.

    Raises:
      UserError: a key of config.model is another one; names it, and what it is there.
    """
    ours = {key: value for key, value in resolved['model'].items() if key in there['model']}  # others came later
    changed = unlike(ours, there['model'])
    for name in VARYING:
        changed.pop(f'config.model.{name}', None)
    for name in FITTED:
        if there['model'].get(name) is None:
            changed.pop(f'config.model.{name}', None)
    if changed:
        key, (new, old) = next(iter(changed.items()))
        raise UserError(f'{key}={new}: {called} has {old}; leave it out')


@contextlib.contextmanager
def name_keys(there: dict, resolved: dict):
    """Within it, a checkpoint whose arrays do not fit a config is a mistake that names the key.

    Args: as check_network has them.

    Raises:
      MisfitError: the checkpoint is of other averages or another optimizer than `resolved` has.
    """
    try:
        yield
    except MisfitError as error:
        for group in ('ema', 'optim', 'model'):
            for key, (old, new) in differences(there.get(group, {}), resolved[group], f'config.{group}').items():
                raise MisfitError(f'{key}={new}: the checkpoint has {old} ({error})') from None
        raise


def write_papers(workdir, resolved: dict) -> None:
    """Writes config.json and environment.json where they are not there as they should be."""
    for name, value in (('config.json', sealed(resolved)), ('environment.json', environment())):
        path = epath.Path(workdir) / name
        content = (json.dumps(value, indent=2) + '\n').encode()
        if not path.exists() or path.read_bytes() != content:
            write_whole(path, content)


def has_config(workdir) -> bool:
    """Whether a directory holds a run's config.json."""
    return (epath.Path(workdir) / 'config.json').exists()


def read_config(workdir) -> dict:
    """The resolved config of a run, with today's keys.

    Raises:
      UserError: workdir holds no run, or its config.json is not what train wrote.
    """
    path = epath.Path(workdir) / 'config.json'
    if not has_config(workdir):
        raise UserError(f'--workdir={workdir}: no run there (no config.json); train one with python -m vdm_jax train')
    try:
        return update_config(check_groups(unsealed(read_json(path), str(path)), str(path)))
    except UserError as error:
        advice = 'it is written by train and not meant to be edited: bring it back from a copy'
        raise UserError(f'{error}; {advice}') from None


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

    def ask(*what):
        return subprocess.run(
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
