"""Commands that look ahead, and those that write pages of the docs: plan, plans, baselines, config."""

import functools
import json
import sys


def plan(args, assignments):
    """memory, least time and collectives of training and sampling on a machine that need not be there"""
    from vdm_jax.parallel.hardware import read_topology
    from vdm_jax.planning import format, plan, search

    def say(text):
        return print(text, file=sys.stderr if args.json else sys.stdout)

    name, needed = (args.topology, []) if args.topology else plan.read_target(args.config)
    topology = read_topology(name, args.slices)
    work = functools.partial(search.search, report_progress=say) if args.search else plan.plan
    reports = work(args.config, [*needed, *assignments], topology)
    print(format.as_json(reports) if args.json else format.table(reports, topology))
    crossing = [f'{program}: {wrong}' for program, report in reports.items() for wrong in report['crossing']]
    if crossing and args.json:
        print('\n'.join(f'crosses slices: {wrong}' for wrong in crossing), file=sys.stderr)
    return 1 if crossing else 0


def plans(args, assignments):
    """the table of docs/plans.md: every experiment on the machine it names"""
    from vdm_jax.planning import baselines, docs, docs_tables

    if args.out:
        docs_tables.between(args.out, docs.BEGIN, docs.END)  # before the work: it says where they are missing
    lines = docs.table(baselines.files(), lambda text: print(text, file=sys.stderr))
    print('\n'.join(lines))
    if args.out:
        docs_tables.replace(args.out, docs.BEGIN, docs.END, lines)
    return 0


def baselines(args, assignments):
    """the experiments that are there: paper, what is published, and how far each is proved here"""
    from dataclasses import asdict

    from vdm_jax.planning import baselines

    experiments = [baselines.read(file) for file in baselines.files()]
    if args.json:
        print(json.dumps([asdict(experiment) for experiment in experiments], indent=2))
    else:
        print(baselines.table(experiments))
    if args.out:
        baselines.write(args.out, experiments)
    return 0


def config(args, assignments):
    """every key of a config: what it takes, its default and its meaning"""
    from vdm_jax.files import write_atomically
    from vdm_jax.planning import key_reference

    page = key_reference.page()
    if args.out:
        write_atomically(args.out, page)
    else:
        print(page, end='')
    return 0
