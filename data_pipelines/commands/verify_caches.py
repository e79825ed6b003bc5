"""Whether latents, texts and weights that were made beforehand are as they were made: every byte of them is read."""

import os
import re
from collections.abc import Callable

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
Findings = dict


def verifier_of(path: str) -> Callable[[str], Findings] | None:
    """What verifies a file or directory, None where it is none of these kinds.

    Raises:
      UserError: nothing is there.
    """
    if not os.path.isdir(path):
        return weights
    names = os.listdir(path)
    if any(map(LATENTS.fullmatch, names)) or any(map(BUCKET.fullmatch, names)):
        return latents
    if any(map(TEXTS.fullmatch, names)):
        return texts
    if metadata.ABOUT in names and 'manifest.json' not in names:
        return texts if text_store.is_about(path) else latents
    return None


def latents(path: str) -> Findings:
    """Latents of clips, those of each bucket where there are several."""
    buckets = sorted(name for name in os.listdir(path) if BUCKET.fullmatch(name))
    count, problems, verified = 0, [], True
    for name in buckets or ['']:
        place = os.path.join(path, name)
        there = LatentSet(place, place)
        try:
            count += there.about['count'] * there.views
            verified = verified and there.verified
            problems += [(os.path.join(name, file), why) for file, why in there.problems()]
        except UserError as error:
            problems.append((os.path.join(name, metadata.ABOUT), str(error).removeprefix(f'{place}: ')))
    what = f'{count} views of clips' + (f' in {len(buckets)} buckets' if buckets else '')
    return {'what': what, 'bytes': _size(path), 'verified': verified, 'problems': problems}


def texts(path: str) -> Findings:
    """Embeddings of texts."""
    there = TextCache(path, 'DIR')
    try:
        count, verified, problems = there.count, there.verified, list(there.problems())
    except UserError as error:
        count, verified, problems = 0, True, [('texts', str(error))]
    problems = [(file, why.removeprefix(f'DIR={path}: ')) for file, why in problems]
    return {'what': f'embeddings of {count} texts', 'bytes': _size(path), 'verified': verified, 'problems': problems}


def weights(path: str) -> Findings:
    """Weights that `export` wrote."""
    from vdm_jax.pretrained import weights as exported  # it wakes jax

    what, verified, problems, size = 'weights', True, [], check_regular(path)
    try:
        found = exported.inspect(path)
        what = exported.table(found).partition('\n')[0].removeprefix(f'{path}: ')
        verified = found['sha256'] is not None
    except UserError as error:
        problems = [(os.path.basename(path), str(error))]
    return {'what': what, 'bytes': size, 'verified': verified, 'problems': problems}


def summary(path: str, findings: Findings) -> str:
    """The last line that is printed."""
    problems = findings['problems']
    verdict = f'{len(problems)} problems' if problems else 'all hashes are right'
    if not problems and not findings['verified']:
        verdict = UNVERIFIED
    return f'{path}: {findings["what"]}, {findings["bytes"] / 1e6:.1f} MB: {verdict}'


def _size(path):
    return sum(os.path.getsize(os.path.join(place, name)) for place, _, names in os.walk(path) for name in names)
