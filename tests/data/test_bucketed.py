"""Buckets: which clip goes where, in which order, and the same stream whoever reads it."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from vdm_jax.data.bucket import assign, read_bucket
from vdm_jax.data.bucketed import Bucketed
from vdm_jax.data.joint_images import JointImages
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.order.mixed import BLOCK
from vdm_jax.data.pipeline import batches
from vdm_jax.data.records.source import Records
from vdm_jax.data.source import StatelessSource
from vdm_jax.data.video_folder import VideoFolder
from vdm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Clips(StatelessSource):
    """Clip i shows its number and noise; its length, height and width go by its number."""

    size: int = 60
    split: str = 'train'
    threads: int = 3
    prefetch: int = 8
    first: int = 0

    shape: ClassVar = (16, 8, 8, 3)

    def __len__(self):
        return self.size

    def extents(self):
        kinds = np.array([(20, 16, 16), (9, 12, 24), (1, 16, 16), (9, 30, 12)])
        return kinds[np.arange(self.size) % 4]

    def __getitem__(self, i):
        return self.extract(i, self.shape[:3])

    def draw(self, i, rng):
        return self.extract(i, self.shape[:3], rng)

    def extract(self, i, size, rng=None):
        video = np.full((*size, 3), self.first + i, np.uint8)
        if rng is not None:
            video += rng.integers(0, 50, video.shape, np.uint8)
        return {'video': video, 'label': np.int32(self.first + i)}


WIDE = (8, 8, 16)
TALL = (8, 16, 8)
LONG = (16, 8, 8)
IMAGE = (1, 16, 16)
BUCKETED = Bucketed(Clips(), ('16x8x8@4', '8x8x16@6', '8x16x8@3', '1x16x16'))
BUCKETS = BUCKETED.open()


@pytest.mark.parametrize(
    'extent, bucket',
    [
        ((20, 16, 16), LONG),
        ((16, 90, 30), LONG),  # frames come first, then aspect
        ((15, 16, 33), WIDE),
        ((8, 33, 16), TALL),
        ((7, 64, 64), IMAGE),
        ((1, 4, 4), IMAGE),
        ((0, 0, 0), None),  # broken
    ],
)
def test_a_clip_goes_to_the_longest_bucket_it_fills_and_among_these_to_the_one_like_it(extent, bucket):
    shapes = [LONG, WIDE, TALL, IMAGE]
    assigned = assign(np.array([extent]), shapes)[0]
    assert (shapes[assigned] if assigned >= 0 else None) == bucket


@pytest.mark.parametrize(
    'extent, bucket', [((9, 40, 40), (8, 32, 32)), ((9, 70, 70), (8, 64, 64)), ((9, 10, 10), (8, 16, 16))]
)
def test_of_one_aspect_the_largest_bucket_that_enlarges_nothing_is_chosen_else_the_smallest(extent, bucket):
    shapes = [(8, 16, 16), (8, 64, 64), (8, 32, 32)]
    assert shapes[assign(np.array([extent]), shapes)[0]] == bucket


def test_a_clip_too_short_for_all_is_filled_up_or_left_out():
    shapes = [(16, 8, 8), (8, 8, 8), (8, 8, 16)]
    extent = np.array([[5, 8, 16]])
    assert assign(extent, shapes, 'hold').tolist() == [2]
    assert assign(extent, shapes, 'drop').tolist() == [-1]


def test_every_batch_is_of_one_bucket_and_every_clip_comes_equally_often():
    order = BUCKETS.order(5, seed=3)
    assert order.batch_sizes == (4, 6, 3, 5)
    seen = np.zeros(60)
    for step in range(BLOCK):
        ids = order.ids(step)
        assert len(ids) == order.batch_sizes[order.bucket(step)]
        assert {BUCKETS.bucket_of[i] for i in ids.tolist()} == {order.bucket(step)}
        np.add.at(seen, ids, 1)
    # 15 clips a bucket: a block has 1000 steps shared as 1/4 : 1/6 : 1/3 : 1/5, rounded to whole steps.
    assert seen.max() - seen.min() <= 1 and order.slots == (263, 175, 351, 211)


def test_a_rare_bucket_comes_at_least_once_in_a_block():
    @dataclasses.dataclass(frozen=True)
    class Rare(Clips):
        def extents(self):
            return np.where(np.arange(self.size)[:, None] < 2, (1, 16, 16), (20, 16, 16))

    order = Bucketed(Rare(size=50_000), ('16x8x8@1', '1x16x16@2')).open().order(1)
    assert order.slots == (999, 1)


@pytest.mark.parametrize('mixed', [False, True], ids=['one source', 'a mixture'])
def test_the_stream_is_the_same_for_any_hosts_threads_and_starts(mixed):
    """Element for element, for 1, 2, 3 and 4 hosts, each with its part of every batch."""

    def source(threads):
        if not mixed:
            return dataclasses.replace(BUCKETED, clips=Clips(threads=threads))
        parts = (Clips(threads=threads), Clips(size=37, first=100))
        return dataclasses.replace(BUCKETED, clips=Mixture(parts, (0.7, 0.3), 'none', threads=threads))

    def stream(start, stop, hosts=1, threads=3):
        own = source(threads).open()
        order = own.order(5, seed=3)
        steps = []
        for host in range(hosts):
            rows = [np.array_split(np.arange(batch), hosts)[host] for batch in order.batch_sizes]
            with batches(own, order, start, stop, rows) as loaded:
                steps.append([each['video'] for each in loaded])
        return [np.concatenate(each) for each in zip(*steps, strict=True)]

    all_steps = stream(0, 40)
    assert len({video.shape for video in all_steps}) == 4
    for start, hosts, threads in ((0, 1, 0), (0, 2, 5), (0, 3, 1), (17, 1, 4), (23, 3, 2)):
        for loaded, expected in zip(stream(start, 40, hosts, threads), all_steps[start:], strict=True):
            np.testing.assert_array_equal(loaded, expected)


def test_no_two_clips_of_a_run_have_the_same_randomness():
    order = BUCKETS.order(5)
    positions = [
        order.locate(step, row)[1] for step in range(300) for row in range(order.batch_sizes[order.bucket(step)])
    ]
    assert len(set(positions)) == len(positions)


def test_a_mixture_in_buckets_keeps_its_weights():
    mixture = Mixture((Clips(), Clips(size=200, first=60)), (3.0, 1.0), 'none')
    order = dataclasses.replace(BUCKETED, clips=mixture).open().order(5)
    ids = np.concatenate([order.ids(step) for step in range(BLOCK)])
    assert (ids < 60).mean() == pytest.approx(0.75, abs=0.005)


def test_a_bucket_without_a_batch_is_an_error_that_names_it():
    with pytest.raises(UserError, match=r'config.data.buckets=16x8x8@16: 15 clips are not one batch of 16.*16x8x8@15'):
        dataclasses.replace(BUCKETED, buckets=('16x8x8@16', '8x8x16@6')).open().order(5)
    with pytest.raises(UserError, match=r'config.data.buckets=99x8x8: 0 clips are not one batch of 5'):
        dataclasses.replace(BUCKETED, buckets=('8x8x8', '99x8x8')).open().order(5)


@pytest.mark.parametrize('text', ['16x8', '0x8x8', '16x8x8@0', 'axbxc', '16x8x8@'])
def test_a_bucket_written_otherwise_is_refused(text):
    with pytest.raises(UserError, match='config.data.buckets'):
        read_bucket(text)


def test_the_report_accounts_for_every_clip():
    class Broken(Clips):
        def extents(self):
            sizes = super().extents()
            sizes[:2] = 0
            return sizes

        def notes(self):
            return ['passed over in DIR: 1 .srt']

    notes = Bucketed(Broken(), ('16x8x8@4', '8x32x32')).open().notes()
    assert notes == [
        'passed over in DIR: 1 .srt',
        'bucket 16x8x8@4: 14 clips, 0 of them padded, 0 enlarged',
        'bucket 8x32x32: 44 clips, 15 of them padded, 44 enlarged',
        'in no bucket: 2 of 60 clips (2 of them broken)',
    ]


def test_one_bucket_by_itself_is_a_source_of_one_shape():
    bucket = BUCKETS.reference
    assert bucket.shape == (16, 8, 8, 3) and len(bucket) == 15
    assert [bucket[i]['label'] for i in range(3)] == [0, 4, 8]
    assert bucket.order(8, shuffle=False).ids(0).tolist() == list(range(8))


def test_buckets_of_what_is_held_out_may_be_empty():
    class Split(Clips):
        def extents(self):
            return super().extents() if self.split == 'train' else super().extents()[:2]

        def __len__(self):
            return self.size if self.split == 'train' else 2

    held_out = Bucketed(Split(), BUCKETED.buckets).open().held_out()
    order = held_out.order(5, shuffle=False)
    assert {order.bucket(step) for step in range(BLOCK)} == {0, 1}
    assert {len(order.ids(step)) for step in range(20)} == {4, 6}


def test_held_out_clips_in_no_bucket_are_named():
    class Split(Clips):
        def extents(self):
            return super().extents() if self.split == 'train' else np.ones((2, 3), np.int64)

    held_out = Bucketed(Split(), ('16x8x8@4',), 'drop').open().held_out()
    for source in (held_out, held_out.reference):
        with pytest.raises(UserError, match='config.data.buckets=16x8x8@4: no held-out clip is there; hold out more'):
            source.order(5)


def test_sources_that_buckets_do_not_go_with_are_refused_with_what_to_do():
    flat = type('Flat', (Clips,), {})()
    for make, message in (
        (lambda: Bucketed(BUCKETED), 'config.data.clips is in buckets itself'),
        (
            lambda: Mixture((BUCKETED, BUCKETED)),
            'config.data.sources.0 is in buckets; make the mixture config.data.clips',
        ),
        (lambda: JointImages(BUCKETED, flat), 'config.data.clips is in buckets, .* give bucketed a mixture'),
        (lambda: Bucketed(JointImages(flat, flat)), 'a JointImages, whose clips are of one shape; .* take a mixture'),
        (
            lambda: Bucketed(VideoFolder(short='drop')),
            'config.data.clips: short=drop of a VideoFolder .* set config.da',
        ),
        (lambda: Bucketed(Mixture((Records(short='drop'),))), 'config.data.clips: short=drop of a Records'),
    ):
        with pytest.raises(UserError, match=message):
            make()


def test_what_the_source_calls_short_is_not_counted():
    class Counting(Clips):
        def counters(self):
            return {'0/short_records': 9, 'short_videos': 8, 'short_clips': 7}

    assert Bucketed(Counting()).open().counters() == {'short_clips': 7}


def test_other_buckets_are_another_identity():
    other = dataclasses.replace(BUCKETED, short='hold', buckets=BUCKETED.buckets[:3])
    assert BUCKETS.identity() != other.open().identity()
