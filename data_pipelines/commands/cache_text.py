"""Encode every caption of sets of records once: `python -m data_pipelines cache-text`.

Each distinct text is encoded once, in the order of the texts' hashes, a part of them at a time. Killed and started
again it goes on behind the parts that are there, and ends with the same files; of a set that has grown only what is new
is encoded.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vdm_jax.cli import outputs
from vdm_jax.config.experiment_file import override
from vdm_jax.config.schema import to_dict
from vdm_jax.data.latents import text_store
from vdm_jax.data.records.shards import RecordSet
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from, read_experiment
from vdm_jax.experiment.registry import CHOICES
from vdm_jax.files import open_atomically, write_atomically
from vdm_jax.text.encoder import TextEncoder

PART_BYTES = 2**28  # of float32, that a part's embeddings take at most while they are made


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
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


def run(arguments: argparse.Namespace) -> None:
    """Encode the captions of some sets, and print what there is then.

    Raises:
      UserError: there is no set, or no encoder.
    """
    experiment = read_experiment(arguments.config, arguments.assignments) if arguments.config else None
    sets = [*arguments.records, *(experiment.data.record_sets if experiment else ())]
    if not sets:
        raise UserError('cache-text: say what: --records=DIR, or --config=FILE with config.data.source=records')
    encoder = experiment.text if experiment else None
    if arguments.encoder:
        encoder = parse_encoder(arguments.encoder)
    if encoder is None or not encoder.width:
        raise UserError('--encoder=NAME is missing: what encodes the texts, such as --encoder=hashing')
    share = parse_share(arguments.share)
    outputs.check_writable_here(arguments.out, False)

    texts, captions = collect_texts(sets)
    out = Path(arguments.out)
    try:
        new = cache(texts, encoder, out, arguments.dtype, share)
    except OSError as error:
        raise UserError(f'--out={arguments.out}: {error}; the same command goes on where it stopped') from None

    encoded = len(texts) - len(text_store.TextCache(arguments.out, '--out').missing(texts))
    size = sum(file.stat().st_size for file in out.glob('*.npy'))
    print(
        f'{arguments.out}: embeddings of {encoded} of {len(texts)} texts ({new} new) of {captions} captions, at most '
        f'{encoder.length} places of {encoder.width}, {size / 1e6:.1f} MB'
    )


def parse_encoder(spec: str) -> TextEncoder:
    """Return the encoder of 'name:key=value,…'."""
    name, _, rest = spec.partition(':')
    keys = [f'config.text.{item}' for item in filter(None, rest.split(','))]
    encoder: TextEncoder = experiment_from(override({'text': {'name': name}}, keys)).text
    return encoder


def parse_share(text: str) -> tuple[int, int]:
    """Return (K, N) of 'K/N'."""
    number, _, count = text.partition('/')
    if number.isdigit() and count.isdigit() and int(number) < int(count):
        return int(number), int(count)
    raise UserError(f'--share={text}: want K/N with K from 0 to N - 1')


def collect_texts(sets: Iterable[str]) -> tuple[list[str], int]:
    """Return (the distinct texts of all captions, in the order of their keys; the number of captions)."""
    texts: dict[bytes, str] = {}
    num_captions = 0
    for records in map(RecordSet, sets):
        for number in range(len(records)):
            captions = records.captions(number)
            num_captions += len(captions)
            for caption in captions:
                if not text_store.is_empty(caption.text):
                    texts[text_store.key_of(caption.text)] = caption.text
    # By hash, so that the same texts make the same parts whatever order the sets come in.
    return [texts[key] for key in sorted(texts)], num_captions


def cache(
    texts: list[str], encoder: TextEncoder, out: Path, dtype: str = 'float16', share: tuple[int, int] = (0, 1)
) -> int:
    """Encode those of the texts that are not there yet and are this process's share; return how many.

    Args:
      texts: All texts, distinct.
      encoder: What encodes them.
      out: The directory of embeddings.
      dtype: That they are stored in.
      share: (number of this process, how many there are).

    Raises:
      UserError: the directory holds embeddings of another encoder, or they do not fit dtype.
    """
    _begin(encoder, out, dtype)
    number, count = share
    done = text_store.TextCache(str(out), '--out')
    # By the text's hash, so that several processes share the work without asking each other.
    own_texts = [text for text in texts if text_store.key_of(text)[0] % count == number and text not in done]

    # Numbers of parts that no process has used, and no other one will.
    free_numbers = (
        part for part in itertools.count(number, count) if not (out / text_store.TEXTS.format(part)).exists()
    )
    part_size = max(PART_BYTES // (4 * max(encoder.length * encoder.width, 1)), 1)
    began = time.monotonic()
    for start in range(0, len(own_texts), part_size):
        write_part(out, next(free_numbers), own_texts[start : start + part_size], encoder, dtype)
        encoded = min(start + part_size, len(own_texts))
        left = len(own_texts) - encoded
        rate = encoded / (time.monotonic() - began)
        line = f'{encoded} of {len(own_texts)} texts, {rate:.0f} a second, {left / rate:.0f} s left'
        print(f'\r{line}', end='' if left else '\n', file=sys.stderr)
    return len(own_texts)


def _begin(encoder: TextEncoder, out: Path, dtype: str) -> None:
    """Write what the directory is of, or check that it is of the same encoder."""
    about: dict[str, Any] = {
        'fingerprint': encoder.fingerprint,
        'encoder': to_dict(encoder, CHOICES, TextEncoder),
        'dtype': dtype,
        'length': encoder.length,
        'width': encoder.width,
    }
    out.mkdir(parents=True, exist_ok=True)
    if not (out / text_store.ABOUT).exists():
        content = json.dumps(text_store.seal_about(about), indent=2) + '\n'
        write_atomically(out / text_store.ABOUT, content)
        return

    stored = text_store.TextCache(str(out), '--out').about
    for name, value in about.items():
        # What an encoder is called, and where its files lie, may change.
        if name != 'encoder' and stored.get(name) != value:
            raise UserError(
                f'--out={out}: made with {name} {stored.get(name)} of {stored.get("encoder")}, and this is {value} '
                f'of {about["encoder"]}; name another directory'
            )


def write_part(out: Path, number: int, texts: list[str], encoder: TextEncoder, dtype: str) -> None:
    """Encode these texts into one part."""
    embeddings, mask = encoder.encode(texts)
    # What overflows is looked for below, where it can be explained.
    with np.errstate(over='ignore'):
        tokens = embeddings[mask].astype(dtype)
    if not np.isfinite(tokens).all():
        raise UserError(f'--dtype={dtype}: some embeddings are not finite in it; take float32 into another --out')
    # The index is written last: a part counts once it is there.
    content = text_store.encode_entries(texts, mask.sum(1), tokens)
    with open_atomically(out / text_store.TOKENS.format(number)) as file:
        np.save(file, tokens)
    write_atomically(out / text_store.TEXTS.format(number), content)
