"""Verify latents, texts and weights that were made beforehand: every byte of them is read."""

import os
import re
from collections.abc import Callable
from typing import Any

from vdm_jax.data.latents import metadata, text_store
from vdm_jax.data.latents.store import LatentSet
from vdm_jax.data.latents.text_store import TextCache
from vdm_jax.errors import UserError
from vdm_jax.files import check_regular

LATENTS = re.compile(r'(moments|told|done)-[0-9]+-of-[0-9]+(\.npy)?')
TEXTS = re.compile(r'(texts|tokens)-[0-9]+\.npy')
BUCKET = re.compile(r'bucket-[0-9]+')
UNVERIFIED = 'unverified, as an earlier version made them without sha256; made anew they have it'

# {'what': what there is in words, 'bytes', 'verified': whether damage would be noticed, 'problems': [(file, why), …]}
Findings = dict[str, Any]


def choose_verifier(path: str) -> Callable[[str], Findings] | None:
    """Return what verifies a file or directory, None where it is none of these kinds.

    Raises:
      UserError: nothing is there.
    """
    if not os.path.isdir(path):
        return verify_weights
    names = os.listdir(path)
    # By the names of files: a directory whose about.json is lost is still recognised.
    if any(map(LATENTS.fullmatch, names)) or any(map(BUCKET.fullmatch, names)):
        return verify_latents
    if any(map(TEXTS.fullmatch, names)):
        return verify_texts
    # A cache that was begun and holds nothing yet.
    if metadata.ABOUT in names and 'manifest.json' not in names:
        return verify_texts if text_store.is_about(path) else verify_latents
    return None


def verify_latents(path: str) -> Findings:
    """Verify latents of clips, those of each bucket where there are several."""
    buckets = sorted(name for name in os.listdir(path) if BUCKET.fullmatch(name))
    count = 0
    verified = True
    problems: list[tuple[str, str]] = []
    for name in buckets or ['']:
        directory = os.path.join(path, name)
        latents = LatentSet(directory, directory)
        try:
            count += latents.about['count'] * latents.views
            verified = verified and latents.verified
            problems += [(os.path.join(name, file), why) for file, why in latents.problems()]
        except UserError as error:
            problems.append((os.path.join(name, metadata.ABOUT), str(error).removeprefix(f'{directory}: ')))
    what = f'{count} views of clips' + (f' in {len(buckets)} buckets' if buckets else '')
    return {'what': what, 'bytes': _directory_size(path), 'verified': verified, 'problems': problems}


def verify_texts(path: str) -> Findings:
    """Verify embeddings of texts."""
    cache = TextCache(path, 'DIR')
    count = 0
    verified = True
    try:
        count = cache.count
        verified = cache.verified
        problems = list(cache.problems())
    except UserError as error:
        count = 0
        verified = True
        problems = [('texts', str(error))]
    problems = [(file, why.removeprefix(f'DIR={path}: ')) for file, why in problems]
    what = f'embeddings of {count} texts'
    return {'what': what, 'bytes': _directory_size(path), 'verified': verified, 'problems': problems}


def verify_weights(path: str) -> Findings:
    """Verify weights that `export` wrote."""
    from vdm_jax.pretrained import weights  # it imports jax

    size = check_regular(path)
    what = 'weights'
    verified = True
    problems: list[tuple[str, str]] = []
    try:
        description = weights.inspect(path)
        what = weights.table(description).partition('\n')[0].removeprefix(f'{path}: ')
        verified = description['sha256'] is not None
    except UserError as error:
        problems = [(os.path.basename(path), str(error))]
    return {'what': what, 'bytes': size, 'verified': verified, 'problems': problems}


def summarize(path: str, findings: Findings) -> str:
    """Return the last line that is printed."""
    problems = findings['problems']
    verdict = f'{len(problems)} problems' if problems else 'all hashes are right'
    if not problems and not findings['verified']:
        verdict = UNVERIFIED
    return f'{path}: {findings["what"]}, {findings["bytes"] / 1e6:.1f} MB: {verdict}'


def _directory_size(path: str) -> int:
    size = 0
    for folder, _, names in os.walk(path):
        size += sum(os.path.getsize(os.path.join(folder, name)) for name in names)
    return size
