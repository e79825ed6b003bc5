"""Weights that a run uses and does not learn, such as its codec's: from a run directory or a file of weights."""

import dataclasses
import functools

import jax

from vdm_jax import files
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.parallel import processes
from vdm_jax.train import workdir


def load(run) -> dict:
    """{what for: weights}, as run.programs.abstract_frozen has them, whole on every device of the run's mesh.

    Raises:
      UserError: the config does not say where they lie, nothing is there, or it is of another network.
    """
    groups = {'codec': run.experiment.codec, 'lpips': run.experiment.reconstruction}
    read = {'codec': codec_weights, 'lpips': lpips_weights}
    found = {}
    for name, shapes in run.programs.abstract_frozen.items():
        tree = processes.raise_on_all(functools.partial(read[name], run, groups[name], shapes))
        found[name] = jax.tree.map(lambda leaf, shape: jax.device_put(leaf, shape.sharding), tree, shapes)
    return found


def codec_weights(run, codec, shapes: dict) -> dict:
    """Those that config.codec.path names: a run directory of an autoencoder, or what `export` made of one."""
    from vdm_jax.pretrained import weights

    def made_by(config):
        return run.with_experiment(experiment_from(config | {'mesh': {}}))

    path = codec.path
    if path is None:
        raise UserError(
            'config.codec.path is not set: it names the run directory of an autoencoder, trained or made by '
            'python -m vdm_jax convert, or a file that export made of one'
        )
    called = f'config.codec.path={path}'
    if files.is_directory(path, called):
        maker = made_by(workdir.read_config(path))
        check_same(codec, maker.model_config, path)
        return ema_of(maker, path)
    check_same(codec, made_by(weights.about(path, called)['config']).model_config, path)
    return weights.load(path, shapes, called)


def check_same(codec, model, path) -> None:
    """Whether the weights at `path` are of the codec's network."""
    if type(model) is not type(codec.model):
        raise UserError(f'config.codec.path={path}: holds a {type(model).__name__}, not a {type(codec.model).__name__}')
    found = workdir.model_differences(*map(dataclasses.asdict, (codec.model, model)), where='config.codec.model')
    if found:
        key, (ours, theirs) = next(iter(found.items()))
        raise UserError(f'{key}={ours}: the weights of config.codec.path={path} have {theirs}')


def ema_of(run, path) -> dict:
    """The averaged weights of a run's newest checkpoint."""
    from vdm_jax.train import ema
    from vdm_jax.train.checkpoint import Checkpoints

    with jax.set_mesh(run.mesh), Checkpoints(f'{path}/checkpoints', run.experiment.checkpoint) as checkpoints:
        params, _ = checkpoints.restore_one(run.programs.abstract_state, average=ema.first_name(run.experiment.ema))
    return jax.device_get(params)


def lpips_weights(run, reconstruction, shapes: dict) -> dict:
    """Those that config.reconstruction.lpips_path names."""
    from vdm_jax import pretrained

    files.is_directory(reconstruction.lpips_path, f'config.reconstruction.lpips_path={reconstruction.lpips_path}')
    return pretrained.load('lpips', reconstruction.lpips_path).params
