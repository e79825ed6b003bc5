"""The command line: one table, one line a command.

Exit codes: 0 done, 2 the user's mistake, 3 stopped by a signal after saving, 1 anything else.
"""

import argparse
import difflib
import os
import sys

from vdm_jax import files
from vdm_jax.cli import outputs, versions
from vdm_jax.cli.evaluate import evaluate
from vdm_jax.cli.options import OPTIONS
from vdm_jax.cli.plan import baselines, config, plan, plans
from vdm_jax.cli.runs import benchmark, inspect, train
from vdm_jax.cli.sample import sample
from vdm_jax.cli.weights import convert, export
from vdm_jax.config import packaged
from vdm_jax.errors import Failure, UserError, escape_unprintable, one_line
from vdm_jax.files import DISK_ERRORS

ORIGIN = ('--workdir', '--weights')
TEXTS = ('--prompt', '--negative')
SAMPLER = ('--steps', '--guidance', '--step', '--ema', '--batch-size', '--allow-other-codec')
FILES = ('--format', '--fps')
CLIPS = ('--num', '--size', '--label', *TEXTS, '--scalars', '--seed')

COMMANDS = {
    'train': (train, ('--config', '--workdir', '--from', '--step', '--ema', '--allow-missing')),
    'sample': (sample, (*ORIGIN, *SAMPLER, *FILES, *CLIPS, '--out')),
    'evaluate': (evaluate, (*ORIGIN, *SAMPLER, '--scalars', '--protocol', '--out', '--json', '--require')),
    'export': (export, ('--workdir', '--step', '--ema', '--dtype', '--out')),
    'convert': (
        convert,
        ('--source', '--checkpoint', '--out', '--config', '--entry', '--heads', '--allow-missing'),
    ),
    'inspect': (inspect, ('--workdir', '--weights', '--config', '--step', '--json')),
    'benchmark': (benchmark, ('--config', '--steps', '--json')),
    'plan': (plan, ('--config', '--topology', '--slices', '--search', '--json')),
    'plans': (plans, ('--out',)),
    'baselines': (baselines, ('--out', '--json')),
    'config': (config, ('--out',)),
}

NEEDED = {
    'train': ('--workdir',),
    'export': ('--workdir', '--out'),
    'convert': ('--source', '--checkpoint', '--out'),
    'benchmark': ('--config',),
    'plan': ('--config',),
}

KEYS = (
    'Any key of the experiment can be set as well: --config.GROUP.KEY=VALUE. `python -m vdm_jax config` prints all '
    'keys (docs/config.md), `python -m vdm_jax inspect --config=FILE` those of an experiment as they come out.'
)
NO_DEVICE = 'Unable to initialize backend'  # so jax begins
ON_SEVERAL = ('train', 'sample', 'evaluate')  # processes, each of which is given the same command


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit code. A UserError is printed as one line.

    argv: None for those of this process, which then ends with the command.
    """
    ends_process = argv is None
    if ends_process:
        sys.unraisablehook = say_unraisable
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
        takes_config = bool({'--config', '--workdir'} & {*options})
        parser = Parser(
            prog=f'python -m vdm_jax {name}',
            description=run.__doc__,
            epilog=KEYS if takes_config else None,
            allow_abbrev=False,
        )
        options = (*options, '--distributed') if name in ON_SEVERAL else options
        known = OPTIONS | {'--out': outputs.OUT.get(name)}
        for option in options:
            parser.add_argument(option, **known[option])
        args, unknown = parser.parse_known_args(rest, argparse.Namespace(ends_process=ends_process))
        for option in NEEDED.get(name, ()):
            if not getattr(args, option.strip('-')):
                raise UserError(f'{name}: {option}={known[option]["metavar"]} is missing')
        assignments = [item for item in unknown if item.startswith('--config.')]
        if strange := [item for item in unknown if item not in assignments]:
            before = unknown[: unknown.index(strange[0])][-1:]
            if before and '=' not in before[0]:
                raise UserError(f'{name}: {before[0]} {strange[0]}: write it with =, {before[0]}={strange[0]}')
            raise UserError(
                f'{name}: unknown option {strange[0]}; options: {", ".join(options)}, --config.GROUP.KEY=VALUE'
            )
        if assignments and not takes_config:
            raise UserError(f'{name}: takes no {assignments[0]}')
        if getattr(args, 'weights', None):
            args.weights = packaged.find_weights(args.weights)
        outputs.check(name, args)
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
        print(f'vdm_jax: {one_line(error)}', file=sys.stderr, flush=True)
        leaving(2)
        return 2
    except Failure as error:
        print(f'vdm_jax: {one_line(error)}', file=sys.stderr, flush=True)
        leaving(1)
        return 1
    except OSError as error:
        leaving(1)
        if error.errno not in DISK_ERRORS:
            versions.warn_of_newer(error)
            raise
        where = f'{escape_unprintable(str(error.filename))}: ' if error.filename else ''
        advice = 'what was written before stands; mend that, and give the same command again'
        print(f'vdm_jax: {where}{error.strerror}; {advice}', file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print('\nvdm_jax: stopped', file=sys.stderr, flush=True)
        leaving(130)
        return 130
    except Exception as error:
        no_device = isinstance(error, RuntimeError) and str(error).startswith(NO_DEVICE)
        leaving(2 if no_device else 1)
        if no_device:
            print(f'vdm_jax: JAX_PLATFORMS or its plugin: {one_line(error)}', file=sys.stderr, flush=True)
            return 2
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
    import warnings

    import jax

    from vdm_jax.parallel.host import computes_on_cpu, keep_freed_memory

    if computes_on_cpu():
        keep_freed_memory()
    # They log errors that are raised too: those of Orbax's threads and tasks, those of a store.
    for library in ('absl', 'asyncio', 'gcsfs'):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    warnings.filterwarnings('ignore', 'coroutine .* was never awaited')  # Orbax, of a checkpoint that does not fit
    if not jax.config.jax_compilation_cache_dir and (cache := files.user_cache()):
        jax.config.update('jax_compilation_cache_dir', os.path.join(cache, 'xla'))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def say_unraisable(what, say=sys.unraisablehook) -> None:
    """Says what was raised where nobody waits, but by those who ask event loops of Orbax that have ended."""
    if str(what.exc_value) != 'Event loop is closed':
        say(what)


def leaving(code: int) -> None:
    """Tells the other processes, where there are some, that this one ends with an error."""
    if 'jax' in sys.modules:
        from vdm_jax.parallel import processes

        processes.report_failure(code)
