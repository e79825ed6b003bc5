"""What the command line says of the videos that are to be made: numbers and texts that the network is told."""

import hashlib
import json

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.generate import NEGATIVE


def scalars_of(args, run, count: int) -> dict:
    """What --scalars=NAME=VALUE,… says, for so many videos: {name: float32 (count,)}."""
    found = {}
    for item in filter(None, (args.scalars or '').split(',')):
        name, _, value = item.partition('=')
        try:
            number = float(value)
        except ValueError:
            raise UserError(f'--scalars={args.scalars}: want NAME=NUMBER,…, found {item}') from None
        if name not in run.model.scalars:
            raise UserError(f'--scalars={args.scalars}: the network is told {list(run.model.scalars)} alone')
        found[name] = np.full(count, number, np.float32)
    return found


def texts_of(args, run, count: int, about: dict) -> dict:
    """What --prompt and --negative say, the prompts in turn: {'text': float32 (count, S, D), 'text_mask', 'negative',
    'negative_mask'}, each where it is said.

    Args:
      about: of the weights: their 'text' is the fingerprint of the encoder that captions had in training.

    Raises:
      UserError: the network looks at no text, is not guided, or learned the texts of another encoder than config.text.
    """
    prompts, negative = args.prompt or [], args.negative
    if not prompts and negative is None:
        return {}
    option = f'--prompt={prompts[0]}' if prompts else f'--negative={negative}'
    if not run.model.text_width:
        raise UserError(f'{option}: the network looks at no text; leave it out')
    if negative is not None and run.experiment.guidance.scale == 1:
        raise UserError(f'--negative={negative}: it counts where --guidance is not 1')
    encoder, learned = run.experiment.text, about.get('text')
    texts = [prompts[i % len(prompts)] for i in range(count)] if prompts else []
    embeddings, mask = encoder.encode([*texts, *([] if negative is None else [negative])])
    if encoder.width != run.model.text_width or learned not in (None, encoder.fingerprint):
        raise UserError(
            f'{option}: config.text is {encoder} ({encoder.fingerprint}), and the network learned from texts of width '
            f'{run.model.text_width} by an encoder {learned or "unknown"}; name that one with --config.text'
        )
    found = {'text': embeddings[: len(texts)], 'text_mask': mask[: len(texts)]} if prompts else {}
    if negative is not None:
        whole = (np.repeat(each[-1:], count, 0) for each in (embeddings, mask))
        found |= dict(zip(NEGATIVE, whole, strict=True))
    return found


def digits(args) -> str:
    """Six digits of what is said in texts, for names of files."""
    return hashlib.sha256(json.dumps([args.prompt, args.negative]).encode()).hexdigest()[:6]
