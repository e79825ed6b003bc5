"""The command line: one table, one line a command.

Exit codes: 0 done, 2 the user's mistake, 3 stopped by a signal after saving, 1 anything else.
"""

import argparse
import difflib
import functools
import json
import os
import sys
import time
from pathlib import Path

from vdm_jax import places, versions
from vdm_jax.errors import UserError
from vdm_jax.origin import jax_mesh, origins, restored, run_of, said


def train(args, assignments):
    """train an experiment in a run directory, or go on with the one that is there"""
    from vdm_jax.parallel import processes, stop
    from vdm_jax.run import Run
    from vdm_jax.train import loop
    from vdm_jax.train.alike import check_alike

    with stop.asked() as asked:
        run = processes.together(lambda: Run(asked_experiment(args, assignments)))
        check_alike(lambda: {'config': run.resolved, 'clips': run.clips} | said(args))
        processes.together(run.check)
        return 0 if loop.train(run, args.workdir, asked) else 3


def asked_experiment(args, assignments):
    """That of --config, or where it is not given that of the run directory."""
    from vdm_jax.build import experiment_from, read_experiment
    from vdm_jax.config import override
    from vdm_jax.train.workdir import read_config

    if args.config:
        return read_experiment(args.config, assignments)
    return experiment_from(override(read_config(args.workdir), assignments))


def sample(args, assignments):
    """sample videos from a run's averaged weights, or from a file of weights, or from both side by side"""
    from vdm_jax import media
    from vdm_jax.asking import digits
    from vdm_jax.parallel import processes

    found = [(origin, *restored(origin, args, assignments)) for origin in origins(args)]
    shapes = {run.source.shape for _, run, *_ in found}
    if len(shapes) > 1:
        raise UserError(f'--workdir and --weights make clips of different shapes, {shapes}: sample them one by one')
    drawn = [draw(args, *each) for each in found]
    titles = [str(where) for where, *_ in drawn] if len(drawn) > 1 else None
    names = drawn[0][3]
    said = {name: getattr(args, name) for name in ('steps', 'guidance', 'label', 'scalars', 'seed', 'ema')}
    asked = [f'{name}{value}' for name, value in said.items() if value != OPTIONS[f'--{name}'].get('default')]
    asked += [f'text{digits(args)}'] if args.prompt or args.negative else []
    stem = '_'.join(['_beside_'.join(f'step_{step:06d}' for _, step, *_ in drawn), *asked])
    clips = [videos for _, _, videos, _ in drawn]
    write = lambda: [str(file) for file in media.write_samples(args.out, stem, clips, names, titles)]
    for file in processes.by_first(write):
        print(f'  {file}')
    return 0


def draw(args, origin: dict, run, params, about: dict):
    """Samples of one origin, (where, step, videos, a name of each or None), with a line printed about them."""
    import numpy as np

    from vdm_jax import given
    from vdm_jax.asking import scalars_of, texts_of
    from vdm_jax.checks import check_pictures
    from vdm_jax.generate import generate_videos

    check_pictures(run)
    classes = run.model.classes
    if args.num < 1 or not (args.label is None or 0 <= args.label < classes):
        raise UserError(f'--num={args.num} --label={args.label}: want 1 or more videos and a label below {classes}')
    labels = np.full(args.num, args.label) if args.label is not None else np.arange(args.num) % max(classes, 1)
    asks = given.asks(run, {'label': labels} | scalars_of(args, run, args.num) | texts_of(args, run, args.num, about))
    began = time.monotonic()
    with jax_mesh(run):
        videos = generate_videos(run.generate, params, asks, args.seed)
    (where,), step = origin.values(), about['step']
    print(f'{len(videos)} videos of {where}, step {step}, in {time.monotonic() - began:.1f} s')
    if run.model.text_width and not args.prompt:
        print('  told captions of the clips; --prompt=TEXT says what else')
    names = [f'label {label}' for label in asks['label']] if classes else None
    if args.prompt:
        names = [args.prompt[i % len(args.prompt)][:40] for i in range(args.num)]
    return f'{where}, step {step}', step, videos, names


