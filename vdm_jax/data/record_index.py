"""Which records of a set a source takes: decided by the table alone, before any is read. `source`: a Records."""

import zlib

import numpy as np

from vdm_jax.data import filters
from vdm_jax.errors import UserError


def choose(source) -> tuple[np.ndarray, dict[str, int]]:
    """(the numbers of the records that meet its filters and are of its split, ascending; how many there are, were
    filtered out, and are too short).

    Raises: UserError where none is left.
    """
    meets = meeting(source)
    mine = in_split(source)
    short = meets & mine & (lengths(source) < source.frames)
    taken = meets & mine & (~short if source.short == 'drop' else True)
    if not taken.any():
        raise UserError(
            f'config.data.path={source.path}: none of {len(taken)} records is left: config.data.filters keep '
            f'{meets.sum()}, split={source.split} has {(meets & mine).sum()} of them, and {short.sum()} of those are '
            f'too short for config.data.frames={source.frames}'
        )
    counts = {'records': taken, 'filtered_records': mine & ~meets, 'short_records': short}
    return np.flatnonzero(taken), {name: int(which.sum()) for name, which in counts.items()}


def meeting(source) -> np.ndarray:
    """Which records of the whole set meet the filters, bool (N,)."""
    return filters.parse(source.filters).keep(filters.Columns(source.records))


def in_split(source) -> np.ndarray:
    """Which records its split has, bool (N,): by a hash of the video that each was cut from (its key, where that is not
    known).
    """
    names = [cut_from or key for cut_from, key in zip(*map(source.records.column, ('source', 'key')), strict=True)]
    if source.split == 'all':
        return np.ones(len(names), bool)
    tested = {name: zlib.crc32(name.encode()) / 2**32 < source.held_out for name in set(names)}
    return np.array([tested[name] == (source.split == 'test') for name in names], bool)


def lengths(source) -> np.ndarray:
    """How many frames of a clip each record has, as its mean rate says, int64 (N,)."""
    frames = source.records.column('frames').astype(np.int64)
    if source.fps is None:
        return -(-frames // source.stride)
    seconds = (frames - 0.5) / source.records.column('fps')
    return np.ceil(seconds * source.fps / source.stride - 1e-6).astype(np.int64)


def labels_of(source) -> np.ndarray:
    """The label of each record of the whole set, int64 (N,), -1 for none; an index is that among those which meet the
    filters, of whatever split.

    Raises: UserError where some that are taken have none.
    """
    if source.label == 'index':
        meets = meeting(source)
        return np.where(meets, np.cumsum(meets) - 1, -1)
    if source.label == 'none':
        return np.zeros(len(source.records), np.int64)
    labels = np.nan_to_num(source.records.column('label').astype(np.float64), nan=-1).astype(np.int64)
    if lacking := int((labels[source.index] < 0).sum()):
        raise UserError(
            f'config.data.label=label: {lacking} of {len(source.index)} records in {source.path} have none; leave them '
            'out with config.data.filters=label>=0, or set label=none'
        )
    return labels


def check_captions(source, index: np.ndarray) -> None:
    """Whether each caption of these records has an embedding.

    Raises: UserError where one has not, or there are none at all.
    """
    source.text_cache.about  # noqa: B018, that they are there
    missing = source.text_cache.missing(each.text for i in index for each in source.records.captions(i))
    if missing:
        raise UserError(
            f'config.data.text={source.text}: no embedding of {len(missing)} captions of {source.path}, such as '
            f'{missing[0]!r}; run python -m data_pipelines cache-text on the set again'
        )


def latents_of(source, index: np.ndarray) -> tuple[str, dict[tuple, tuple]]:
    """(sha256 of the codec that made the latents of these records, {(T, H, W) of their clips: (T', H', W', 2C)}); ('',
    {}) of videos.

    Raises: UserError for latents beside videos, of several codecs, or of clips that are to be cut otherwise now.
    """

    def column(name):
        return source.records.column(name)[index]

    latents = column('latents')
    if all(shape is None for shape in latents):
        return '', {}
    codecs = sorted({'' if shape is None else sha for shape, sha in zip(latents, column('codec'), strict=True)})
    if len(codecs) > 1:
        raise UserError(
            f'config.data.path={source.path}: records of two codecs, {codecs[0] or "none (videos)"} and {codecs[1]}; '
            'make all latents with one'
        )
    for key, usual in {'stride': 1, 'fps': None, 'clips': 1}.items():
        if getattr(source, key) != usual:
            raise UserError(
                f'config.data.{key}={getattr(source, key)}: latents are of clips that were cut before; leave it '
                f'{"none" if usual is None else usual}'
            )
    clips = zip(*(column(name).tolist() for name in ('frames', 'height', 'width')), strict=True)
    return codecs[0], {clip: tuple(map(int, shape)) for clip, shape in zip(clips, latents, strict=True)}
