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
    """Score samples of a run, or of a file of weights, under a protocol."""
    from vdm_jax.cli.conditions import scalar_conditions
    from vdm_jax.config.schema import to_dict
    from vdm_jax.evals import runner
    from vdm_jax.evals.protocol import ProtocolConfig
    from vdm_jax.experiment.registry import CHOICES
    from vdm_jax.parallel import processes
    from vdm_jax.sampling.draw import draw_from

    origin, *others = list_origins(args)
    if others:
        raise UserError('evaluate: give --workdir or --weights, not both')
    check_protocol(args.protocol)
    run, params, about = restore(origin, args, assignments, check_codec=True)
    config = run.experiment.evaluate
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
    with use_mesh(run):
        draw = draw_from(run, params, scalars_of)
        score = runner.evaluate(protocol, draw, *run.data.references, config, about, partial=args.out)

    print(json.dumps(score.to_json(), indent=2) if args.json else f'{runner.format_table(score)}\n')
    path = processes.run_on_primary(lambda: write_score(score, args.out, run.data.source.movable_keys))
    if not args.json:
        print(path)
    return exit_codes.FAILED if args.require and not score.passed else exit_codes.DONE


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
