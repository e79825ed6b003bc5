"""Commands on runs: train, inspect, benchmark."""

import functools
import json

from vdm_jax.cli.restore import run_of, said
from vdm_jax.errors import UserError


def train(args, assignments):
    """train an experiment in a run directory, or go on with the one that is there"""
    from vdm_jax.cli import warm_start
    from vdm_jax.experiment.run import Run
    from vdm_jax.parallel import processes, stop
    from vdm_jax.train import loop
    from vdm_jax.train.consistency import check_same_on_all

    warm_start.check_options(args)
    with stop.catch_signals() as asked:
        run = processes.raise_on_all(lambda: Run(asked_experiment(args, assignments)))
        check_same_on_all(lambda: {'config': run.resolved, 'clips': run.data.dataset_id} | said(args))
        processes.raise_on_all(run.check)
        weights = functools.partial(warm_start.read_weights, run, args) if args.origin else None
        leave = stop.ignore_signals if args.ends_process else lambda: None
        return 0 if loop.train_run(run, args.workdir, asked, weights, leave) else 3


def asked_experiment(args, assignments):
    """That of --config; where it is not given that of the run directory, or, where no run is there, that of --from."""
    from vdm_jax.cli import warm_start
    from vdm_jax.config.experiment_file import override
    from vdm_jax.experiment.experiment import experiment_from, read_experiment
    from vdm_jax.train.workdir import has_config, read_config

    if args.config:
        return read_experiment(args.config, assignments)
    begins = args.origin and not has_config(args.workdir)
    groups = warm_start.read_config(args.origin) if begins else read_config(args.workdir)
    return experiment_from(override(groups, assignments))


def inspect(args, assignments):
    """what a run directory, a file of weights, or an experiment's network is: checkpoints, fingerprints, sizes"""
    from vdm_jax.experiment.experiment import read_experiment
    from vdm_jax.experiment.run import Run
    from vdm_jax.train.inspect import format_report, inspect_experiment, inspect_run
    from vdm_jax.train.workdir import read_config

    if args.config and (args.workdir or args.step is not None):
        raise UserError('inspect: --config=FILE is of no run; leave it out, or --workdir and --step')
    if args.weights and (args.config or args.workdir or args.step is not None):
        raise UserError('inspect: --weights=FILE is one step of no run directory; leave the other options out')
    if args.weights:
        return inspect_weights(args)
    if args.config:
        report = inspect_experiment(Run(read_experiment(args.config, assignments)))
    elif args.workdir:
        report = inspect_run(run_of(read_config(args.workdir), assignments), args.workdir, args.step)
    else:
        raise UserError('inspect: say what: --workdir=DIR, --weights=FILE, or --config=FILE')
    print(json.dumps(report, indent=2) if args.json else format_report(report))
    if 'mistake' in report:
        raise UserError(report['mistake'])
    return 0


def inspect_weights(args):
    """Prints what a file of weights is, once all of it is read and known to be as it was written."""
    from vdm_jax.pretrained import weights

    report = weights.inspect(args.weights)
    print(json.dumps(report, indent=2) if args.json else weights.table(report))
    return 0


def benchmark(args, assignments):
    """measure step time, model FLOP/s, waiting for data, checkpoint stall and compilation"""
    from vdm_jax.benchmark.steps import measure, table
    from vdm_jax.experiment.experiment import read_experiment
    from vdm_jax.experiment.run import Run

    if args.steps is not None and args.steps < 1:
        raise UserError(f'--steps={args.steps}: want 1 or more')
    run = Run(read_experiment(args.config, assignments))
    run.check()
    measurements = measure(run, args.steps)
    print(json.dumps(measurements, indent=2) if args.json else table(measurements))
    return 0
