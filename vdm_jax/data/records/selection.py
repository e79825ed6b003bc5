"""The choice of the records of a set that a source takes: by the table alone, before any is read."""

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


def select_records(source: 'Records', records: RecordSet) -> tuple[np.ndarray, dict[str, int]]:
    """Select the records that meet the filters of a source and are of its split.

    Returns:
      Their numbers, ascending; and how many there are, were filtered out, and are too short, by name.

    Raises:
      UserError: none is left.
    """
    meets_filters = match_filters(source, records)
    is_mine = is_in_split(source, records)
    is_candidate = meets_filters & is_mine
    is_short = is_candidate & (clip_lengths(source, records) < source.frames)
    is_selected = is_candidate & ~is_short if source.short == 'drop' else is_candidate
    if not is_selected.any():
        raise UserError(
            f'config.data.path={source.path}: none of {len(is_selected)} records is left: config.data.filters keep '
            f'{meets_filters.sum()}, split={source.split} has {is_candidate.sum()} of them, and {is_short.sum()} of '
            f'those are too short for config.data.frames={source.frames}'
        )

    counts = {
        'records': int(is_selected.sum()),
        'filtered_records': int((is_mine & ~meets_filters).sum()),
        'short_records': int(is_short.sum()),
    }
    return np.flatnonzero(is_selected), counts


def match_filters(source: 'Records', records: RecordSet) -> np.ndarray:
    """Return which records of the whole set meet the filters, bool (N,)."""
    return filters.parse(source.filters).matches(filters.Columns(records))


def is_in_split(source: 'Records', records: RecordSet) -> np.ndarray:
    """Return which records its split has, bool (N,).

    A hash decides: of the video that each was cut from, or of its key where that is not known.
    """
    if source.split == 'all':
        return np.ones(len(records), bool)

    sources = records.column('source')
    keys = records.column('key')
    # Clips of one video look alike, so all of them are on one side; a hash keeps them there when the set grows.
    names = [cut_from or key for cut_from, key in zip(sources, keys, strict=True)]
    is_test = {name: zlib.crc32(name.encode()) / 2**32 < source.held_out for name in set(names)}
    return np.array([is_test[name] == (source.split == 'test') for name in names], bool)


def clip_lengths(source: 'Records', records: RecordSet) -> np.ndarray:
    """Return how many frames of a clip each record has, as its mean rate says, int64 (N,)."""
    frames: np.ndarray = records.column('frames').astype(np.int64)
    if source.fps is None:
        lengths: np.ndarray = -(-frames // source.stride)
        return lengths
    seconds = (frames - 0.5) / records.column('fps')
    # As extract_clip.clip_length has it, of a video of constant rate.
    return np.asarray(np.ceil(seconds * source.fps / source.stride - 1e-6), np.int64)


def read_labels(source: 'Records', records: RecordSet) -> np.ndarray:
    """Return the label of each record of the whole set, int64 (N,), -1 for none.

    An index is that among those which meet the filters, of whatever split.
    """
    if source.label == 'index':
        # Counted over both splits, so that training and held-out clips have the same classes.
        meets_filters = match_filters(source, records)
        return np.where(meets_filters, np.cumsum(meets_filters) - 1, -1)
    if source.label == 'none':
        return np.zeros(len(records), np.int64)
    return np.asarray(np.nan_to_num(records.column('label').astype(np.float64), nan=-1), np.int64)


def check_labels(source: 'Records', labels: np.ndarray) -> None:
    """Check that each of these records, those that are taken, has a label.

    Raises:
      UserError: some have none.
    """
    lacking = int((labels < 0).sum())
    if lacking:
        raise UserError(
            f'config.data.label=label: {lacking} of {len(labels)} records in {source.path} have none; leave them '
            'out with config.data.filters=label>=0, or set label=none'
        )


def check_captions(source: 'Records', records: RecordSet, text: TextCache, index: np.ndarray) -> None:
    """Check that each caption of these records has an embedding.

    Raises:
      UserError: one has not, or there are none at all.
    """
    # First, so that a cache which is not there is named, and not the first caption that it lacks.
    text.about  # noqa: B018, that they are there
    missing = text.missing(caption.text for i in index for caption in records.captions(i))
    if missing:
        raise UserError(
            f'config.data.text={source.text}: no embedding of {len(missing)} captions of {source.path}, such as '
            f'{missing[0]!r}; run python -m data_pipelines cache-text on the set again'
        )


def find_latents(source: 'Records', records: RecordSet, index: np.ndarray) -> LatentInfo | None:
    """Return which latents these records hold, None of videos.

    Raises:
      UserError: latents beside videos, of several codecs, or of clips that are to be cut otherwise now.
    """

    def column(name: str) -> np.ndarray:
        values: np.ndarray = records.column(name)[index]
        return values

    latents = column('latents')
    if all(shape is None for shape in latents):
        return None

    # A video beside latents counts as a codec of its own, which has no name.
    pairs = zip(latents, column('codec'), strict=True)
    codecs = sorted({'' if shape is None else codec for shape, codec in pairs})
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
