"""The command evaluate."""

import argparse
import json
from collections.abc import Collection
from typing import TYPE_CHECKING

from vdm_jax.cli import exit_codes
from vdm_jax.cli.restore import list_origins, restore, use_mesh
from vdm_jax.errors import Failure, UserError

if TYPE_CHECKING:
    import numpy as np

    from vdm_jax.cli.conditions import Conditions
    from vdm_jax.evals.score import Score


def evaluate(args: argparse.Namespace, assignments: list[str]) -> int:
    """Score samples of a run or of a file of weights, or anybody's videos, or take the results of VBench."""
    from vdm_jax.cli.evaluate_videos import score_videos
    from vdm_jax.evals import runner
    from vdm_jax.parallel import processes

    check_protocol(args.protocol)
    movable: Collection[str] = ()
    if args.vbench:
        score = read_results(args)
    elif args.real or args.fake:
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
    from vdm_jax.cli.conditions import scalar_conditions
    from vdm_jax.config.schema import to_dict
    from vdm_jax.evals import runner
    from vdm_jax.evals.protocol import ProtocolConfig
    from vdm_jax.experiment.feature_networks import open_weights
    from vdm_jax.experiment.registry import CHOICES
    from vdm_jax.sampling.draw import draw_from
    from vdm_jax.train.fingerprint import fingerprint
    from vdm_jax.train.workdir import describe_environment

    origin, *others = list_origins(args)
    if others:
        raise UserError('evaluate: give --workdir or --weights, not both')
    run, params, about = restore(origin, args, assignments, check_codec=True)
    protocol = run.protocol

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

    about = {'protocol': to_dict(protocol, CHOICES, ProtocolConfig)} | {origin.kind: origin.path} | about
    if not run.model_config.autoencodes:
        about |= {part: str(getattr(run.experiment, part)) for part in ('sampler', 'guidance')}
    about |= {'scalars': args.scalars, 'config': run.resolved, 'overrides': assignments}
    about |= {'weights_sha256': fingerprint(params), 'environment': describe_environment()}
    with use_mesh(run):
        draw = draw_from(run, params, scalars_of)
        clips = run.data.references
        config = run.experiment.evaluate
        score = runner.evaluate(protocol, draw, *clips, config, about, partial=args.out, open_weights=open_weights)
    return score, run.data.source.movable_keys


def read_results(args: argparse.Namespace) -> 'Score':
    """Return the score that the results of --vbench make; with --workdir it stands among those of the run.

    Raises:
      UserError: They are none, or something is to be scored besides.
    """
    from vdm_jax.evals.vbench_results import read_vbench
    from vdm_jax.parallel import processes

    for name in ('weights', 'real', 'fake', 'protocol'):
        if value := vars(args)[name]:
            raise UserError(f'evaluate: --vbench={args.vbench}: is scored already; leave out --{name}={value}')
    return processes.raise_on_all(lambda: read_vbench(args.vbench))


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
