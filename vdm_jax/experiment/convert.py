"""Convert a third-party checkpoint into a run directory, which sample, evaluate and train take as one of our own."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath

from vdm_jax.codecs.image_codec import ImageVAECodec
from vdm_jax.config.experiment_file import override
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.guidance import Guidance
from vdm_jax.diffusion.samplers import Ancestral, Euler, Sampler
from vdm_jax.diffusion.spacing import Linear
from vdm_jax.errors import UserError, describe_bad_tensors
from vdm_jax.experiment.experiment import Experiment, experiment_dict, experiment_from, read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.nn.config import NetworkConfig
from vdm_jax.pretrained.fit import by_path, find_resized, fit
from vdm_jax.pretrained.network import Network
from vdm_jax.pretrained.report import Report
from vdm_jax.pretrained.sd_vae import Autoencoder
from vdm_jax.train import ema, lock
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.inspect import find_not_finite
from vdm_jax.train.optimizers import AdamW
from vdm_jax.train.resume import describe_position
from vdm_jax.train.same_network import Differences, model_differences
from vdm_jax.train.workdir import check_workdir, make_workdir, write_run_files

Opened = Network | Autoencoder


def convert(
    opened: Opened,
    out: epath.PathLike,
    spec: str | None = None,
    assignments: Sequence[str] = (),
    allow_missing: bool = False,
) -> tuple[Run, Report]:
    """Write step 0 of a run whose parameters and averages are those of a third-party checkpoint.

    Args:
      opened: The checkpoint, as pretrained.load returns it.
      out: Run directory to make.
      spec: Experiment that it is to be a run of, so that `train --config=SPEC --workdir=OUT` goes on from here; None
        for one of the source's own objective and sampler, on noise of the right shape.
      assignments: Set on top of the experiment.
      allow_missing: Let parameters that the experiment's network has in another shape, as a table of other classes,
        start fresh; the report names them.

    Raises:
      UserError: The experiment's network is not that of the checkpoint, or `out` holds a run already.
    """
    if spec:
        experiment = read_experiment(spec, list(assignments))
    else:
        experiment = experiment_from(override(experiment_dict(make_experiment(opened)), list(assignments)))
    run = Run(experiment)
    # Networks are compared before anything is made in `out`, which a mistake leaves as it was.
    resized = check_same_parameters(model_of(opened), run.model_config, allow_missing)
    if not_finite := find_not_finite(opened.params):
        raise UserError(
            f'--checkpoint: {describe_bad_tensors(not_finite)}; it has diverged or is damaged, take another one'
        )
    make_workdir(out)
    check_workdir(out, run.resolved)
    # It reads the codec's weights: what fails does so before anything is written.
    data_position = describe_position(run, 0)

    with (
        lock.hold(out),
        jax.set_mesh(run.mesh),
        Checkpoints(f'{out}/checkpoints', experiment.checkpoint, writes=True) as checkpoints,
    ):
        if checkpoints.steps():
            raise UserError(f'--out={out}: holds a run already; choose another directory')
        state = run.programs.init_state()
        params, report = fit(
            by_path(opened.params),
            run.programs.abstract_state.params,
            lambda: state.params,  # initial ones, for what is missing
            allow_missing,
            'the checkpoint',
            resized,
        )
        state = dataclasses.replace(state, params=params, ema=ema.init(experiment.ema, params))
        write_run_files(out, run.resolved)
        checkpoints.save(0, state, data_position)
        checkpoints.wait()
    return run, report


def make_experiment(opened: Opened) -> Experiment:
    """Return an experiment for a checkpoint alone: its network and objective, its papers' sampler, clips of noise."""
    optim = AdamW(learning_rate=1e-4, clip=None)  # that of DiT, SiT and Latte
    if isinstance(opened, Network):
        return _denoising_experiment(opened, optim)

    model = opened.config.model
    # What the VAE was trained on has 256 pixels; a larger factor leaves no latent of them.
    pixels = max(256, model.factor)
    data = Synthetic(frames=1, pixels=pixels, channels=model.in_channels, size=1, classes=0)
    return Experiment(data=data, model=model, optim=optim)


def _denoising_experiment(opened: Network, optim: AdamW) -> Experiment:
    """Return the experiment of a network that denoises."""
    model = opened.config
    assert model.grid is not None and model.channels is not None and model.classes is not None  # the checkpoint's own
    frames, rows, _ = model.grid
    data = Synthetic(frames * model.time_patch, rows * model.patch, model.channels, classes=model.classes)

    objective = opened.objective
    sampler: Sampler
    if isinstance(objective.process, DDPM):
        learns_variance = objective.variance == 'learned_range'
        sampler = Ancestral(steps=250, spacing=Linear(), variance='learned' if learns_variance else 'small')
    else:
        sampler = Euler(steps=250)
    guidance = Guidance(channels=opened.guided_channels)
    return Experiment(data=data, model=model, diffusion=objective, sampler=sampler, guidance=guidance, optim=optim)


def model_of(opened: Opened) -> NetworkConfig:
    """Return the config of the network that pretrained.load opened."""
    return opened.config.model if isinstance(opened.config, ImageVAECodec) else opened.config


def check_same_parameters(
    theirs: NetworkConfig, model: NetworkConfig, allow_missing: bool = False, called: str = 'the checkpoint'
) -> set[str]:
    """Check that an experiment's network has the parameters of another one.

    Args:
      theirs: Config of the network that the weights are of.
      model: Config of the experiment's network.
      allow_missing: Whether parameters may have other shapes.
      called: What messages call the weights.

    Returns:
      Paths of the parameters that have another shape.

    Raises:
      UserError: The networks differ, in more than shapes of parameters where those may be missing.
    """
    # Two classes of networks may have fields of the same names.
    if type(theirs) is not type(model):
        raise UserError(f'config.model: {called} is of a {type(theirs).__name__}, not of a {type(model).__name__}')
    differences = model_differences(_explicit_fields(model), _explicit_fields(theirs))
    # A difference that is allowed must still be one of shapes: other meanings of the same parameters are refused.
    if allow_missing:
        return find_resized(model, _by_field(differences), param_shapes, called)
    if differences:
        key, (ours, checkpoint) = next(iter(differences.items()))
        raise UserError(f'{key}={ours}: {called} has {checkpoint}{_suggest_allow_missing(model, differences)}')
    return set()


def _explicit_fields(model: NetworkConfig) -> dict[str, Any]:
    """Return the fields of a network's config; a name of a size, such as XL, equals the numbers that it stands for."""
    return model.with_explicit_sizes().field_values()


def _suggest_allow_missing(model: NetworkConfig, differences: Differences) -> str:
    """Return what --allow-missing would do about the keys in which two networks differ, '' for nothing."""
    try:
        resized = find_resized(model, _by_field(differences), param_shapes, 'the checkpoint')
    except UserError:
        return ''
    more = ' …' if len(resized) > 2 else ''
    return f'; with --allow-missing {", ".join(sorted(resized)[:2])}{more} would start fresh'


def _by_field(differences: Differences) -> Differences:
    """Return differences by the field of config.model in place of the dotted key."""
    return {key.removeprefix('config.model.'): values for key, values in differences.items()}


def param_shapes(model: NetworkConfig) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of a network's parameters by their paths; nothing is allocated."""
    return {name: leaf.shape for name, leaf in by_path(model.abstract_params()).items()}
