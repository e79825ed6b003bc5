"""Features of the real clips that samples are held against, and of the controls made from them; kept from run to run.

They hang on the data and on the protocol alone, so they are computed once: a file below the user's cache holds them
under a hash of all that they hang on, the pixels of some of the clips among it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vdm_jax import files
from vdm_jax.data.clip_batches import videos_of
from vdm_jax.data.source import Reader
from vdm_jax.errors import UserError
from vdm_jax.evals import negative_controls
from vdm_jax.evals.feature_distance.settings import DistanceSettings
from vdm_jax.evals.features.extract import extract_features
from vdm_jax.evals.features.network import FeatureNetwork
from vdm_jax.evals.features.opened import OpenNetwork
from vdm_jax.parallel import processes

PROBED = 16  # clips whose pixels are looked at before a file of the cache is taken for theirs
VERSION = 2  # of what the files hold
BATCH = 16  # clips that are read at once
DIGEST = 'sha256'
Change = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (clips, their numbers) -> clips
CLIPS = 'clips_sha256'


@dataclass(frozen=True)
class RealSet:
    """What real clips there are: some of a reader's.

    Attributes:
      reader: Of the clips.
      numbers: Which, in their order, (N,).
      settings: How they are cut.
    """

    reader: Reader
    numbers: np.ndarray
    settings: DistanceSettings

    def read(self, i: int) -> np.ndarray:
        """Return the real clip number i of them, uint8 (T, H, W, C)."""
        number = int(self.numbers[i])
        if self.settings.clips == 'random':
            # By the number of the clip, so that it does not hang on which others there are.
            clip = self.reader.draw(number, np.random.default_rng([self.settings.seed, number]))
        else:
            clip = self.reader[number]
        frames: np.ndarray = cut_frames(videos_of(clip)[None], self.settings)[0]
        return frames

    def batches(self, change: Change) -> Iterator[np.ndarray]:
        """Yield the clips, a batch at a time, each changed."""
        count = len(self.numbers)
        for first in range(0, count, BATCH):
            rows = range(first, min(first + BATCH, count))
            # Without a name, which would keep them in memory while the next ones are read.
            yield change(np.stack([self.read(i) for i in rows]), self.numbers[rows])


@dataclass(frozen=True)
class Features:
    """Features of clips.

    Attributes:
      features: float32 (N, R, D): R rows a clip, one but of a network of frames.
      probabilities: Of the network's classes, (N, R, K); None where no distance is of them.
    """

    features: np.ndarray
    probabilities: np.ndarray | None

    def take(self, rows: np.ndarray | slice) -> Features:
        """Return those of some clips."""
        return Features(self.features[rows], None if self.probabilities is None else self.probabilities[rows])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name, those that there are."""
        every = {'features': self.features, 'probabilities': self.probabilities}
        return {name: array for name, array in every.items() if array is not None}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Features:
        """Return what `arrays` gave."""
        return cls(arrays['features'], arrays.get('probabilities'))


@dataclass(frozen=True)
class RealFeatures:
    """Features of real clips and of what is wrong with some of them.

    Attributes:
      sets: By the names of their rows: 'real', and those of the controls.
      clips_sha256: Of the real clips.
    """

    sets: dict[str, Features]
    clips_sha256: str


