"""Load frozen weights, those of a codec and of LPIPS: from a run directory or a file of weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

import jax
import jax.numpy as jnp

from vdm_jax import files
from vdm_jax.codecs.codec import Weights
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.nn.config import NetworkConfig
from vdm_jax.parallel import processes
from vdm_jax.train import workdir
from vdm_jax.train.same_network import model_differences

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run


class AutoencoderCodec(Protocol):
    """A codec that has weights, those of an autoencoder.

    Attributes:
      path: Where the weights lie.
      model: Config of the autoencoder.
    """

    @property
    def path(self) -> str | None: ...

    @property
    def model(self) -> NetworkConfig: ...


def load(run: Run) -> dict[str, Weights]:
    """Return frozen weights by what they are for, as run.programs.abstract_frozen has them, replicated on the mesh.

    Raises:
      UserError: The config does not say where they lie, nothing is there, or they are of another network.
    """
    readers: dict[str, Callable[[Run, Weights], Weights]] = {'codec': load_codec, 'lpips': load_lpips}

    def place(leaf: Any, shape: jax.ShapeDtypeStruct) -> jax.Array:
        placed: jax.Array = jax.device_put(leaf, shape.sharding)
        return placed

    frozen = {}
    for name, shapes in run.programs.abstract_frozen.items():
        # Every process reads; where one of them cannot, all of them stop with its error.
        weights = processes.raise_on_all(functools.partial(readers[name], run, shapes))
        frozen[name] = jax.tree.map(place, weights, shapes)
    return frozen


def load_codec(run: Run, shapes: Weights) -> Weights:
    """Return the weights that config.codec.path names: a run directory of an autoencoder, or an export of one."""
    from vdm_jax.pretrained import weights

    codec = cast(AutoencoderCodec, run.experiment.codec)  # as no other has weights
    path = codec.path
    if path is None:
        raise UserError(
            'config.codec.path is not set: it names the run directory of an autoencoder, trained or made by '
            'python -m vdm_jax convert, or a file that export made of one'
        )
    # A run's checkpoints hold more than its average: an export of the average alone is smaller, and taken as well.
    called = f'config.codec.path={path}'
    if files.is_directory(path, called):
        autoencoder = _run_of(run, workdir.read_config(path))
        check_same_autoencoder(codec, autoencoder.model_config, path)
        return load_average(autoencoder, path)
    check_same_autoencoder(codec, _run_of(run, weights.read_provenance(path, called)['config']).model_config, path)
    loaded: Weights = weights.load(path, shapes, called)
    return loaded


def _run_of(run: Run, config: Mapping[str, Any]) -> Run:
    """Return the run of another config on the devices of this one."""
    # The mesh it was trained on need not fit these devices.
    return run.with_experiment(experiment_from({**config, 'mesh': {}}))


def check_same_autoencoder(codec: AutoencoderCodec, model: NetworkConfig, path: str) -> None:
    """Check that the weights at `path` are of the codec's network.

    Raises:
      UserError: They are of another one; names the first key that differs.
    """
    if type(model) is not type(codec.model):
        raise UserError(f'config.codec.path={path}: holds a {type(model).__name__}, not a {type(codec.model).__name__}')
    differences = model_differences(codec.model.field_values(), model.field_values(), where='config.codec.model')
    if differences:
        key, (ours, theirs) = next(iter(differences.items()))
        raise UserError(f'{key}={ours}: the weights of config.codec.path={path} have {theirs}')


def load_average(run: Run, path: str) -> Weights:
    """Return the averaged weights of a run's newest checkpoint, on this host."""
    from vdm_jax.train import ema
    from vdm_jax.train.checkpoint import Checkpoints

    with jax.set_mesh(run.mesh), Checkpoints(f'{path}/checkpoints', run.experiment.checkpoint) as checkpoints:
        params, _ = checkpoints.restore_one(run.programs.abstract_state, average=ema.first_name(run.experiment.ema))
    # They lie on the autoencoder's own mesh, and the caller puts them on another.
    weights: Weights = jax.device_get(params)
    return weights


def load_lpips(run: Run, shapes: Weights) -> Weights:
    """Return the weights that config.reconstruction.lpips_path names, of LPIPS with VGG-16."""
    from vdm_jax import pretrained
    from vdm_jax.pretrained import store

    path = run.experiment.reconstruction.lpips_path
    assert path is not None  # it is set where LPIPS has a weight in the loss
    called = f'config.reconstruction.lpips_path={path}'
    file = store.find(path, called)
    # Nothing there is an error of the key, before the reader looks for tensors.
    files.is_directory(file, called)
    loaded = pretrained.load('lpips', file)
    # Weights of the same layers may be of other widths, too.
    if jax.tree.map(jnp.shape, loaded.params) != jax.tree.map(lambda leaf: leaf.shape, shapes):
        widths = ', '.join(map(str, loaded.config.widths))
        raise UserError(f'{called}: holds LPIPS with {loaded.config.name} of widths {widths}; the loss takes vgg16')
    weights: Weights = loaded.params
    return weights
