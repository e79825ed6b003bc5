"""Which records of a set a source takes: decided by the table alone, before any is read."""

import zlib
from typing import TYPE_CHECKING

import numpy as np

from vdm_jax.data.latents.text_store import TextCache
from vdm_jax.data.records import filters
from vdm_jax.data.records.shards import RecordSet
from vdm_jax.data.source import LatentInfo, Shape, Size
from vdm_jax.errors import UserError

if TYPE_CHECKING:
    from vdm_jax.data.records.source import Records


def choose(source: 'Records', records: RecordSet) -> tuple[np.ndarray, dict[str, int]]:
    """Choose the records that meet its filters and are of its split.

    Returns:
      Their numbers, ascending; and how many there are, were filtered out, and are too short, by name.

    Raises:
      UserError: none is left.
    """
    meets = meeting(source, records)
    mine = in_split(source, records)
    short = meets & mine & (lengths(source, records) < source.frames)
    taken = meets & mine & (~short if source.short == 'drop' else True)
    if not taken.any():
        raise UserError(
            f'config.data.path={source.path}: none of {len(taken)} records is left: config.data.filters keep '
            f'{meets.sum()}, split={source.split} has {(meets & mine).sum()} of them, and {short.sum()} of those are '
            f'too short for config.data.frames={source.frames}'
        )
    counts = {'records': taken, 'filtered_records': mine & ~meets, 'short_records': short}
    return np.flatnonzero(taken), {name: int(which.sum()) for name, which in counts.items()}


def meeting(source: 'Records', records: RecordSet) -> np.ndarray:
    """Return which records of the whole set meet the filters, bool (N,)."""
    return filters.parse(source.filters).keep(filters.Columns(records))


def in_split(source: 'Records', records: RecordSet) -> np.ndarray:
    """Return which records its split has, bool (N,).

    A hash decides: of the video that each was cut from, or of its key where that is not known.
    """
    names = [cut_from or key for cut_from, key in zip(*map(records.column, ('source', 'key')), strict=True)]
    if source.split == 'all':
        return np.ones(len(names), bool)
    tested = {name: zlib.crc32(name.encode()) / 2**32 < source.held_out for name in set(names)}
    return np.array([tested[name] == (source.split == 'test') for name in names], bool)


def lengths(source: 'Records', records: RecordSet) -> np.ndarray:
    """Return how many frames of a clip each record has, as its mean rate says, int64 (N,)."""
    frames = records.column('frames').astype(np.int64)
    if source.fps is None:
        return -(-frames // source.stride)
    seconds = (frames - 0.5) / records.column('fps')
    return np.ceil(seconds * source.fps / source.stride - 1e-6).astype(np.int64)


def labels_of(source: 'Records', records: RecordSet) -> np.ndarray:
    """Return the label of each record of the whole set, int64 (N,), -1 for none.

    An index is that among those which meet the filters, of whatever split.
    """
    if source.label == 'index':
        meets = meeting(source, records)
        return np.where(meets, np.cumsum(meets) - 1, -1)
    if source.label == 'none':
        return np.zeros(len(records), np.int64)
    return np.nan_to_num(records.column('label').astype(np.float64), nan=-1).astype(np.int64)


def check_labels(source: 'Records', labels: np.ndarray) -> None:
    """Check that each of these records, those that are taken, has a label.

    Raises:
      UserError: some have none.
    """
    if lacking := int((labels < 0).sum()):
        raise UserError(
            f'config.data.label=label: {lacking} of {len(labels)} records in {source.path} have none; leave them '
            'out with config.data.filters=label>=0, or set label=none'
        )


def check_captions(source: 'Records', records: RecordSet, text: TextCache, index: np.ndarray) -> None:
    """Check that each caption of these records has an embedding.

    Raises:
      UserError: one has not, or there are none at all.
    """
    text.about  # noqa: B018, that they are there
    missing = text.missing(each.text for i in index for each in records.captions(i))
    if missing:
        raise UserError(
            f'config.data.text={source.text}: no embedding of {len(missing)} captions of {source.path}, such as '
            f'{missing[0]!r}; run python -m data_pipelines cache-text on the set again'
        )


def latents_of(source: 'Records', records: RecordSet, index: np.ndarray) -> LatentInfo | None:
    """Return which latents these records hold, None of videos.

    Raises:
      UserError: latents beside videos, of several codecs, or of clips that are to be cut otherwise now.
    """

    def column(name: str) -> np.ndarray:
        return records.column(name)[index]

    latents = column('latents')
    if all(shape is None for shape in latents):
        return None

    codecs = sorted({'' if shape is None else sha for shape, sha in zip(latents, column('codec'), strict=True)})
    if len(codecs) > 1:
        raise UserError(
            f'config.data.path={source.path}: records of two codecs, {codecs[0] or "none (videos)"} and {codecs[1]}; '
            'make all latents with one'
        )

    cuts = (('stride', source.stride, 1), ('fps', source.fps, None), ('clips', source.clips, 1))
    for key, value, usual in cuts:
        if value != usual:
            raise UserError(
                f'config.data.{key}={value}: latents are of clips that were cut before; leave it '
                f'{"none" if usual is None else usual}'
            )

    clips = zip(*(column(name).tolist() for name in ('frames', 'height', 'width')), strict=True)
    shapes: dict[Size, Shape] = {}
    for clip, (frames, height, width, channels) in zip(clips, latents, strict=True):
        shapes[clip] = int(frames), int(height), int(width), int(channels)
    return LatentInfo(codecs[0], shapes)
