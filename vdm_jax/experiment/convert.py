"""Other people's weights as a run directory: what sample, evaluate and train take up as if it had been trained here."""

import dataclasses

import jax

from vdm_jax import pretrained
from vdm_jax.codecs.image_codec import ImageVAECodec
from vdm_jax.config.experiment_file import override
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.guidance import Guidance
from vdm_jax.diffusion.samplers import Ancestral, Euler
from vdm_jax.diffusion.spacing import Linear
from vdm_jax.errors import UserError, describe_bad_tensors
from vdm_jax.experiment.experiment import Experiment, experiment_dict, experiment_from, read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.pretrained.fit import by_path, find_resized, fit
from vdm_jax.pretrained.network import Network
from vdm_jax.pretrained.report import Report
from vdm_jax.pretrained.sd_vae import Autoencoder
from vdm_jax.train import ema, lock
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.inspect import find_not_finite
from vdm_jax.train.optimizers import AdamW
from vdm_jax.train.resume import position
from vdm_jax.train.workdir import check_workdir, make_workdir, model_differences, write_run_files


def convert(
    opened, out, spec: str | None = None, assignments: list[str] = (), allow_missing: bool = False
) -> tuple[Run, Report]:
    """Writes step 0 of a run whose parameters and averages are those of `opened`, what pretrained.load gave.

    spec: the experiment that it is to be a run of, so that `train --config=SPEC --workdir=OUT` goes on from here; where
    not given, one of the source's own objective and sampler on noise of the right shape. assignments go on top.
    allow_missing: let parameters that the experiment's network has in another shape, as a table of other classes, start
    fresh; the report names them.

    Raises:
      UserError: the experiment's network is not that of the checkpoint, or `out` holds a run already.
    """
    if spec:
        experiment = read_experiment(spec, list(assignments))
    else:
        experiment = experiment_from(override(experiment_dict(usual(opened)), list(assignments)))
    run = Run(experiment)
    lost = check_same(model_of(opened), run.model_config, allow_missing)
    if wrong := find_not_finite(opened.params):
        raise UserError(f'--checkpoint: {describe_bad_tensors(wrong)}; it has diverged or is damaged, take another one')
    make_workdir(out)
    check_workdir(out, run.resolved)
    where = position(run, 0)  # with the codec's weights read: what fails does so before anything is written
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
            lambda: state.params,
            allow_missing,
            'the checkpoint',
            lost,
        )
        state = dataclasses.replace(state, params=params, ema=ema.init(experiment.ema, params))
        write_run_files(out, run.resolved)
        checkpoints.save(0, state, where)
        checkpoints.wait()
    return run, report


def usual(opened) -> Experiment:
    """An experiment for a checkpoint alone: its network and objective, the sampler of its papers, clips of noise."""
    optim = AdamW(learning_rate=1e-4, clip=None)  # that of DiT, SiT and Latte
    if not isinstance(opened, Network):
        model = opened.config.model
        pixels = max(256, model.factor)
        data = Synthetic(frames=1, pixels=pixels, channels=model.in_channels, size=1, classes=0)
        return Experiment(data=data, model=model, optim=optim)
    model, objective = opened.config, opened.objective
    frames, rows, _ = model.grid
    data = Synthetic(frames * model.time_patch, rows * model.patch, model.channels, classes=model.classes)
    if isinstance(objective.process, DDPM):
        learned = objective.variance == 'learned_range'
        sampler = Ancestral(steps=250, spacing=Linear(), variance='learned' if learned else 'small')
    else:
        sampler = Euler(steps=250)
    guidance = Guidance(channels=opened.guided_channels)
    return Experiment(data=data, model=model, diffusion=objective, sampler=sampler, guidance=guidance, optim=optim)


def model_of(opened):
    """The config of the network that pretrained.load opened."""
    return opened.config.model if isinstance(opened.config, ImageVAECodec) else opened.config


def check_same(theirs, model, allow_missing: bool = False, called: str = 'the checkpoint') -> set[str]:
    """Whether an experiment's network has the parameters of another, `theirs`; paths of those that have another shape
    in it, where they may.

    Raises:
      UserError: the networks differ, in more than shapes of parameters where those may be missing.
    """
    if type(theirs) is not type(model):
        raise UserError(f'config.model: {called} is of a {type(theirs).__name__}, not of a {type(model).__name__}')
    differing = model_differences(*(dataclasses.asdict(each.with_explicit_sizes()) for each in (model, theirs)))
    if allow_missing:
        return find_resized(model, fields_of(differing), shapes_of, called)
    if differing:
        key, (ours, checkpoint) = next(iter(differing.items()))
        raise UserError(f'{key}={ours}: {called} has {checkpoint}{advice(model, differing)}')
    return set()


def advice(model, differing: dict) -> str:
    """What --allow-missing would do about keys in which a network differs from the checkpoint's; '' for nothing."""
    try:
        lost = find_resized(model, fields_of(differing), shapes_of, 'the checkpoint')
    except UserError:
        return ''
    return f'; with --allow-missing {", ".join(sorted(lost)[:2])}{" …" if len(lost) > 2 else ""} would start fresh'


def fields_of(differing: dict[str, tuple]) -> dict[str, tuple]:
    """Keys config.model.FIELD by their fields."""
    return {key.removeprefix('config.model.'): values for key, values in differing.items()}


def shapes_of(model) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's parameters by their paths; nothing is allocated."""
    return {name: leaf.shape for name, leaf in by_path(model.abstract_params()).items()}


def load(args) -> object:
    """What pretrained.load makes of the options of `convert`.

    Raises:
      UserError: the source is nothing that runs; or what pretrained.load raises.
    """
    source = pretrained.SOURCES.get(args.source)
    if source and not issubclass(source.MODEL, (Network, Autoencoder)):
        raise UserError(f'--source={args.source}: nothing that trains or samples; runs read its file as it is')
    return pretrained.load(
        args.source, args.checkpoint, entry=args.entry, heads=args.heads, allow_missing=args.allow_missing
    )
