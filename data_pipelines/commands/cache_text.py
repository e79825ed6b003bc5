"""Embeddings of every caption of sets of records, made once: `python -m data_pipelines cache-text`.

Each distinct text is encoded once, in the order of the texts' hashes, a part of them at a time. Killed and started
again it goes on behind the parts that are there, and ends with the same files; of a set that has grown only what is new
is encoded.
"""

import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np

from vdm_jax.cli import outputs
from vdm_jax.config.experiment_file import override
from vdm_jax.config.schema import to_dict
from vdm_jax.data.latents import text_store
from vdm_jax.data.records.shards import RecordSet
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from, read_experiment
from vdm_jax.experiment.registry import CHOICES
from vdm_jax.files import open_whole, write_whole
from vdm_jax.text.encoder import TextEncoder

PART_BYTES = 2**28  # of float32, that a part's embeddings take at most while they are made


def add_arguments(parser):
    parser.add_argument('--config', metavar='FILE[:ARGS]', help='experiment: the sets of its config.data')
    parser.add_argument(
        '--records', action='append', default=[], metavar='DIR', help='a set; may be given several times'
    )
    parser.add_argument(
        '--encoder', metavar='NAME[:KEY=VALUE,…]', help="such as hashing:width=64; config.text's own where not given"
    )
    parser.add_argument('--out', required=True, metavar='DIR', help='where they go: config.data.text of a run')
    parser.add_argument('--dtype', default='float16', choices=('float16', 'float32'), help='as stored (float16)')
    parser.add_argument('--share', default='0/1', metavar='K/N', help='this is process K of N that run at once (0/1)')


def run(arguments):
    """Encodes the captions of some sets. Raises UserError where there is no set, or no encoder."""
    experiment = read_experiment(arguments.config, arguments.assignments) if arguments.config else None
    sets = [*arguments.records, *(experiment.data.record_sets if experiment else ())]
    if not sets:
        raise UserError('cache-text: say what: --records=DIR, or --config=FILE with config.data.source=records')
    encoder = experiment.text if experiment else None
    if arguments.encoder:
        encoder = encoder_of(arguments.encoder)
    if encoder is None or not encoder.width:
        raise UserError('--encoder=NAME is missing: what encodes the texts, such as --encoder=hashing')
    share = share_of(arguments.share)
    outputs.try_writing(arguments.out, False)
    texts, captions = texts_of(sets)
    try:
        new = cache(texts, encoder, Path(arguments.out), arguments.dtype, share)
    except OSError as error:
        raise UserError(f'--out={arguments.out}: {error}; the same command goes on where it stopped') from None
    there = len(texts) - len(text_store.TextCache(arguments.out, '--out').missing(texts))
    size = sum(file.stat().st_size for file in Path(arguments.out).glob('*.npy'))
    print(
        f'{arguments.out}: embeddings of {there} of {len(texts)} texts ({new} new) of {captions} captions, at most '
        f'{encoder.length} places of {encoder.width}, {size / 1e6:.1f} MB'
    )


def encoder_of(spec: str) -> TextEncoder:
    """The encoder that 'name:key=value,…' says."""
    name, _, rest = spec.partition(':')
    keys = [f'config.text.{item}' for item in filter(None, rest.split(','))]
    return experiment_from(override({'text': {'name': name}}, keys)).text


def share_of(text: str) -> tuple[int, int]:
    """(K, N) of 'K/N'."""
    number, _, count = text.partition('/')
    if number.isdigit() and count.isdigit() and int(number) < int(count):
        return int(number), int(count)
    raise UserError(f'--share={text}: want K/N with K from 0 to N - 1')


def texts_of(sets) -> tuple[list[str], int]:
    """(the distinct texts of all captions, in the order of their keys; the number of captions)."""
    found, captions = {}, 0
    for records in map(RecordSet, sets):
        for i in range(len(records)):
            texts = [each.text for each in records.captions(i)]
            captions += len(texts)
            found |= {text_store.key_of(text): text for text in texts if not text_store.is_none(text)}
    return [found[key] for key in sorted(found)], captions


def cache(texts: list[str], encoder: TextEncoder, out: Path, dtype: str = 'float16', share=(0, 1)) -> int:
    """Encodes those of the texts that are not there yet and are this process's share; returns how many.

    Raises:
      UserError: the directory holds embeddings of another encoder, or they do not fit dtype.
    """
    about = {'fingerprint': encoder.fingerprint, 'encoder': to_dict(encoder, CHOICES, TextEncoder), 'dtype': dtype}
    about |= {'length': encoder.length, 'width': encoder.width}
    out.mkdir(parents=True, exist_ok=True)
    if (out / text_store.ABOUT).exists():
        there = text_store.TextCache(str(out), '--out').about
        for what, wanted in about.items():
            # what an encoder is called, and where its files lie, may change
            if what != 'encoder' and there.get(what) != wanted:
                raise UserError(
                    f'--out={out}: made with {what} {there.get(what)} of {there.get("encoder")}, and this is {wanted} '
                    f'of {about["encoder"]}; name another directory'
                )
    else:
        content = json.dumps(text_store.about_of(about), indent=2) + '\n'
        write_whole(out / text_store.ABOUT, content)
    number, count = share
    done = text_store.TextCache(str(out), '--out')
    mine = [text for text in texts if text_store.key_of(text)[0] % count == number and text not in done]
    size = max(PART_BYTES // (4 * max(encoder.length * encoder.width, 1)), 1)
    numbers = (n for n in itertools.count(number, count) if not (out / text_store.TEXTS.format(n)).exists())
    began = time.monotonic()
    for start in range(0, len(mine), size):
        write_part(out, next(numbers), mine[start : start + size], encoder, dtype)
        at = min(start + size, len(mine))
        rate = at / (time.monotonic() - began)
        line = f'{at} of {len(mine)} texts, {rate:.0f} a second, {(len(mine) - at) / rate:.0f} s left'
        print(f'\r{line}', end='\n' if at == len(mine) else '', file=sys.stderr)
    return len(mine)


def write_part(out: Path, number: int, texts: list[str], encoder: TextEncoder, dtype: str) -> None:
    """Encodes these texts into one part."""
    embeddings, mask = encoder.encode(texts)
    with np.errstate(over='ignore'):
        tokens = embeddings[mask].astype(dtype)
    if not np.isfinite(tokens).all():
        raise UserError(f'--dtype={dtype}: some embeddings are not finite in it; take float32 into another --out')
    content = text_store.part_of(texts, mask.sum(1), tokens)
    with open_whole(out / text_store.TOKENS.format(number)) as file:
        np.save(file, tokens)
    write_whole(out / text_store.TEXTS.format(number), content)
