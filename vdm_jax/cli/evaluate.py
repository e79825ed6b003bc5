"""The command evaluate."""

import argparse
import dataclasses
import functools
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from vdm_jax.cli import exit_codes
from vdm_jax.cli.options import is_set
from vdm_jax.cli.restore import list_origins, restore, use_mesh
from vdm_jax.errors import Failure, UserError

if TYPE_CHECKING:
    import numpy as np

    from vdm_jax.cli.conditions import Conditions
    from vdm_jax.evals.score import Score
    from vdm_jax.experiment.run import Run


def evaluate(args: argparse.Namespace, assignments: list[str]) -> int:
    """Score samples of a run or of a file of weights, or anybody's videos, or take the results of VBench."""
    from vdm_jax.cli.evaluate_videos import score_videos
    from vdm_jax.evals import runner
    from vdm_jax.parallel import processes

    check_protocol(args.protocol)
    if is_set(args, '--vbench'):
        evaluation = Evaluation([read_results(args, assignments)])
    elif is_set(args, '--real') or is_set(args, '--fake'):
        evaluation = Evaluation([score_videos(args, assignments)])
    else:
        evaluation = score_samples(args, assignments)

    if args.json:
        values = [score.to_json() for score in evaluation.scores]
        # Of a suite there are several, and may be one.
        print(json.dumps(values if evaluation.is_suite else values[0], indent=2))
    for score in evaluation.scores:
        path = processes.run_on_primary(functools.partial(write_score, score, args.out, evaluation.movable))
        if not args.json:
            print(f'{runner.format_table(score)}\n\n{path}')
    if not args.json:
        for name, reason in evaluation.left_out.items():
            print(f'not judged: {name}: {reason}')
    has_passed = all(score.passed for score in evaluation.scores)
    return exit_codes.FAILED if args.require and not has_passed else exit_codes.DONE


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What came of a command.

    Attributes:
      scores: One, or those of a suite.
      left_out: Why protocols of the suite could not score the samples, by name.
      movable: Keys of config.data that change no clip, as runner.write has them.
      is_suite: Whether a suite was asked for.
    """

    scores: Sequence['Score'] = ()
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    movable: Collection[str] = ()
    is_suite: bool = False


def score_samples(args: argparse.Namespace, assignments: list[str]) -> Evaluation:
    """Return the scores of samples.

    Raises:
      UserError: There are no such weights, or the run's clips, texts or codec are others now.
    """
    from etils import epath

    from vdm_jax.cli.conditions import scalar_conditions
    from vdm_jax.evals.protocol import Suite
    from vdm_jax.experiment import scoring

    origin, *others = list_origins(args)
    if others:
        raise UserError('evaluate: give --workdir or --weights, not both')
    run, params, about = restore(origin, args, assignments, check_codec=True)
    run = choose_sampling(run, args, assignments)
    # Here for its mistakes, before clips are looked at.
    selection = run.protocols

    # Figures of clips or texts that the network was not trained on are no figures of this network.
    fingerprints = {
        'clips': ('the clips', run.data.dataset_id),
        'text': ('captions by the encoder', run.data.text_fingerprint),
    }
    for name, (words, ours) in fingerprints.items():
        trained_on = about.get(name, ours)
        if trained_on != ours:
            raise UserError(
                f'config.data: the network was trained on {words} {trained_on}; found {ours or "none"}: point it at '
                'the same'
            )

    def scalars_of(rows: 'np.ndarray') -> 'Conditions':
        return scalar_conditions(args.scalars, run, len(rows))

    # As a run that trains calls its directory.
    path = str(epath.Path(origin.path))
    request = scoring.Request(tuple(assignments), args.scalars, scalars_of)
    about = {origin.kind: path} | about
    with use_mesh(run):
        scores = [scoring.score(run, protocol, params, about, args.out, request) for protocol in selection.protocols]
    is_suite = isinstance(run.experiment.evaluate.protocol, Suite)
    return Evaluation(scores, selection.left_out, run.data.source.movable_keys, is_suite)


def read_results(args: argparse.Namespace, assignments: list[str]) -> 'Score':
    """Return the score that the results of --vbench make; with --workdir it stands among those of the run.

    Raises:
      UserError: They are none, or something is set that they do not hang on.
    """
    from vdm_jax.cli.evaluate_videos import OF_SAMPLES
    from vdm_jax.evals.vbench_results import read_vbench
    from vdm_jax.parallel import processes

    for option in ('--real', '--fake', '--size', '--protocol', '--batch-size', *OF_SAMPLES):
        if is_set(args, option):
            raise UserError(f'evaluate: --vbench={args.vbench}: is scored already; leave out {option}')
    if assignments:
        raise UserError(f'evaluate: --vbench={args.vbench}: is scored already; leave out {assignments[0]}')
    return processes.raise_on_all(lambda: read_vbench(args.vbench))


def choose_sampling(run: 'Run', args: argparse.Namespace, assignments: list[str]) -> 'Run':
    """Return the run with --steps and --guidance in the place of those of config.evaluate too, where it has its own.

    Raises:
      UserError: A key of config.sampler or config.guidance is set that does not count, as config.evaluate has its own.
    """
    experiment = run.experiment
    config = experiment.evaluate
    for name, group in (('sampler', config.sampler), ('guidance', config.guidance)):
        ignored = [each for each in assignments if re.match(rf'(--)?config\.{name}[.=]', each)]
        is_set_too = any(re.match(rf'(--)?config\.evaluate\.{name}[.=]', each) for each in assignments)
        if group is not None and ignored and not is_set_too:
            raise UserError(
                f'{ignored[0]}: samples are scored with config.evaluate.{name}={group}; set config.evaluate.{name}, or '
                f'clear it with --config.evaluate.{name}=none'
            )

    if config.sampler is not None and args.steps is not None:
        config = dataclasses.replace(config, sampler=dataclasses.replace(config.sampler, steps=args.steps))
    if config.guidance is not None and args.guidance is not None:
        config = dataclasses.replace(config, guidance=dataclasses.replace(config.guidance, scale=args.guidance))
    if config == experiment.evaluate:
        return run
    return run.with_experiment(dataclasses.replace(experiment, evaluate=config)).with_parts(data=run.data)


def check_protocol(name: str | None) -> None:
    """Check that --protocol, where it is given, names a protocol.

    Raises:
      UserError: It names none.
    """
    from vdm_jax.evals.protocol import UsualProtocol
    from vdm_jax.experiment.registry import PROTOCOLS

    if name is not None and name not in PROTOCOLS:
        names = [each for each, cls in PROTOCOLS.items() if cls is not UsualProtocol]
        raise UserError(f'--protocol={name}: want one of {", ".join(names)}')


def write_score(score: 'Score', out: str, movable: Collection[str]) -> str:
    """Write a score into a directory; return its file. `movable` as runner.write has it.

    Raises:
      Failure: The disk is full, or it cannot be written for another reason.
    """
    from vdm_jax.evals import runner

    try:
        return str(runner.write(score, out, movable))
    except OSError as error:
        why = f'the score above cannot be written ({error.strerror or error}); what was there before stands'
        raise Failure(f'--out={out}: {why}') from None