def evaluate(args, assignments):
    """score samples of a run, or of a file of weights, under a named protocol"""
    from vdm_jax import given
    from vdm_jax.asking import scalars_of
    from vdm_jax.evals import runner
    from vdm_jax.generate import generate_videos
    from vdm_jax.parallel import processes

    origin, *more = origins(args)
    if more:
        raise UserError('evaluate: give --workdir or --weights, not both')
    run, params, about = restored(origin, args, assignments)
    config, protocol = run.experiment.evaluate, run.protocol(args.protocol)
    for name, found in {'clips': run.clips, 'text': run.text_fingerprint}.items():
        if (was := about.get(name, found)) != found:
            raise UserError(f'config.data: the network was trained on {was}; found {found}: point it at the same')

    def ask(asks):
        asks = given.asks(run, asks | scalars_of(args, run, len(asks['label'])))
        return generate_videos(run.generate, params, asks, config.seed, config.batch_size)

    how = {part: str(getattr(run.experiment, part)) for part in ('sampler', 'guidance')}
    about = origin | about | ({} if run.model.autoencodes else how)
    about |= {'scalars': args.scalars, 'data': run.resolved['data']}
    with jax_mesh(run):
        score, _ = runner.evaluate(protocol, ask, *run.scored, config, about)
    path = processes.by_first(lambda: str(runner.write(score, args.out)))
    print(json.dumps(score, indent=2) if args.json else f'{runner.table(score)}\n\n{path}')
    return 1 if args.require and not score['passed'] else 0


def export(args, assignments):
    """write a run's averaged weights and its config into one safetensors file"""
    from vdm_jax.pretrained import weights

    run, params, about = restored({'workdir': args.workdir}, args, assignments)
    size = weights.save(args.out, params, about | {'config': run.resolved})
    print(f'{args.out}: step {about["step"]}, {size / 1e6:.2f} MB')
    return 0


def convert(args, assignments):
    """turn other people's weights into a run directory, which sample, evaluate and train take up"""
    from vdm_jax import convert

    opened = convert.load(args)
    print(opened.report)
    run = convert.convert(opened, args.out, args.config, assignments)
    print(f'{args.out}: step 0 of {type(run.model).__name__}, {args.source}')
    return 0


def inspect(args, assignments):
    """what a run directory, or an experiment's network, is: checkpoints, fingerprints, data position, sizes"""
    from vdm_jax.build import read_experiment
    from vdm_jax.run import Run
    from vdm_jax.train.inspect import inspect_network, inspect_run, table
    from vdm_jax.train.workdir import read_config

    if args.config and (args.workdir or args.step is not None):
        raise UserError('inspect: --config=FILE is of no run; leave it out, or --workdir and --step')
    if args.config:
        found = inspect_network(Run(read_experiment(args.config, assignments)))
    elif args.workdir:
        found = inspect_run(run_of(read_config(args.workdir), assignments), args.workdir, args.step)
    else:
        raise UserError('inspect: say what: --workdir=DIR, or --config=FILE')
    print(json.dumps(found, indent=2) if args.json else table(found))
    if 'mistake' in found:
        raise UserError(found['mistake'])
    return 0


def benchmark(args, assignments):
    """measure step time, model FLOP/s, waiting for data, checkpoint stall and compilation"""
    from vdm_jax.benchmark import measure, table
    from vdm_jax.build import read_experiment
    from vdm_jax.run import Run

    if args.steps is not None and args.steps < 1:
        raise UserError(f'--steps={args.steps}: want 1 or more')
    run = Run(read_experiment(args.config, assignments))
    run.check()
    found = measure(run, args.steps)
    print(json.dumps(found, indent=2) if args.json else table(found))
    return 0


def plan(args, assignments):
    """memory, least time and collectives of training and sampling on a machine that need not be there"""
    from vdm_jax.parallel.hardware import read_topology
    from vdm_jax.planning import ask, search, show

    say = lambda text: print(text, file=sys.stderr if args.json else sys.stdout)
    name, needed = (args.topology, []) if args.topology else ask.target_of(args.config)
    topology = read_topology(name, args.slices)
    work = functools.partial(search.search, say=say) if args.search else ask.plan
    found = work(args.config, [*needed, *assignments], topology)
    print(show.as_json(found) if args.json else show.table(found, topology))
    crossing = [f'{program}: {wrong}' for program, report in found.items() for wrong in report['crossing']]
    if crossing and args.json:
        print('\n'.join(f'crosses slices: {wrong}' for wrong in crossing), file=sys.stderr)
    return 1 if crossing else 0


