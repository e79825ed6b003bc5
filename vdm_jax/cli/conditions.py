"""What the command line says of the videos that are to be made: numbers and texts that the network is told."""

from collections.abc import Callable

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.files import digest_json
from vdm_jax.sampling.video_sampler import NEGATIVE


def numbers_of(args) -> dict[str, float]:
    """What --scalars=NAME=VALUE,… says.

    Raises:
      UserError: it is not of that form.
    """
    found = {}
    for item in filter(None, (args.scalars or '').split(',')):
        name, _, value = item.partition('=')
        try:
            found[name] = float(value)
        except ValueError:
            raise UserError(f'--scalars={args.scalars}: want NAME=NUMBER,…, found {item}') from None
    return found


def scalars_of(args, run, count: int) -> dict:
    """The same for so many videos: {name: float32 (count,)}.

    Raises:
      UserError: see numbers_of, or the network is not told such a number.
    """
    found = numbers_of(args)
    if not {*found} <= {*run.model_config.scalars}:
        raise UserError(f'--scalars={args.scalars}: the network is told {list(run.model_config.scalars)} alone')
    return {name: np.full(count, number, np.float32) for name, number in found.items()}


def texts_of(args, run, count: int, about: dict) -> dict:
    """What --prompt and --negative say, the prompts in turn: {'text': float32 (count, S, D), 'text_mask', 'negative',
    'negative_mask'}, each where it is said.

    Args:
      about: of the weights: their 'text' is the fingerprint of the encoder that captions had in training.

    Raises:
      UserError: the network looks at no text, is not guided, or learned the texts of another encoder than config.text.
    """
    return texts_by_rows(args, run, about)(np.arange(count))


def texts_by_rows(args, run, about: dict) -> Callable:
    """rows (n,) -> `texts_of` those rows; every text is encoded once, however many videos are told it."""
    prompts, negative = args.prompt or [], args.negative
    if not prompts and negative is None:
        return lambda rows: {}
    option = f'--prompt={prompts[0]}' if prompts else f'--negative={negative}'
    if not run.model_config.text_width:
        raise UserError(f'{option}: the network looks at no text; leave it out')
    if negative is not None and run.experiment.guidance.scale == 1:
        raise UserError(f'--negative={negative}: it counts where --guidance is not 1')
    encoder, learned = run.experiment.text, about.get('text')
    embeddings, mask = encoder.encode([*prompts, *([] if negative is None else [negative])])
    if encoder.width != run.model_config.text_width or learned not in (None, encoder.fingerprint):
        raise UserError(
            f'{option}: config.text is {encoder} ({encoder.fingerprint}), and the network learned from texts of width '
            f'{run.model_config.text_width} by an encoder {learned or "unknown"}; name that one with --config.text'
        )

    def rows_of(rows):
        turns = rows % max(len(prompts), 1)
        found = {'text': embeddings[turns], 'text_mask': mask[turns]} if prompts else {}
        if negative is not None:
            last = np.full(len(rows), len(prompts))
            found |= dict(zip(NEGATIVE, (embeddings[last], mask[last]), strict=True))
        return found

    return rows_of


# Options that another file is not written for: what shows in its name, and what changes neither videos nor files.
IN_WORDS = 'num', 'steps', 'guidance', 'label', 'scalars', 'size', 'seed', 'ema', 'fps'
WITHOUT_EFFECT = 'config', 'step', 'batch_size', 'format', 'out', 'distributed', 'ends_process', 'workdir'


def stem_of(args, assignments: list[str], steps: list[int], usual: dict) -> str:
    """The name of a command's samples: the same command has the same, another one another.

    step_000020_guidance2.0_seed3_ab12cd: the step of the weights (of each, where several stand side by side), what was
    set of IN_WORDS, `text` where there are prompts, and where anything else was set six digits of its sha256: prompts,
    --config.… assignments, a file of weights, and a run directory whose samples are written elsewhere.

    Args:
      usual: values of options where they are not set, None for those that are not in it.
    """

    def is_set(name, value):
        return value is not None and value is not False and value != usual.get(name)

    options = {name: value for name, value in vars(args).items() if is_set(name, value)}
    words = [f'{name}{options[name]}' for name in IN_WORDS if name in options]
    rest = {name: value for name, value in options.items() if name not in (*IN_WORDS, *WITHOUT_EFFECT)}
    rest |= dict(assignment.split('=', 1) for assignment in assignments)
    if args.workdir and str(args.out) != f'{args.workdir}/samples':
        rest['workdir'] = args.workdir
    words += ['text'] if args.prompt or args.negative is not None else []
    words += [digest_json(rest)[:6]] if rest else []
    return '_'.join(['_beside_'.join(f'step_{step:06d}' for step in steps), *words])
