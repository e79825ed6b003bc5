"""Two sets of records, filtered, mixed and in buckets: one stream, whoever reads it and wherever it is entered."""

import dataclasses

import numpy as np
import pytest

from tests.data.small_set import mp4, record, write_set
from vdm_jax.data.bucketed import Bucketed
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.pipeline import batches
from vdm_jax.data.records.schema import Caption
from vdm_jax.data.records.source import Records

pytest.importorskip('av')


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    """Videos of two lengths and scores, and images."""
    path = tmp_path_factory.mktemp('sets')
    names = 'abcdefghij'
    videos = [
        record(name, 9 + 4 * (i % 2), tint=20 * i, scores={'motion': i / 10}, captions=(Caption(name),))
        for i, name in enumerate(names)
    ]
    images = [dataclasses.replace(record(f'i{i}', 1, 9 * i), video=mp4(1, 9 * i, 24), width=24) for i in range(6)]
    return write_set(path / 'videos', videos, 3), write_set(path / 'images', images, 1)


def source(sets, threads=2):
    videos, images = sets
    parts = (
        Records(path=videos, filters=('motion>=0.2',), clips=2, crop='random', flip=True),
        Records(path=images, flip=True),
    )
    mixture = Mixture(parts, (0.8, 0.2), 'none', threads=threads, prefetch=4)
    return Bucketed(mixture, ('12x16x24@3', '8x16x24@4', '1x16x16@2'))


def stream(sets, start, stop, hosts=1, threads=2):
    """The global batches of these steps, as so many hosts read them: each its part of a batch, which is filled up with
    its own first rows until all have as many."""
    by_host = []
    for host in range(hosts):
        own = source(sets, threads).open()
        order = own.order(4, seed=7)
        rows = [np.arange(-(-batch // hosts) * hosts).reshape(hosts, -1)[host] % batch for batch in order.batch_sizes]
        with batches(own, order, start, stop, rows, ('fps', 'motion')) as steps:
            by_host.append(list(steps))
    sizes = [order.batch_sizes[order.bucket(step)] for step in range(start, stop)]
    return [
        {name: np.concatenate([part[name] for part in parts])[:size] for name in parts[0]}
        for size, parts in zip(sizes, zip(*by_host, strict=True), strict=True)
    ]


@pytest.fixture(scope='module')
def expected_batches(sets):
    return stream(sets, 0, 24)


def test_all_three_buckets_come_and_filtered_records_do_not(sets, expected_batches):
    assert {batch['video'].shape for batch in expected_batches} == {
        (3, 12, 16, 24, 3),
        (4, 8, 16, 24, 3),
        (2, 1, 16, 16, 3),
    }
    own = source(sets).open()
    assert len(own) == 2 * 8 + 6 and own.notes()[-1].startswith('in no bucket: 0 of 22')


@pytest.mark.parametrize('start, hosts, threads', [(0, 2, 0), (0, 3, 4), (0, 4, 1), (9, 1, 5), (10, 3, 2)])
def test_the_stream_is_the_same_element_for_element(sets, expected_batches, start, hosts, threads):
    for actual, expected in zip(stream(sets, start, 24, hosts, threads), expected_batches[start:], strict=True):
        assert actual.keys() == expected.keys()
        for name, array in actual.items():
            np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize(
    'change',
    [
        lambda own: dataclasses.replace(own, buckets=own.buckets[:2]),
        lambda own: replace_first_source(own, filters=('motion>=0.3',)),
        lambda own: replace_first_source(own, clips=3),
    ],
    ids=['buckets', 'filters', 'clips'],
)
def test_another_choice_is_another_identity(sets, change):
    own = source(sets)
    identities = [each.open().identity() for each in (own, source(sets, threads=9), change(own))]
    assert identities[0] == identities[1] != identities[2]


def replace_first_source(own, **fields):
    first, *rest = own.clips.sources
    parts = (dataclasses.replace(first, **fields), *rest)
    return dataclasses.replace(own, clips=dataclasses.replace(own.clips, sources=parts))
