"""Commands on runs: train, inspect, benchmark."""

import argparse
import functools
import json
from typing import TYPE_CHECKING

from vdm_jax.cli import exit_codes
from vdm_jax.cli.restore import make_run, options_to_compare
from vdm_jax.errors import UserError

if TYPE_CHECKING:
    from vdm_jax.experiment.experiment import Experiment


def train(args: argparse.Namespace, assignments: list[str], ends_process: bool) -> int:
    """Train an experiment; resume the one that the run directory holds."""
    from vdm_jax.cli import warm_start
    from vdm_jax.experiment.run import Run
    from vdm_jax.parallel import processes, stop
    from vdm_jax.train import loop
    from vdm_jax.train.consistency import check_same_on_all

    warm_start.check_options(args)
    with stop.catch_signals() as stop_requested:
        # A mistake that one process alone can see ends all of them.
        run = processes.raise_on_all(lambda: Run(choose_experiment(args, assignments)))
        check_same_on_all(lambda: {'config': run.resolved, 'clips': run.data.dataset_id} | options_to_compare(args))
        processes.raise_on_all(run.check)

        read_weights = functools.partial(warm_start.read_weights, run, args) if args.origin else None
        leave = stop.ignore_signals if ends_process else loop.do_nothing
        is_done = loop.train_run(run, args.workdir, stop_requested, read_weights, leave)
    return exit_codes.DONE if is_done else exit_codes.STOPPED


def choose_experiment(args: argparse.Namespace, assignments: list[str]) -> 'Experiment':
    """Return the experiment of --config, else that of the run directory, else, where no run is there, that of --from.

    Raises:
      UserError: There is none, or it is not valid.
    """
    from vdm_jax.cli import warm_start
    from vdm_jax.config.experiment_file import override
    from vdm_jax.experiment.experiment import experiment_from, read_experiment
    from vdm_jax.train.workdir import has_config, read_config

    if args.config:
        return read_experiment(args.config, assignments)
    begins_from_other = args.origin and not has_config(args.workdir)
    config = warm_start.read_config(args.origin) if begins_from_other else read_config(args.workdir)
    return experiment_from(override(config, assignments))


def inspect(args: argparse.Namespace, assignments: list[str]) -> int:
    """Print checkpoints, fingerprints and sizes of a run, of a file of weights, or of an experiment."""
    from vdm_jax.experiment.experiment import read_experiment
    from vdm_jax.experiment.run import Run
    from vdm_jax.pretrained import weights
    from vdm_jax.train.inspect import format_report, inspect_experiment, inspect_run
    from vdm_jax.train.workdir import read_config

    if args.config and (args.workdir or args.step is not None):
        raise UserError('inspect: --config=FILE is of no run; leave it out, or --workdir and --step')
    if args.weights and (args.config or args.workdir or args.step is not None):
        raise UserError('inspect: --weights=FILE is one step of no run directory; leave the other options out')

    format_text = format_report
    if args.weights:
        report = weights.inspect(args.weights)
        format_text = weights.table
    elif args.config:
        report = inspect_experiment(Run(read_experiment(args.config, assignments)))
    elif args.workdir:
        report = inspect_run(make_run(read_config(args.workdir), assignments), args.workdir, args.step)
    else:
        raise UserError('inspect: say what: --workdir=DIR, --weights=FILE, or --config=FILE')

    print(json.dumps(report, indent=2) if args.json else format_text(report))
    # What could be read is printed all the same.
    if 'mistake' in report:
        raise UserError(report['mistake'])
    return exit_codes.DONE


def benchmark(args: argparse.Namespace, assignments: list[str]) -> int:
    """Measure step time, model FLOP/s, waiting for data, checkpoint stall and compilation."""
    from vdm_jax.benchmark.steps import measure, table
    from vdm_jax.experiment.experiment import read_experiment
    from vdm_jax.experiment.run import Run

    if args.steps is not None and args.steps < 1:
        raise UserError(f'--steps={args.steps}: want 1 or more')
    run = Run(read_experiment(args.config, assignments))
    run.check()
    measurements = measure(run, args.steps)
    print(json.dumps(measurements, indent=2) if args.json else table(measurements))
    return exit_codes.DONE