def plans(args, assignments):
    """the table of docs/plans.md: every experiment on the machine it names"""
    from vdm_jax import pages, registry
    from vdm_jax.planning import docs

    if args.out:
        pages.between(args.out, docs.BEGIN, docs.END)  # before the work: it says where they are missing
    found = docs.table(registry.files(), lambda text: print(text, file=sys.stderr))
    print('\n'.join(found))
    if args.out:
        pages.replace(args.out, docs.BEGIN, docs.END, found)
    return 0


def baselines(args, assignments):
    """the experiments that are there: paper, what is published, and how far each is proved here"""
    from dataclasses import asdict

    from vdm_jax import registry

    found = [registry.read(file) for file in registry.files()]
    print(json.dumps([asdict(each) for each in found], indent=2) if args.json else registry.table(found))
    if args.out:
        registry.write(args.out, found)
    return 0


ORIGIN = ('--workdir', '--weights')
TEXTS = ('--prompt', '--negative')
SAMPLER = ('--steps', '--guidance', '--step', '--ema')

COMMANDS = {
    'train': (train, ('--config', '--workdir')),
    'sample': (sample, (*ORIGIN, *SAMPLER, '--num', '--label', *TEXTS, '--scalars', '--seed', '--out')),
    'evaluate': (evaluate, (*ORIGIN, *SAMPLER, '--scalars', '--protocol', '--out', '--json', '--require')),
    'export': (export, ('--workdir', '--step', '--ema', '--out')),
    'convert': (
        convert,
        ('--source', '--checkpoint', '--out', '--config', '--entry', '--heads', '--allow-missing'),
    ),
    'inspect': (inspect, ('--workdir', '--config', '--step', '--json')),
    'benchmark': (benchmark, ('--config', '--steps', '--json')),
    'plan': (plan, ('--config', '--topology', '--slices', '--search', '--json')),
    'plans': (plans, ('--out',)),
    'baselines': (baselines, ('--out', '--json')),
}

NEEDED = {
    'train': ('--workdir',),
    'export': ('--workdir', '--out'),
    'convert': ('--source', '--checkpoint', '--out'),
    'benchmark': ('--config',),
    'plan': ('--config',),
}

ON_SEVERAL = ('train', 'sample', 'evaluate')  # processes, each of which is given the same command

