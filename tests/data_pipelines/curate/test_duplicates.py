"""Which clips stand for which: of made-up hashes, of copies of a made-up clip, and of the real clips."""

import numpy as np
import pytest

from data_pipelines.curate import duplicates
from data_pipelines.curate.duplicates import (
    HASH_BYTES,
    HASHED_FRAMES,
    ClipHasher,
    DuplicatesConfig,
    find_representatives,
)
from data_pipelines.curate.frame_stats import resize_short_side, to_luma
from data_pipelines.curate.scores import SIDE
from tests.shared_data import CLIPS, needs_clips
from vdm_jax.data.video import decode
from vdm_jax.errors import UserError

cv2 = pytest.importorskip('cv2')
for needed in ('imagehash', 'av'):
    pytest.importorskip(needed)

BITS = 8 * HASH_BYTES
LIMIT = int(DuplicatesConfig().distance * BITS)


def random_hashes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, HASH_BYTES), np.uint8)


def flip_bits(value, count, rng):
    """Return the hash with `count` of its bits flipped."""
    bits = np.unpackbits(value)
    bits[rng.choice(BITS, count, replace=False)] ^= 1
    return np.packbits(bits)


def representatives(values, pixels=None, seconds=None, names=None, config=None):
    count = len(values)
    values = [value if isinstance(value, bytes) else value.tobytes() for value in values]
    names = [f'{i:06}' for i in range(count)] if names is None else names
    pixels = [1] * count if pixels is None else pixels
    return find_representatives(names, pixels, seconds or [1.0] * count, values, config or DuplicatesConfig()).tolist()


def test_nothing_is_joined_of_what_has_nothing_in_common():
    assert representatives(random_hashes(2000)) == list(range(2000))


def test_no_clips_and_one_clip():
    assert representatives([]) == [] and representatives(random_hashes(1)) == [0]


