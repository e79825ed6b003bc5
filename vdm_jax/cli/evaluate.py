"""The command evaluate."""

import argparse
import dataclasses
import json
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from vdm_jax.cli import exit_codes
from vdm_jax.cli.restore import list_origins, restore, use_mesh
from vdm_jax.errors import Failure, UserError

if TYPE_CHECKING:
    import numpy as np

    from vdm_jax.cli.conditions import Conditions
    from vdm_jax.evals.score import Score
    from vdm_jax.experiment.run import Run


def evaluate(args: argparse.Namespace, assignments: list[str]) -> int:
    """Score samples of a run or of a file of weights, or anybody's videos, under a protocol."""
    from vdm_jax.cli.evaluate_videos import score_videos
    from vdm_jax.evals import runner
    from vdm_jax.parallel import processes

    check_protocol(args.protocol)
    movable: Collection[str] = ()
    if args.real or args.fake:
        score = score_videos(args, assignments)
    else:
        score, movable = score_samples(args, assignments)

    print(json.dumps(score.to_json(), indent=2) if args.json else f'{runner.format_table(score)}\n')
    path = processes.run_on_primary(lambda: write_score(score, args.out, movable))
    if not args.json:
        print(path)
    return exit_codes.FAILED if args.require and not score.passed else exit_codes.DONE


def score_samples(args: argparse.Namespace, assignments: list[str]) -> tuple['Score', Collection[str]]:
    """Return the score of samples, and the keys of their data that change no clip.

    Raises:
      UserError: There are no such weights, or the run's clips, texts or codec are others now.
    """
    from etils import epath

    from vdm_jax.cli.conditions import scalar_conditions
    from vdm_jax.experiment import scoring

    origin, *others = list_origins(args)
    if others:
        raise UserError('evaluate: give --workdir or --weights, not both')
    run, params, about = restore(origin, args, assignments, check_codec=True)
    run = choose_sampling(run, args, assignments)
    _ = run.protocol  # for its mistakes, before clips are looked at

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
    with use_mesh(run):
        score = scoring.score(run, params, {origin.kind: path} | about, args.out, request)
    return score, run.data.source.movable_keys


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