OPTIONS = {
    '--config': {
        'metavar': 'FILE[:ARGS]',
        'help': 'experiment file; change keys with --config.a.b=v',
    },
    '--workdir': {'metavar': 'DIR', 'help': 'run directory, local or gs://…'},
    '--source': {'metavar': 'NAME', 'help': 'whose weights: dit, sit, latte, latte_t2v, sd_vae (docs/baselines.md)'},
    '--checkpoint': {'metavar': 'FILE', 'help': 'safetensors, a directory of diffusers, or .pt with the extra convert'},
    '--entry': {'metavar': 'NAME', 'help': "which network of a trainer's .pt: ema, taken where there is one, or model"},
    '--heads': {'type': int, 'help': 'of attention, where the sizes are none of the published ones'},
    '--allow-missing': {'action': 'store_true', 'help': 'let what is missing or of another shape start fresh'},
    '--weights': {'metavar': 'FILE', 'help': 'weights that export wrote, instead of a run or beside it'},
    '--num': {'type': int, 'default': 16, 'help': 'how many videos (16)'},
    '--steps': {'type': int, 'help': 'sampler steps, or steps measured by benchmark'},
    '--guidance': {'type': float, 'help': 'classifier-free guidance, 1 = none'},
    '--label': {'type': int, 'help': 'class of every video; all in turn where not given'},
    '--prompt': {'action': 'append', 'metavar': 'TEXT', 'help': 'what is to be seen; may be given several times'},
    '--negative': {'metavar': 'TEXT', 'help': 'what is not to be seen, where there is guidance'},
    '--scalars': {
        'metavar': 'NAME=VALUE,…',
        'help': 'numbers that the network is told, such as fps=8; unknown where not given',
    },
    '--seed': {'type': int, 'default': 0, 'help': 'seed of the noise (0)'},
    '--step': {'type': int, 'help': 'checkpoint; the newest where not given'},
    '--ema': {'type': float, 'help': 'decay of the average to take; the first of the config where not given'},
    '--protocol': {'metavar': 'NAME', 'help': "protocol; the source's own where not given"},
    '--topology': {'metavar': 'NAME', 'help': "machine, v5p:4x4x4 or cpu:8; the experiment's own where not given"},
    '--slices': {'type': int, 'default': 1, 'help': 'how many of them, joined by the slower network (1)'},
    '--search': {
        'action': 'store_true',
        'help': 'look for the mesh and rematerialisation that fit, 6 compiles at most',
    },
    '--json': {'action': 'store_true', 'help': 'print JSON'},
    '--distributed': {'action': 'store_true', 'help': 'one of several processes: jax finds out which (docs/launch.md)'},
    '--require': {'action': 'store_true', 'help': 'exit with 1 if the protocol has a bar and the run misses it'},
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit code. A UserError is printed as one line."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if not argv or argv[0] in ('-h', '--help', 'help'):
            print(usage())
            return 0
        name, rest = argv[0], argv[1:]
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, 1)
            hint = f'did you mean {near[0]!r}? ' if near else ''
            raise UserError(f'unknown command {name!r}; {hint}commands: {", ".join(COMMANDS)}')
        run, options = COMMANDS[name]
        parser = Parser(prog=f'python -m vdm_jax {name}', description=run.__doc__, allow_abbrev=False)
        options = (*options, '--distributed') if name in ON_SEVERAL else options
        known = OPTIONS | {'--out': places.OUT.get(name)}
        for option in options:
            parser.add_argument(option, **known[option])
        args, unknown = parser.parse_known_args(rest)
        for option in NEEDED.get(name, ()):
            if not getattr(args, option.strip('-')):
                raise UserError(f'{name}: {option}={known[option]["metavar"]} is missing')
        assignments = [item for item in unknown if item.startswith('--config.')]
        if strange := [item for item in unknown if item not in assignments]:
            raise UserError(
                f'{name}: unknown option {strange[0]}; options: {", ".join(options)}, --config.GROUP.KEY=VALUE'
            )
        if assignments and not {'--config', '--workdir'} & {*options}:
            raise UserError(f'{name}: takes no {assignments[0]}')
        places.check(name, args)
        prepare()
        if name in ON_SEVERAL:
            from vdm_jax.parallel import processes

            processes.start(args.distributed)
        code = run(args, assignments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who reads it has seen enough, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserError as error:
        print(f'vdm_jax: {error}', file=sys.stderr, flush=True)
        leaving(2)
        return 2
    except (Exception, KeyboardInterrupt) as error:
        leaving(130 if isinstance(error, KeyboardInterrupt) else 1)
        versions.warn_of_newer(error)
        raise


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are UserErrors."""

    def error(self, message):
        raise UserError(f'{self.prog}: {message}')


def usage() -> str:
    """The commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f'  {name:{width}}  {run.__doc__}' for name, (run, _) in COMMANDS.items()]
    return '\n'.join(['usage: python -m vdm_jax COMMAND …   (COMMAND --help for its options)', '', *lines])


def prepare() -> None:
    """Memory, persistent compilation cache and quiet logs, before jax wakes and anything compiles."""
    import logging

    import jax

    from vdm_jax.parallel.host import computes_on_cpu, keep_freed_memory

    if computes_on_cpu():
        keep_freed_memory()
    logging.getLogger('absl').setLevel(logging.ERROR)
    cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update('jax_compilation_cache_dir', str(Path(cache) / 'vdm_jax' / 'xla'))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def leaving(code: int) -> None:
    """Tells the other processes, where there are some, that this one ends with an error."""
    if 'jax' in sys.modules:
        from vdm_jax.parallel import processes

        processes.failed(code)
