"""The table of commands: what each runs, and the options that it takes."""

from collections.abc import Callable
from dataclasses import dataclass

from vdm_jax.cli.evaluate import evaluate
from vdm_jax.cli.plan import baselines, config, plan, plans
from vdm_jax.cli.published import weights
from vdm_jax.cli.report import report
from vdm_jax.cli.runs import benchmark, inspect, train
from vdm_jax.cli.sample import sample
from vdm_jax.cli.weights import convert, export


@dataclass(frozen=True)
class Command:
    """A command of `python -m vdm_jax`.

    Attributes:
      run: Does the work, given the options and the assignments --config.GROUP.KEY=VALUE; returns the exit code. The
        first line of its docstring is the command's help.
      options: Names in options.OPTIONS.
      required: Those of them that must be given.
      words: Names in options.WORDS, of what it takes without an option's name.
      on_processes: Whether several processes can run it together, each started by the same command.
      uses_jax: Whether it computes anything, for which jax is set up first.
      catches_signals: Whether it stops at a signal by itself; `run` then takes a third argument, whether the process
        ends with it.
    """

    run: Callable[..., int]
    options: tuple[str, ...]
    required: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    on_processes: bool = False
    uses_jax: bool = True
    catches_signals: bool = False

    @property
    def takes_config(self) -> bool:
        """Whether keys of a config can be set on its command line; what computes nothing has no use for them."""
        return self.uses_jax and ('--config' in self.options or '--workdir' in self.options)

    @property
    def help(self) -> str:
        """What it does, in one line."""
        docstring = self.run.__doc__ or ''
        return docstring.partition('\n')[0]


# Options that several commands share.
ORIGIN = ('--workdir', '--weights')
CHECKPOINT = ('--step', '--ema')
SAMPLER = ('--steps', '--guidance', *CHECKPOINT, '--batch-size', '--allow-other-codec')
CONDITIONS = ('--label', '--prompt', '--prompts', '--negative', '--scalars')

COMMANDS = {
    'train': Command(
        train,
        ('--config', '--workdir', '--from', *CHECKPOINT, '--allow-missing'),
        required=('--workdir',),
        on_processes=True,
        catches_signals=True,
    ),
    'sample': Command(
        sample,
        (*ORIGIN, *SAMPLER, '--format', '--fps', '--num', '--size', *CONDITIONS, '--seed', '--out'),
        on_processes=True,
    ),
    'evaluate': Command(
        evaluate,
        (
            *(*ORIGIN, *SAMPLER, '--scalars', '--real', '--fake', '--size', '--protocol', '--vbench'),
            *('--out', '--json', '--require'),
        ),
        on_processes=True,
    ),
    'export': Command(
        export,
        ('--workdir', *CHECKPOINT, '--dtype', '--out'),
        required=('--workdir', '--out'),
    ),
    'convert': Command(
        convert,
        ('--source', '--checkpoint', '--out', '--config', '--entry', '--heads', '--allow-missing'),
        required=('--source', '--checkpoint', '--out'),
    ),
    'inspect': Command(inspect, (*ORIGIN, '--config', '--step', '--json')),
    'report': Command(report, ('--workdir', '--compare', '--out'), required=('--workdir',), uses_jax=False),
    'benchmark': Command(benchmark, ('--config', '--steps', '--json'), required=('--config',)),
    'plan': Command(plan, ('--config', '--topology', '--slices', '--search', '--json'), required=('--config',)),
    'plans': Command(plans, ('--out',)),
    'baselines': Command(baselines, ('--out', '--json')),
    'config': Command(config, ('--out',)),
    'weights': Command(weights, ('--json',), words=('action', 'names')),
}