def test_every_pair_up_to_the_distance_is_found_and_none_beyond():
    rng = np.random.default_rng(1)
    base = random_hashes(1500)
    for count, is_near in ((1, True), (LIMIT // 2, True), (LIMIT, True), (LIMIT + 1, False)):
        values = np.concatenate([base, [flip_bits(value, count, rng) for value in base]])
        stands = np.array(representatives(values))
        assert (stands[:1500] == np.arange(1500)).all()
        assert (stands[1500:] == np.arange(1500) + (0 if is_near else 1500)).all()


def test_the_distance_is_that_of_the_config():
    rng = np.random.default_rng(2)
    base = random_hashes(300)
    values = np.concatenate([base, [flip_bits(value, 70, rng) for value in base]])
    assert representatives(values) == list(range(600))
    assert representatives(values, config=DuplicatesConfig(distance=0.14)) == 2 * list(range(300))
    values = [base[0], flip_bits(base[0], 1, rng), base[0]]
    assert representatives(values, config=DuplicatesConfig(distance=0)) == [0, 1, 0]
    with pytest.raises(UserError, match='recipe.duplicates.distance=0.5'):
        DuplicatesConfig(distance=0.5)


def test_kept_is_the_largest_then_the_longest_then_the_first_by_name():
    same = np.repeat(random_hashes(1), 3, 0)
    assert representatives(same, pixels=[1, 3, 2]) == [1, 1, 1]
    assert representatives(same, pixels=[3, 3, 2], seconds=[1.0, 2.0, 9.0]) == [1, 1, 1]
    assert representatives(same, names=['b', 'c', 'a']) == [2, 2, 2]
    near = [same[0], flip_bits(same[0], 9, np.random.default_rng(0)), same[0]]
    assert representatives(near, pixels=[1, 3, 2]) == [1, 1, 1]


def test_a_chain_of_likenesses_does_not_join_its_ends():
    """0 - 1 - 2 - 3, each 30 bits from the next: 1 is a copy of 0; 2 is near only to 1, which is dropped: 2 stays."""
    order = np.random.default_rng(0).permutation(BITS)
    chain = [np.unpackbits(random_hashes(1)[0])]
    for step in range(3):
        chain.append(chain[-1].copy())
        chain[-1][order[30 * step : 30 * step + 30]] ^= 1
    assert representatives([np.packbits(bits) for bits in chain]) == [0, 0, 2, 2]


def test_a_large_crowd_of_near_copies_goes_for_one():
    rng = np.random.default_rng(3)
    crowd = [flip_bits(random_hashes(1)[0], count, rng) for count in rng.integers(0, 15, 200)]
    stands = representatives([random_hashes(1)[0], *crowd])
    assert stands == [0] * 201


def test_the_order_in_which_clips_come_does_not_matter():
    rng = np.random.default_rng(4)
    base = random_hashes(60)
    values = np.array([flip_bits(base[i % 60], int(rng.integers(0, 45)), rng) for i in range(400)])
    pixels = rng.integers(1, 4, 400)
    order = rng.permutation(400)
    names = [f'{i:03}' for i in range(400)]
    straight = representatives(values, pixels.tolist(), names=names)
    mixed = representatives(values[order], pixels[order].tolist(), names=[names[i] for i in order])
    assert [order[mixed[place]] for place in np.argsort(order)] == straight


def test_clips_without_hashes_are_kept():
    value = random_hashes(1)[0].tobytes()
    assert representatives([b'', value, b'', value]) == [0, 1, 2, 1]


@pytest.mark.slow
def test_a_hundred_thousand_clips_take_seconds():
    import time

    rng = np.random.default_rng(5)
    values = random_hashes(100_000)
    values[50_000:] = [flip_bits(value, int(rng.integers(0, LIMIT + 1)), rng) for value in values[:50_000]]
    began = time.monotonic()
    assert representatives(values) == 2 * list(range(50_000))
    assert time.monotonic() - began < 60


def hash_clip(video, seconds=None, fps=20):
    hashes = ClipHasher(len(video) / fps if seconds is None else seconds)
    for number, frame in enumerate(video):
        hashes.add(resize_short_side(to_luma(frame), SIDE), number / fps)
    return hashes.finish()


def apart(one, other):
    one, other = (np.frombuffer(value, np.uint8) for value in (one, other))
    return int(np.bitwise_count(one ^ other).sum())


def drifting(count=40, seed=0, speed=2.0):
    """uint8 (count, 96, 160, 3): soft shapes that move over each other."""
    rng = np.random.default_rng(seed)
    layers = [rng.integers(0, 256, (10, 40, 3)).astype(np.float32) for _ in range(2)]
    layers = [cv2.resize(layer, None, fx=12, fy=12, interpolation=cv2.INTER_CUBIC) for layer in layers]
    frames = []
    for i in range(count):
        one, other = (
            layer[:96, round(at) : round(at) + 160] for layer, at in zip(layers, (speed * i, 90), strict=True)
        )
        frames.append(((one + other) / 2).clip(0, 255).astype(np.uint8))
    return np.stack(frames)


COPIES = {
    'encoded coarsely': lambda video: [
        cv2.imdecode(cv2.imencode('.jpg', frame, [cv2.IMWRITE_JPEG_QUALITY, 15])[1], 1) for frame in video
    ],
    'half the size': lambda video: [cv2.resize(frame, (80, 48), interpolation=cv2.INTER_AREA) for frame in video],
    'twice the size': lambda video: [cv2.resize(frame, (320, 192), interpolation=cv2.INTER_CUBIC) for frame in video],
    'darker': lambda video: video // 2,
    'brighter': lambda video: (video * 1.1 + 10).clip(0, 255).astype(np.uint8),
    'noisy': lambda video: (video + np.random.default_rng(0).normal(0, 8, video.shape)).clip(0, 255).astype(np.uint8),
}


@pytest.mark.parametrize('change', COPIES)
def test_changed_copies_are_within_the_distance(change):
    video = drifting()
    assert apart(hash_clip(video), hash_clip(COPIES[change](video))) <= LIMIT


def test_copies_with_another_frame_rate_are_within_the_distance():
    video = drifting()
    assert apart(hash_clip(video), hash_clip(video[::2], 2.0, 10)) <= LIMIT
    assert apart(hash_clip(video), hash_clip(video.repeat(3, 0), 2.0, 60)) == 0


def test_other_clips_and_other_parts_of_a_moving_one_are_not():
    assert apart(hash_clip(drifting()), hash_clip(drifting(seed=1))) > 3 * LIMIT
    video = drifting(80)
    assert apart(hash_clip(video[:40]), hash_clip(video[40:])) > 2 * LIMIT


def test_hashes_are_of_what_is_shown_at_fixed_shares_of_the_length():
    video = drifting(32, speed=4.0)
    hashes = hash_clip(video, 1.6)
    for moment in range(HASHED_FRAMES):
        frame = video[4 * moment + 2]  # at 2/32, 6/32 ... of the length
        assert hashes[8 * moment : 8 * moment + 8] == hash_clip([frame])[:8]


def test_flat_pictures_have_no_hash():
    video = drifting()
    assert hash_clip(np.full((10, 40, 60, 3), 7, np.uint8)) == b''
    mixed = video.copy()
    mixed[:10] = 0
    assert hash_clip(mixed)[:16] == bytes(16) and hash_clip(mixed)[16:] == hash_clip(video)[16:]


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'imagehash', None)
    with pytest.raises(UserError, match=r"imagehash.*pip install 'vdm_jax\[curate\]'"):
        ClipHasher(1.0)


def real(name):
    video = decode.probe(CLIPS / name)
    hashes = duplicates.ClipHasher(video.seconds)
    for number, frame in decode.stream(video):
        hashes.add(resize_short_side(to_luma(frame), SIDE), video.times[number])
    return name, video.width * video.height, video.seconds, hashes.finish()


@needs_clips
def test_the_distorted_copy_is_found_among_real_clips():
    names = ['bunny_short.webm', 'carphone.mp4', 'carphone_distorted.mp4', 'newtonscradle.gif', 'pigs.gif', 'test.avi']
    stands = find_representatives(*zip(*map(real, names), strict=True), DuplicatesConfig())
    assert stands.tolist() == [0, 1, 1, 3, 4, 5]


@needs_clips
@pytest.mark.slow
def test_the_distorted_copy_is_the_only_one_among_all_real_clips():
    names = sorted(path.name for path in CLIPS.iterdir())
    rows = list(map(real, names))
    stands = find_representatives(*zip(*rows, strict=True), DuplicatesConfig())
    assert [(names[i], names[j]) for i, j in enumerate(stands) if i != j] == [
        ('carphone_distorted.mp4', 'carphone.mp4')
    ]
    distances = [apart(one[3], other[3]) for i, one in enumerate(rows) for other in rows[:i]]
    assert sorted(distances)[1] > 3 * LIMIT
