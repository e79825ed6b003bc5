"""Score weights of a run: what the command evaluate and the schedule of training have in common."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
from etils import epath

from vdm_jax.config.schema import to_dict
from vdm_jax.errors import UserError
from vdm_jax.evals import runner
from vdm_jax.evals.protocol import Protocol, ProtocolConfig
from vdm_jax.evals.score import Score
from vdm_jax.experiment import validate
from vdm_jax.experiment.feature_networks import open_weights
from vdm_jax.experiment.registry import CHOICES
from vdm_jax.pretrained.weights import FINGERPRINTS
from vdm_jax.sampling.conditioning import conditions_by_rows
from vdm_jax.sampling.draw import ConditionsOf, draw_from, no_conditions
from vdm_jax.train import ema
from vdm_jax.train.fingerprint import fingerprint
from vdm_jax.train.resume import describe_position
from vdm_jax.train.types import Params
from vdm_jax.train.workdir import describe_environment

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run


@dataclass(frozen=True)
class Request:
    """What a command line asks of a score, beyond the config that it became.

    Attributes:
      overrides: --config.GROUP.KEY=VALUE.
      scalars: --scalars, None where it is not given.
      conditions_of: The conditions that every video has of it.
    """

    overrides: tuple[str, ...] = ()
    scalars: str | None = None
    conditions_of: ConditionsOf = no_conditions


def make_evaluation_run(run: Run) -> Run:
    """Return the run that draws what is scored: `run` with the sampler and the guidance of config.evaluate.

    These are its config.sampler and config.guidance, so that a score names what it was drawn with, wherever that was
    set. Clips and frozen weights are those of `run`.
    """
    experiment = run.experiment
    config = experiment.evaluate
    if config.sampler is None and config.guidance is None:
        return run

    evaluation = dataclasses.replace(
        experiment,
        sampler=config.sampler or experiment.sampler,
        guidance=config.guidance or experiment.guidance,
        evaluate=dataclasses.replace(config, sampler=None, guidance=None),
    )
    parts: dict[str, Any] = {'data': run.data}
    # Lpips, which only training looks at, is not loaded to reconstruct.
    if 'codec' in run.programs.abstract_frozen:
        parts['frozen'] = run.frozen
    return run.with_experiment(evaluation).with_parts(**parts)


def score(
    run: Run,
    protocol: Protocol,
    params: Params,
    about: dict[str, Any],
    partial: epath.PathLike,
    request: Request = Request(),
    after_batch: runner.AfterBatch = runner.do_nothing,
) -> Score:
    """Return the score of weights under a protocol; all processes call it, within the run's mesh.

    Args:
      run: The objects of the experiment.
      protocol: One of run.protocols.
      params: Of the network.
      about: Where they come from, JSON values by name: workdir or weights, step, ema, fingerprints.
      partial: The directory from which an interrupted evaluation goes on.
      request: What the command line asks for.
      after_batch: As runner.evaluate has it.

    Raises:
      UserError: The protocol cannot score such samples.
      NotFinite: Samples are not finite.
    """
    check_sampling(run)
    run = run.evaluation_run
    about = {'protocol': to_dict(protocol, CHOICES, ProtocolConfig)} | about
    if not run.model_config.autoencodes:
        about |= {part: str(getattr(run.experiment, part)) for part in ('sampler', 'guidance')}
    about |= {'scalars': request.scalars, 'config': run.resolved, 'overrides': list(request.overrides)}
    about |= {'weights_sha256': fingerprint(params), 'environment': describe_environment()}

    draw = draw_from(run, params, request.conditions_of)
    config = run.experiment.evaluate
    return runner.evaluate(
        protocol, draw, *run.data.references, config, about, partial, open_weights, after_batch=after_batch
    )


def describe_average(run: Run, workdir: epath.PathLike, step: int) -> dict[str, Any]:
    """Return what `score` is to say of the first average of a run that trains, as evaluate does once it is saved."""
    position = describe_position(run, step)
    provenance = {'workdir': str(workdir), 'step': step, 'ema': float(ema.first_name(run.experiment.ema))}
    return provenance | {name: position[name] for name in FINGERPRINTS if name in position}


def check_sampling(run: Run) -> None:
    """Check that sampler and guidance of config.evaluate, where it has its own, suit process and network.

    Raises:
      UserError: They do not; names their keys there.
    """
    evaluation = run.evaluation_run
    config = run.experiment.evaluate
    try:
        validate.check_sampler(evaluation.experiment, evaluation.network)
    except UserError as error:
        message = str(error)
        for name, group in (('sampler', config.sampler), ('guidance', config.guidance)):
            if group is not None:
                message = message.replace(f'config.{name}', f'config.evaluate.{name}')
        raise UserError(message) from None


def check(run: Run) -> None:
    """Check that the run's samples can be scored, by doing all that comes before the first is drawn.

    All processes call it.

    Raises:
      UserError: No protocol is usual, or it lacks weights or clips, or wants other context frames than the network; or
        the sampler does not suit the process.
    """
    check_sampling(run)
    evaluation = run.evaluation_run
    protocol = evaluation.protocol
    with jax.set_mesh(evaluation.mesh):
        judge = protocol.open_judge(*evaluation.data.references, evaluation.experiment.evaluate, open_weights)
        if not len(judge.labels):
            raise UserError(f'config.evaluate: {type(protocol).__name__} wants no sample at all')
        # Made for the errors alone: it compares the context frames with those of training.
        conditions_by_rows(evaluation.data, evaluation.network, judge.labels, judge.conditions_of)
