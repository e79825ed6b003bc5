"""Clips that show the same thing: hashes of their pictures over time, and which clip stands for which.

Copies that were encoded anew, resized, made brighter or darker, or given another frame rate have nearly the same
hashes. Cropped, mirrored, or cut out at other times they do not.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipelines.optional_deps import need
from vdm_jax.errors import UserError

MOMENTS = 8  # pictures of a clip that are hashed, evenly over its length
BYTES = 8 * MOMENTS  # 64 bits a picture
FLAT = 2.0  # levels of 255: a picture that spreads less has no hash worth the name
BAND = 24  # bits that two clips must share in one place to be compared at all
MISSED = 1e-4  # chance, at most, that a pair at the largest distance is never compared
LARGEST = 0.15  # distance for which that is affordable
BUCKET = 64  # clips of a bucket that each of it is compared with


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """drop: of the clips that show the same thing, all but one. distance: the share of the bits of their hashes in
    which two may differ; clips that have nothing to do with each other differ in 0.4 to 0.6 of them.
    """

    drop: bool = True
    distance: float = 0.08

    def __post_init__(self):
        if not 0 <= self.distance <= LARGEST:
            raise UserError(f'recipe.duplicates.distance is {self.distance}; want 0 to {LARGEST}')


class Hashes:
    """Perceptual hashes (imagehash.phash) of what one clip of so many seconds shows at 1/16, 3/16 ... 15/16 of it."""

    def __init__(self, seconds: float):
        self._due = [seconds * (2 * moment + 1) / (2 * MOMENTS) for moment in range(MOMENTS)]
        self._shown = None
        self._found, self._flat = [], 0
        need('imagehash')

    def add(self, small: np.ndarray, seconds: float):
        """The next frame's luma, uint8, shrunk, shown from `seconds` after the first on."""
        self._until(seconds)
        self._shown = small

    def finish(self) -> bytes:
        """BYTES bytes, or none where most of the pictures are flat: black ones are no copies of each other."""
        self._until(np.inf)
        return b'' if 2 * self._flat > MOMENTS else b''.join(self._found)

    def _until(self, seconds):
        while len(self._found) < MOMENTS and self._due[len(self._found)] < seconds and self._shown is not None:
            self._found.append(self._hash(self._shown))

    def _hash(self, small):
        from PIL import Image

        if small.std() < FLAT:
            self._flat += 1
            return bytes(8)
        return np.packbits(need('imagehash').phash(Image.fromarray(small)).hash).tobytes()


def stand_ins(
    names: Sequence[str], pixels: Sequence[int], seconds: Sequence[float], hashes: Sequence[bytes], config: Duplicates
) -> np.ndarray:
    """For each clip the number of the one that is kept in its place, its own where it is kept itself: int64 (N,).

    Kept is the one with the most pixels a frame, as what is lost cannot be had back; then the longest, then the first
    by name. Every clip that goes is within the distance of the one kept for it (no chains); of two that are kept, none
    that were compared are. A clip without hashes is kept.

    Clips are compared where BAND bits of their hashes agree in one of many fixed random places, so that the work grows
    with the clips and not with their square: a pair is always found that differs in fewer bits than there are disjoint
    places (21 of 512), and with a chance of 1 - MISSED at the largest distance. Where more than BUCKET clips agree in a
    place, each is compared with the BUCKET of them that come first in the order above. Found pairs are checked exactly.
    """
    order = sorted(range(len(names)), key=lambda i: (-pixels[i], -seconds[i], names[i]))
    order = np.array([i for i in order if hashes[i]], np.int64)
    kept = np.arange(len(names))
    if not len(order):
        return kept
    rows = np.frombuffer(b''.join(hashes[i] for i in order), '<u8').reshape(len(order), -1)
    _, first, same = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    best = np.sort(first)  # the first by order of each hash, by order
    found = np.arange(len(best))
    for earlier, later in _pairs(rows[best], config.distance):
        if found[later] == later and found[earlier] == earlier:
            found[later] = earlier
    place = np.searchsorted(best, first)  # of each different hash among the best
    kept[order] = order[best[found[place[same.ravel()]]]]
    return kept


def _pairs(rows, distance):
    """(i, j) with i < j of all rows (uint64 (N, W)) within the distance, by j, then i."""
    bits = 64 * rows.shape[1]
    limit = int(distance * bits + 1e-9)
    places = bits // BAND
    hit = np.prod((bits - limit - np.arange(BAND)) / (bits - np.arange(BAND)))  # all of a band's bits among the equal
    rounds = max(1, int(np.ceil(np.log(MISSED) / (places * np.log1p(-hit))))) if hit < 1 else 1
    pairs = np.zeros(0, np.uint64)
    for number in range(rounds):
        permuted = np.argsort(np.random.Philox(key=number).random_raw(bits), kind='stable')
        bands = permuted[: places * BAND].reshape(places, BAND)
        pairs = np.unique(np.concatenate([pairs, *(_bucketed(rows, _key(rows, band), limit) for band in bands)]))
    return zip((pairs & np.uint64(2**32 - 1)).tolist(), (pairs >> np.uint64(32)).tolist(), strict=True)


def _key(rows, band):
    """The bits of each row in these places, as a number."""
    key = np.zeros(len(rows), np.uint32)
    for bit in band.tolist():
        key = key << np.uint32(1) | (rows[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)).astype(np.uint32)
    return key


def _bucketed(rows, keys, limit):
    """The pairs i < j within `limit` bits of each other of rows with equal keys, as j * 2**32 + i: uint64 (M,)."""
    order = np.argsort(keys, kind='stable')
    begins = np.flatnonzero(np.r_[True, np.diff(keys[order]) != 0])
    begin = np.repeat(begins, np.diff(np.r_[begins, len(order)]))
    found, at = [np.zeros(0, np.uint64)], np.arange(len(order))
    for step in range(BUCKET):
        at = at[begin[at] + step < at]
        if not len(at):
            break
        one, other = order[begin[at] + step], order[at]
        near = np.bitwise_count(rows[one] ^ rows[other]).sum(1) <= limit
        found.append(other[near].astype(np.uint64) << np.uint64(32) | one[near].astype(np.uint64))
    return np.concatenate(found)