def count_frames(frames: int, settings: DistanceSettings) -> int:
    """Count the frames that count, of a video of so many.

    Raises:
      UserError: The video is shorter than the protocol wants.
    """
    if settings.frames is None:
        return -(-frames // settings.stride)
    if frames < settings.span:
        stride = f' at stride {settings.stride}' if settings.stride > 1 else ''
        raise UserError(f'config.data.frames={frames}: want {settings.frames}{stride}, {settings.span} of a video')
    return settings.frames


def cut_frames(videos: np.ndarray, settings: DistanceSettings) -> np.ndarray:
    """Return the frames that count, of videos (n, T, H, W, C).

    Raises:
      UserError: The videos are shorter than the protocol wants.
    """
    count = count_frames(videos.shape[1], settings)
    return videos[:, :: settings.stride][:, :count]


def compute_features(
    opened: OpenNetwork[FeatureNetwork], batches: Iterator[np.ndarray], batch_size: int, settings: DistanceSettings
) -> tuple[Features, str]:
    """Return the features of clips, and the sha256 of their pixels; all processes call it."""
    wanted = settings.wants_probabilities
    extraction = extract_features(opened.network, opened.params, batches, batch_size, with_probabilities=wanted)
    rows = opened.network.rows_per_clip(extraction.frames)

    def by_clip(values: np.ndarray) -> np.ndarray:
        return values.reshape(extraction.num_clips, rows, -1)

    probabilities = None if extraction.probabilities is None else by_clip(extraction.probabilities)
    return Features(by_clip(extraction.features), probabilities), extraction.clips_sha256


def compute_real(
    opened: OpenNetwork[FeatureNetwork], real: RealSet, others: RealSet, train: RealSet, batch_size: int
) -> RealFeatures:
    """Return the features of real clips and of controls, from the cache where they are in it; all processes call it.

    Args:
      opened: The network.
      real: Which clips samples are held against.
      others: Real clips of which the controls are made: others, where there are enough; none for no controls.
      train: As many training clips, of which copies are made.
      batch_size: Clips that are computed at once.
    """
    key = make_key(opened, real, others, train)
    path = cache_path(key)
    if cached := read_cached(path):
        return cached

    seed = real.settings.seed
    change_each = negative_controls.change_each
    changes: dict[str, tuple[RealSet, Change]] = {
        'frozen': (others, lambda clips, _: negative_controls.freeze(clips)),
        'shuffled': (others, functools.partial(change_each, negative_controls.shuffle_frames, seed=seed)),
        'reversed': (others, lambda clips, _: negative_controls.reverse_frames(clips)),
        'noise': (others, functools.partial(change_each, negative_controls.make_noise, seed=seed)),
        'copied': (train, keep),
    }
    features, clips_sha256 = compute_features(opened, real.batches(keep), batch_size, real.settings)
    sets = {'real': features}
    if len(others.numbers):
        for row, (clips, change) in changes.items():
            sets[row], _ = compute_features(opened, clips.batches(change), batch_size, real.settings)
    computed = RealFeatures(sets, clips_sha256)
    if processes.is_primary():
        write_cached(path, computed)
    return computed


def keep(clips: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the clips as they are."""
    del numbers
    return clips


def make_key(opened: OpenNetwork[FeatureNetwork], real: RealSet, others: RealSet, train: RealSet) -> str:
    """Return a hash of all that the features hang on."""

    def describe(clips: RealSet) -> dict[str, Any]:
        count = len(clips.numbers)
        probed = np.unique(np.linspace(0, count - 1, min(PROBED, count)).astype(int))
        pixels = hashlib.sha256()
        for i in probed:
            pixels.update(np.ascontiguousarray(clips.read(int(i))).tobytes())
        numbers = hashlib.sha256(np.ascontiguousarray(clips.numbers, '<i8').tobytes()).hexdigest()
        return {'identity': clips.reader.identity(), 'numbers': numbers, 'pixels': pixels.hexdigest()}

    def read_all() -> str:
        cut = {name: getattr(real.settings, name) for name in ('frames', 'stride', 'clips', 'seed')}
        classes = real.settings.wants_probabilities
        network = {'name': opened.network.name, 'weights': opened.sha256, **dataclasses.asdict(opened.network)}
        sets = {'real': describe(real), 'others': describe(others), 'train': describe(train)}
        return files.digest_json({'version': VERSION, 'cut': cut, 'network': network, 'sets': sets, 'classes': classes})

    # By the primary process alone: files of others may be seen a little later.
    return processes.run_on_primary(read_all)


def cache_path(key: str) -> str | None:
    """Return where the features of a key are kept, None where the user has no home."""
    cache = files.user_cache()
    return os.path.join(cache, 'statistics', f'{key}.npz') if cache else None


def read_cached(path: str | None) -> RealFeatures | None:
    """Return the features in a file of the cache, None where there is none, or it is damaged.

    The cache is that of the primary process, which alone judges: on the others there are no sets.
    """
    loaded = load(path) if processes.is_primary() else None
    # All processes have to take the same way.
    if not processes.run_on_primary(lambda: loaded is not None):
        return None
    return loaded or RealFeatures({}, '')


def load(path: str | None) -> RealFeatures | None:
    """Return what a file holds, None where it is damaged: it is then made anew."""
    if path is None or not os.path.exists(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            content = dict(arrays)
    # Readers of damaged files have errors of every kind.
    except Exception:
        return None
    stored = str(content.pop(DIGEST, ''))
    if stored != digest_arrays(content) or CLIPS not in content:
        return None
    clips_sha256 = str(content.pop(CLIPS))
    by_row: dict[str, dict[str, np.ndarray]] = {}
    for name, array in content.items():
        row, _, part = name.partition('/')
        by_row.setdefault(row, {})[part] = array
    return RealFeatures({row: Features.of_arrays(arrays) for row, arrays in by_row.items()}, clips_sha256)


def write_cached(path: str | None, computed: RealFeatures) -> None:
    """Keep features; where the disk takes none they are computed again the next time."""
    if path is None:
        return
    content: dict[str, Any] = {CLIPS: np.array(computed.clips_sha256)}
    for row, features in computed.sets.items():
        content |= {f'{row}/{name}': array for name, array in features.arrays().items()}
    buffer = io.BytesIO()
    content[DIGEST] = np.array(digest_arrays(content))
    np.savez(buffer, **content)
    try:
        files.write_atomically(path, buffer.getvalue())
    except OSError:
        return


def digest_arrays(arrays: dict[str, np.ndarray]) -> str:
    """Return the sha256 of arrays by name."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f'{name} {arrays[name].dtype} {arrays[name].shape}'.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
