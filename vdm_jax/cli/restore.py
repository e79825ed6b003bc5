"""Where the weights come from that are sampled, scored or exported: a run directory, or a file."""

from vdm_jax.errors import UserError

RAW = 'raw'  # in place of the decay of an average: the parameters themselves
OPTION_KEYS = {  # what options of the command line are short for
    'steps': 'sampler.steps',
    'guidance': 'guidance.scale',
    'batch_size': 'evaluate.batch_size',
    'protocol': 'evaluate.protocol',
}


def origins(args) -> list[dict]:
    """Where weights come from: {'workdir': DIR}, {'weights': FILE}, or both."""
    found = [{name: value} for name in ('workdir', 'weights') if (value := getattr(args, name))]
    if not found:
        raise UserError('say where the weights are: --workdir=DIR or --weights=FILE')
    return found


def restored(origin: dict, args, assignments: list[str]):
    """A run with weights of it, from a run directory or a file of weights alone: (run, params, {step, ema, clips, and
    text and codec, fingerprints of the encoder of its captions and of its codec's weights, where there are some}).

    Where args have allow_other_codec, the codec is looked at: it is used, and must be that of training.

    Raises:
      UserError: no such run, step or average; another codec.
    """
    from vdm_jax.config.experiment_file import check_groups
    from vdm_jax.parallel.processes import raise_on_all
    from vdm_jax.pretrained import weights
    from vdm_jax.train.consistency import check_same_on_all
    from vdm_jax.train.workdir import check_network, read_config

    file = origin.get('weights')
    beside = args.workdir and vars(args).get('weights') == file  # the average of the run, not of the file
    for name in ('ema', 'step') if file and not beside else ():
        if (asked := vars(args).get(name)) is not None:
            raise UserError(f'--{name}={asked}: a file of weights holds one average of one step; leave it out')
    flags = {key: getattr(args, name, None) for name, key in OPTION_KEYS.items()}
    chosen = [f'config.{key}={value}' for key, value in flags.items() if value is not None]
    size = getattr(args, 'size', None)
    option = 'from' if vars(args).get('origin') == file else 'weights'
    called = f'--{option}={file}'
    about = raise_on_all(lambda: weights.about(file, called) if file else {'config': read_config(origin['workdir'])})
    if file:
        raise_on_all(lambda: check_groups(about['config'], called))
    run = raise_on_all(lambda: sampling_run(about['config'], assignments + chosen, size))
    check_same_on_all(lambda: {'config': run.resolved} | said(args))
    (place,) = origin.values()
    raise_on_all(lambda: check_network(about['config'], run.resolved, str(place)))
    params, about = weights_of(run, file, about, called) if file else checkpoint_of(run, place, about, args)
    if 'allow_other_codec' in vars(args):
        about |= codec_of(run, about, args.allow_other_codec)
    return run, params, about


def weights_of(run, file, about: dict, called: str) -> tuple[dict, dict]:
    """(params, what is said of them) of a file of weights."""
    from vdm_jax.parallel.processes import raise_on_all
    from vdm_jax.pretrained import weights

    provenance = {name: about[name] for name in ('step', 'ema', 'dtype', *weights.FINGERPRINTS) if name in about}
    return raise_on_all(lambda: weights.load(file, run.programs.abstract_state.params, called)), provenance


def checkpoint_of(run, workdir, about: dict, args) -> tuple[dict, dict]:
    """(params, what is said of them) of a checkpoint: one average, or with --ema=raw the parameters themselves."""
    from vdm_jax.parallel.processes import raise_on_all
    from vdm_jax.pretrained.weights import FINGERPRINTS, validate_about
    from vdm_jax.train.checkpoint import Checkpoints
    from vdm_jax.train.workdir import explain_misfit

    with jax_mesh(run), Checkpoints(f'{workdir}/checkpoints', run.experiment.checkpoint) as checkpoints:
        name = None if args.ema == RAW else decay_of(run, args.ema)
        with explain_misfit(about['config'], run.resolved):
            params, step = checkpoints.restore_one(run.programs.abstract_state, args.step, name)
        where = checkpoints.position(step)
    place = f'{workdir}/checkpoints/{step}: its position'
    where = raise_on_all(lambda: validate_about(where, place))
    ema = RAW if name is None else float(name)
    return params, {'step': step, 'ema': ema} | {name: where[name] for name in FINGERPRINTS if name in where}


def decay_of(run, decay: float | None) -> str:
    """The name of the average of a decay, the first of the config where it is None; numbers are compared, not texts.

    Raises:
      UserError: the run keeps none of that decay.
    """
    decays = run.experiment.ema.decays
    name = next((str(each) for each in decays if decay is None or each == decay), None)
    if name is None:
        kept = ', '.join(map(str, decays))
        raise UserError(
            f'--ema={decay}: the run keeps averages with decay {kept}; --ema={RAW} takes the parameters themselves'
        )
    return name


def codec_of(run, about: dict, allow_other: bool) -> dict:
    """The fingerprint of the codec that the run uses, and that of training where it is another one; {} for a run whose
    codec has no weights.

    Raises:
      UserError: it is another one, and that is not allowed.
    """
    now, was = run.codec_fingerprint, about.get('codec')
    if now is None or was in (None, now):
        return {'codec': now} if now else {}
    if not allow_other:
        raise UserError(
            f'config.codec.path={run.experiment.codec.path}: the network was trained on latents of the codec {was}, '
            f'and this is {now} (of a run at config.codec.path, its newest checkpoint): bring that one back, or say '
            '--allow-other-codec'
        )
    return {'codec': now, 'codec_of_training': was}


def run_of(config: dict, assignments: list[str]):
    """The run that a resolved config describes, on the devices of this machine, whatever it was trained on."""
    from vdm_jax.config.experiment_file import override
    from vdm_jax.experiment.experiment import experiment_from
    from vdm_jax.experiment.run import Run

    return Run(experiment_from(override(config | {'mesh': {}}, assignments)))


def sampling_run(config: dict, assignments: list[str], size: str | None = None):
    """`run_of`, once its mesh and its attention are known to suit this machine; size: of the videos, that of training
    where it is None.
    """
    run = run_of(config, assignments)
    if size is not None:
        run = run_of_size(run, size)
    run.network.config.check_mesh(run.mesh, run.network.inputs)
    return run


def run_of_size(run, size: str):
    """The run with clips, and so videos, of another size.

    Raises:
      UserError: its source, codec or network does not take it; names --size.
    """
    import dataclasses

    from vdm_jax.config.frame_size import read_pixels

    pixels = read_pixels(size, '--size')
    try:
        experiment = dataclasses.replace(run.experiment, data=run.data.source.with_pixels(pixels))
        run = run.with_experiment(experiment)
        run.model_config.check_shapes(run.network.latent_shapes)
    except UserError as error:
        raise UserError(f'--size={size}: {error}') from None
    return run


def jax_mesh(run):
    """The run's mesh, entered."""
    import jax

    return jax.set_mesh(run.mesh)


def said(args) -> dict:
    """The options of a command by name, but how its config and its other processes are found."""
    own = 'config', 'distributed', 'ends_process'

    def spelt(name):
        return 'from' if name == 'origin' else name.replace('_', '-')

    return {f'--{spelt(name)}': value for name, value in vars(args).items() if name not in own}
