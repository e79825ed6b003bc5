"""The command evaluate."""

import json

from vdm_jax.errors import Failure, UserError
from vdm_jax.origin import jax_mesh, origins, restored


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
    for name, found in {'clips': run.dataset_id, 'text': run.text_fingerprint}.items():
        if (was := about.get(name, found)) != found:
            raise UserError(f'config.data: the network was trained on {was}; found {found}: point it at the same')

    def ask(asks):
        asks = given.asks(run, asks | scalars_of(args, run, len(asks['label'])))
        return generate_videos(run.generate, params, asks, config.seed, config.batch_size)

    how = {part: str(getattr(run.experiment, part)) for part in ('sampler', 'guidance')}
    about = origin | about | ({} if run.model.autoencodes else how)
    about |= {'scalars': args.scalars, 'config': run.resolved, 'overrides': assignments}
    with jax_mesh(run):
        score, _ = runner.evaluate(protocol, ask, *run.references, config, about)
    print(json.dumps(score, indent=2) if args.json else f'{runner.table(score)}\n')
    path = processes.by_first(lambda: written(score, args.out))
    if not args.json:
        print(path)
    return 1 if args.require and not score['passed'] else 0


def written(score: dict, out: str) -> str:
    """The file that a score has been written to.

    Raises:
      Failure: the disk is full, or it cannot be written for another reason.
    """
    from vdm_jax.evals import runner

    try:
        return str(runner.write(score, out))
    except OSError as error:
        why = f'the score above cannot be written ({error.strerror or error}); what was there before stands'
        raise Failure(f'--out={out}: {why}') from None
