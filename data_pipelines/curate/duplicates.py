"""Near-duplicate clips: perceptual hashes of a clip's frames, and which clip is kept of those that show the same.

Copies that were encoded anew, resized, made brighter or darker, or given another frame rate have nearly the same
hashes. Cropped, mirrored, or cut out at other times they do not.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np

from data_pipelines.optional_deps import require
from vdm_jax.config.ranges import Between, Ranged

HASHED_FRAMES = 8  # of a clip, evenly over its length
HASH_BYTES = 8 * HASHED_FRAMES  # 64 bits a frame
FLAT_LEVELS = 2.0  # of 255: a frame whose luma spreads less has no meaningful hash
BAND_BITS = 24  # that two clips share in one band for the pair to be compared at all
MISS_PROBABILITY = 1e-4  # that a pair at the largest distance is never compared, at most
LARGEST_DISTANCE = 0.15  # for which that is affordable
BUCKET_REFERENCES = 64  # clips of a bucket that each of it is compared with


@dataclasses.dataclass(frozen=True)
class DuplicatesConfig(Ranged, where='recipe.duplicates'):
    """The recipe group recipe.duplicates.

    Attributes:
      drop: Whether all but one of the clips that show the same thing are dropped.
      distance: Share of the bits of their hashes in which two such clips may differ, 0 to LARGEST_DISTANCE. Clips that
        have nothing to do with each other differ in 0.4 to 0.6 of them.
    """

    drop: bool = True
    distance: Annotated[float, Between(0, LARGEST_DISTANCE)] = 0.08


class ClipHasher:
    """Computes perceptual hashes (imagehash.phash) of the frames shown at 1/16, 3/16 ... 15/16 of a clip.

    Args:
      seconds: The clip's length.
    """

    def __init__(self, seconds: float) -> None:
        require('imagehash')
        self._due = [seconds * (2 * number + 1) / (2 * HASHED_FRAMES) for number in range(HASHED_FRAMES)]
        self._current: np.ndarray | None = None
        self._hashes: list[bytes] = []
        self._flat_frames = 0

    def add(self, small: np.ndarray, seconds: float) -> None:
        """Take the next frame's luma, uint8, shrunk, shown from `seconds` after the first on."""
        self._hash_until(seconds)
        self._current = small

    def finish(self) -> bytes:
        """Return HASH_BYTES bytes, or none where most frames are flat: black ones are no copies of each other."""
        self._hash_until(np.inf)
        return b'' if 2 * self._flat_frames > HASHED_FRAMES else b''.join(self._hashes)

    def _hash_until(self, seconds: float) -> None:
        """Hash the frame on show for each time that has come before `seconds`."""
        if self._current is None:
            return
        while len(self._hashes) < HASHED_FRAMES and self._due[len(self._hashes)] < seconds:
            self._hashes.append(self._hash(self._current))

    def _hash(self, small: np.ndarray) -> bytes:
        from PIL import Image

        if small.std() < FLAT_LEVELS:
            self._flat_frames += 1
            # Zeros in its place, so that the hashes of the other frames keep theirs.
            return bytes(8)
        bits = require('imagehash').phash(Image.fromarray(small)).hash
        return np.packbits(bits).tobytes()


