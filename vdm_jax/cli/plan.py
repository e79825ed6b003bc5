"""Commands that look ahead, and those that write pages of the docs: plan, plans, baselines, config."""

import argparse
import functools
import json
import sys

from vdm_jax.cli import exit_codes


def plan(args: argparse.Namespace, assignments: list[str]) -> int:
    """Predict memory, least time and collectives on a machine that need not be there."""
    from vdm_jax.parallel.hardware import read_topology
    from vdm_jax.planning import format, plan, search

    def report_progress(text: str) -> None:
        # With --json stdout holds nothing but the JSON.
        print(text, file=sys.stderr if args.json else sys.stdout)

    if args.topology:
        name = args.topology
    else:
        name, own_assignments = plan.read_target(args.config)
        # What the command line sets counts more than what the experiment file plans with.
        assignments = [*own_assignments, *assignments]
    topology = read_topology(name, args.slices)

    make_plan = functools.partial(search.search, report_progress=report_progress) if args.search else plan.plan
    reports = make_plan(args.config, assignments, topology)
    print(format.as_json(reports) if args.json else format.table(reports, topology))

    crossing = [f'{program}: {wrong}' for program, report in reports.items() for wrong in report['crossing']]
    if crossing and args.json:
        print('\n'.join(f'crosses slices: {wrong}' for wrong in crossing), file=sys.stderr)
    return exit_codes.FAILED if crossing else exit_codes.DONE


def plans(args: argparse.Namespace, assignments: list[str]) -> int:
    """Print the table of docs/plans.md: each experiment planned on the machine it names."""
    from vdm_jax.planning import baselines, docs, docs_tables

    if args.out:
        # Before the work, which takes long: a page without its marks is refused at once.
        docs_tables.between(args.out, docs.BEGIN, docs.END)

    def report_progress(text: str) -> None:
        print(text, file=sys.stderr)

    lines = docs.table(baselines.files(), report_progress)
    print('\n'.join(lines))
    if args.out:
        docs_tables.replace(args.out, docs.BEGIN, docs.END, lines)
    return exit_codes.DONE


def baselines(args: argparse.Namespace, assignments: list[str]) -> int:
    """List the experiments: paper, published figures, and how far each is proved here."""
    from dataclasses import asdict

    from vdm_jax.planning import baselines

    experiments = [baselines.read(file) for file in baselines.files()]
    if args.json:
        print(json.dumps([asdict(experiment) for experiment in experiments], indent=2))
    else:
        print(baselines.table(experiments))
    if args.out:
        baselines.write(args.out, experiments)
    return exit_codes.DONE


def config(args: argparse.Namespace, assignments: list[str]) -> int:
    """List every config key: its type and range, default and meaning."""
    from vdm_jax.files import write_atomically
    from vdm_jax.planning import key_reference

    page = key_reference.page()
    if args.out:
        write_atomically(args.out, page)
    else:
        print(page, end='')
    return exit_codes.DONE
