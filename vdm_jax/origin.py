"""Where the weights come from that are sampled, scored or exported: a run directory, or a file."""

from vdm_jax.errors import UserError

OF_DATA = 'clips', 'text'  # what a checkpoint's position says of them
SAMPLER_KEYS = {'steps': 'sampler.steps', 'guidance': 'guidance.scale'}


def origins(args) -> list[dict]:
    """Where weights come from: {'workdir': DIR}, {'weights': FILE}, or both."""
    found = [{name: value} for name in ('workdir', 'weights') if (value := getattr(args, name))]
    if not found:
        raise UserError('say where the weights are: --workdir=DIR or --weights=FILE')
    return found


def restored(origin: dict, args, assignments: list[str]):
    """A run with its averaged weights, from a run directory or a file of weights alone: (run, params, {step, ema,
    clips, and text, the encoder of its captions, where there is one})."""
    from vdm_jax.parallel.processes import together
    from vdm_jax.pretrained import weights
    from vdm_jax.train.alike import check_alike
    from vdm_jax.train.checkpoint import Checkpoints
    from vdm_jax.train.workdir import read_config

    flags = {key: getattr(args, name, None) for name, key in SAMPLER_KEYS.items()}
    chosen = [f'config.{key}={value}' for key, value in flags.items() if value is not None]
    size = getattr(args, 'size', None)
    if file := origin.get('weights'):
        if args.ema and not args.workdir:
            raise UserError(f'--ema={args.ema}: a file of weights holds one average; leave it out')
        about = together(lambda: weights.about(file))
        run = together(lambda: sampling_run(about['config'], assignments + chosen, size))
        check_alike(lambda: {'config': run.resolved} | said(args))
        found = {name: about[name] for name in ('step', 'ema', *OF_DATA) if name in about}
        return run, together(lambda: weights.load(file, run.abstract.params)), found
    run = together(lambda: sampling_run(read_config(origin['workdir']), assignments + chosen, size))
    check_alike(lambda: {'config': run.resolved} | said(args))
    place = f'{origin["workdir"]}/checkpoints'
    with jax_mesh(run), Checkpoints(place, run.experiment.checkpoint) as checkpoints:
        averages, step = checkpoints.restore_ema(run.abstract, args.step)
        where = checkpoints.position(step)
    decay = args.ema or run.experiment.ema.decays[0]
    if str(decay) not in averages:
        raise UserError(f'--ema={decay}: the run keeps averages with decay {", ".join(sorted(averages))}')
    found = {name: where[name] for name in OF_DATA if name in where}
    return run, averages[str(decay)], {'step': step, 'ema': decay} | found


def run_of(config: dict, assignments: list[str]):
    """The run that a resolved config describes, on the devices of this machine, whatever it was trained on."""
    from vdm_jax.build import experiment_from
    from vdm_jax.config import override
    from vdm_jax.run import Run

    return Run(experiment_from(override(config | {'mesh': {}}, assignments)))


def sampling_run(config: dict, assignments: list[str], size: str | None = None):
    """`run_of`, once its mesh and its attention are known to suit this machine; size: of the videos, that of training
    where it is None."""
    from vdm_jax import checks

    run = run_of(config, assignments)
    if size is not None:
        run = run_of_size(run, size)
    checks.check_mesh(run)
    checks.check_attention(run)
    return run


def run_of_size(run, size: str):
    """The run with clips, and so videos, of another size.

    Raises:
      UserError: its source, codec or network does not take it; names --size.
    """
    import dataclasses

    from vdm_jax import checks
    from vdm_jax.data.resized import resized
    from vdm_jax.frame_size import read_pixels

    pixels = read_pixels(size, '--size')
    try:
        experiment = dataclasses.replace(run.experiment, data=resized(run.experiment.data, pixels))
        run = dataclasses.replace(run, experiment=experiment)
        checks.check_positions(run)
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
    return {f'--{name}': value for name, value in vars(args).items() if name not in own}