def find_representatives(
    names: Sequence[str],
    pixels: Sequence[int],
    seconds: Sequence[float],
    hashes: Sequence[bytes],
    config: DuplicatesConfig,
) -> np.ndarray:
    """Return for each clip the number of the one that is kept in its place, int64 (N,); its own where it is kept.

    Kept is the clip with the most pixels a frame, as what is lost cannot be had back; then the longest, then the first
    by name. Every clip that goes is within the distance of the one kept for it (no chains); of two that are kept, none
    that were compared are. A clip without hashes is kept.

    Clips are compared where BAND_BITS bits of their hashes agree in one of many fixed random bands, so that the work
    grows with the clips and not with their square (locality-sensitive hashing by bit sampling, Indyk & Motwani 1998).
    A pair is always found that differs in fewer bits than there are disjoint bands (21 of 512), and with a probability
    of 1 - MISS_PROBABILITY at the largest distance. Where more than BUCKET_REFERENCES clips agree in a band, each is
    compared with so many of them that come first in the order above. Pairs are checked exactly.
    """

    def preference(number: int) -> tuple[int, float, str]:
        return -pixels[number], -seconds[number], names[number]

    hashed = [number for number in sorted(range(len(names)), key=preference) if hashes[number]]
    order = np.array(hashed, np.int64)
    representatives = np.arange(len(names))
    if not len(order):
        return representatives

    # Equal hashes are merged first: many copies of one clip would fill its buckets.
    rows = np.frombuffer(b''.join(hashes[number] for number in order), '<u8').reshape(len(order), -1)
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    best = np.sort(first)  # of each distinct hash the preferred clip, in the order of preference

    representative_ranks = np.arange(len(best))  # in `best`, of the clip that stays
    for earlier, later in _near_pairs(rows[best], config.distance):
        both_kept = representative_ranks[later] == later and representative_ranks[earlier] == earlier
        if both_kept:
            representative_ranks[later] = earlier

    rank = np.searchsorted(best, first)  # of each distinct hash among the best
    representatives[order] = order[best[representative_ranks[rank[inverse.ravel()]]]]
    return representatives


def _near_pairs(rows: np.ndarray, distance: float) -> Iterator[tuple[int, int]]:
    """Return pairs (i, j), i < j, of the rows (uint64 (N, W)) within the distance, by j, then i."""
    bits = 64 * rows.shape[1]
    limit = int(distance * bits + 1e-9)
    bands = bits // BAND_BITS

    # The probability that all bits of a band are among the equal ones of a pair at the limit.
    draws = np.arange(BAND_BITS)
    agreement = np.prod((bits - limit - draws) / (bits - draws))
    rounds = 1
    if agreement < 1:
        rounds = max(1, int(np.ceil(np.log(MISS_PROBABILITY) / (bands * np.log1p(-agreement)))))

    pairs = np.zeros(0, np.uint64)
    for number in range(rounds):
        permutation = np.argsort(np.random.Philox(key=number).random_raw(bits), kind='stable')
        positions = permutation[: bands * BAND_BITS].reshape(bands, BAND_BITS)
        pairs_by_band = [_pairs_in_buckets(rows, _band_key(rows, band), limit) for band in positions]
        # Round by round, as most pairs are found in every one: together they would fill the memory.
        pairs = np.unique(np.concatenate([pairs, *pairs_by_band]))

    earlier = pairs & np.uint64(2**32 - 1)
    later = pairs >> np.uint64(32)
    return zip(earlier.tolist(), later.tolist(), strict=True)


def _band_key(rows: np.ndarray, band: np.ndarray) -> np.ndarray:
    """Return the bits of each row at the positions of a band, as a uint32 number (N,)."""
    key = np.zeros(len(rows), np.uint32)
    for position in band.tolist():
        bit = rows[:, position // 64] >> np.uint64(position % 64) & np.uint64(1)
        key = key << np.uint32(1) | bit.astype(np.uint32)
    return key


def _pairs_in_buckets(rows: np.ndarray, keys: np.ndarray, limit: int) -> np.ndarray:
    """Return the pairs i < j with equal keys within `limit` bits of each other, as j * 2**32 + i: uint64 (M,)."""
    order = np.argsort(keys, kind='stable')
    begins = np.flatnonzero(np.r_[True, np.diff(keys[order]) != 0])
    begin = np.repeat(begins, np.diff(np.r_[begins, len(order)]))

    pairs = [np.zeros(0, np.uint64)]
    members = np.arange(len(order))
    for step in range(BUCKET_REFERENCES):
        # Those behind the bucket's clip number `step`, which they are compared with.
        members = members[begin[members] + step < members]
        if not len(members):
            break
        earlier = order[begin[members] + step]
        later = order[members]
        near = np.bitwise_count(rows[earlier] ^ rows[later]).sum(1) <= limit
        pairs.append(later[near].astype(np.uint64) << np.uint64(32) | earlier[near].astype(np.uint64))
    return np.concatenate(pairs)
