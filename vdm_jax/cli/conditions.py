"""What --scalars, --prompt and --negative condition samples on, and the name that samples get from their command."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.files import digest_json
from vdm_jax.sampling.video_sampler import NEGATIVE

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run

Conditions = dict[str, np.ndarray]


def read_scalars(text: str | None) -> dict[str, float]:
    """Return the numbers of --scalars=NAME=VALUE,… by name.

    Raises:
      UserError: It is not of that form.
    """
    scalars = {}
    for item in filter(None, (text or '').split(',')):
        name, _, value = item.partition('=')
        try:
            scalars[name] = float(value)
        except ValueError:
            raise UserError(f'--scalars={text}: want NAME=NUMBER,…, found {item}') from None
    return scalars


def scalar_conditions(text: str | None, run: 'Run', count: int) -> Conditions:
    """Return the numbers of --scalars for `count` videos: {name: float32 (count,)}.

    Raises:
      UserError: See read_scalars, or the network is not conditioned on such a number.
    """
    scalars = read_scalars(text)
    names = list(run.model_config.scalars)
    if not {*scalars} <= {*names}:
        raise UserError(f'--scalars={text}: the network is conditioned on {", ".join(names) or "no numbers"}')
    return {name: np.full(count, number, np.float32) for name, number in scalars.items()}


def text_conditions(
    prompts: Sequence[str] | None, negative: str | None, run: 'Run', about: dict[str, Any]
) -> Callable[[np.ndarray], Conditions]:
    """Return a function of rows (n,) -> the conditions that --prompt and --negative set for these videos.

    Videos take the prompts in turn. Conditions are 'text' float32 (n, S, D) and 'text_mask' bool (n, S) where there are
    prompts, 'negative' and 'negative_mask' where there is a negative one. Every text is encoded once, however many
    videos there are.

    Args:
      prompts: Of --prompt; None or empty where it is not given.
      negative: Of --negative; None where it is not given.
      run: The network and its text encoder.
      about: Of the weights: 'text' is the fingerprint of the encoder that captions had in training.

    Raises:
      UserError: The network takes no text, is not guided, or was trained with another encoder than config.text.
    """
    prompts = list(prompts or [])
    if not prompts and negative is None:
        return lambda rows: {}

    option = f'--prompt={prompts[0]}' if prompts else f'--negative={negative}'
    if not run.model_config.text_width:
        raise UserError(f'{option}: the network looks at no text; leave it out')
    if negative is not None and run.experiment.guidance.scale == 1:
        raise UserError(f'--negative={negative}: it counts where --guidance is not 1')

    encoder = run.experiment.text
    texts = prompts if negative is None else [*prompts, negative]
    embeddings, mask = encoder.encode(texts)
    trained_with = about.get('text')
    if encoder.width != run.model_config.text_width or trained_with not in (None, encoder.fingerprint):
        raise UserError(
            f'{option}: config.text is {encoder} ({encoder.fingerprint}), and the network learned from texts of width '
            f'{run.model_config.text_width} by an encoder {trained_with or "unknown"}; name that one with --config.text'
        )

    def conditions_of(rows: np.ndarray) -> Conditions:
        conditions: Conditions = {}
        if prompts:
            turns = rows % len(prompts)
            conditions |= {'text': embeddings[turns], 'text_mask': mask[turns]}
        if negative is not None:
            # It is the last of the texts, for every video.
            last = np.full(len(rows), len(prompts))
            conditions |= dict(zip(NEGATIVE, (embeddings[last], mask[last]), strict=True))
        return conditions

    return conditions_of


# Options that show in the name of samples, each with its value.
NAMED_OPTIONS = ('num', 'steps', 'guidance', 'label', 'scalars', 'size', 'seed', 'ema', 'fps')

# Options that change neither videos nor what is in a file.
NO_EFFECT = ('config', 'step', 'batch_size', 'format', 'out', 'distributed', 'workdir', 'prompts')


def make_stem(
    args: argparse.Namespace, assignments: Sequence[str], steps: Sequence[int], defaults: dict[str, Any]
) -> str:
    """Return the name of a command's samples: the same command has the same, another one another.

    step_000020_guidance2.0_seed3_ab12cd is the step of the weights (of each, where several stand side by side), what
    was set of NAMED_OPTIONS, `text` where there are prompts, and six digits of the sha256 of anything else that was
    set: prompts, --config.… assignments, a file of weights, and a run directory whose samples are written elsewhere.

    Args:
      args: Options by name.
      assignments: --config.GROUP.KEY=VALUE.
      steps: Of each set of weights.
      defaults: Values of options where they are not set, None for those that are not in it.
    """

    def is_set(name: str, value: Any) -> bool:
        return value is not None and value is not False and value != defaults.get(name)

    options = {name: value for name, value in vars(args).items() if is_set(name, value)}
    words = ['_beside_'.join(f'step_{step:06d}' for step in steps)]
    words += [f'{name}{options[name]}' for name in NAMED_OPTIONS if name in options]
    if args.prompt or args.negative is not None:
        words.append('text')

    others = {name: value for name, value in options.items() if name not in (*NAMED_OPTIONS, *NO_EFFECT)}
    # Of a key that is set twice the last counts, as it does in the config.
    others |= dict(assignment.split('=', 1) for assignment in assignments)
    # Samples in a run's own directory need no word of which run they are of.
    if args.workdir and str(args.out) != f'{args.workdir}/samples':
        others['workdir'] = args.workdir
    if others:
        words.append(digest_json(others)[:6])
    return '_'.join(words)
