"""Records as clips: which are taken, how they are cut, and their conditions."""

import dataclasses
import json

import numpy as np
import pytest

from tests.data.small_set import frame_numbers, mp4, record, write_set
from vdm_jax.data.bucketed import Bucketed
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.order.order import Order
from vdm_jax.data.pipeline import batches
from vdm_jax.data.records.captions import choose_caption
from vdm_jax.data.records.schema import Caption
from vdm_jax.data.records.shards import shard_name
from vdm_jax.data.records.source import Records
from vdm_jax.data.source import LatentInfo
from vdm_jax.data.video import decode
from vdm_jax.data.video.probe_cache import ProbeCache
from vdm_jax.data.video_folder import VideoFolder
from vdm_jax.errors import UserError

pytest.importorskip('av')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Four records of two videos in two shards, in the order a, c, b, d; d is short."""
    records = [
        record('a', 30, 50, label=1, label_name='fall', scores={'motion': 0.5, 'sharp': 80.0}, source='x.mp4'),
        record('b', 40, 120, label=0, scores={'motion': 0.1}, source='x.mp4'),
        record('c', 30, 200, label=1, scores={'motion': 0.9, 'sharp': 20.0}, source='two.mp4'),
        record('d', 5, 250, label=4, scores={'motion': 0.3}, source='three.mp4'),
    ]
    return write_set(tmp_path_factory.mktemp('set'), records)


def source(place, **fields):
    return Records(**{'path': place, 'frames': 8, 'pixels': 24, **fields}).open()


def keys(clips):
    return [clips.records.column('key')[i] for i in clips.index]


def test_a_clip_is_what_a_source_promises(place):
    clips = source(place)
    assert len(clips) == 4 and clips.shape == (8, 24, 24, 3) and clips.num_classes == 0 and keys(clips) == [*'acbd']
    clip = clips[2]
    assert clip['video'].shape == clips.shape and clip['video'].dtype == np.uint8 and clip['label'].dtype == np.int32
    assert frame_numbers(clip['video']) == list(range(8))
    with pytest.raises(IndexError):
        clips[4]


def test_a_record_gives_the_clip_that_its_file_gives(place, tmp_path):
    (tmp_path / 'a.mp4').write_bytes(mp4(30, 50))
    fields = {'frames': 6, 'pixels': 16, 'stride': 2, 'crop': 'random', 'flip': True}
    folder = VideoFolder(str(tmp_path), **fields).open()
    records = source(place, filters=('motion==0.5',), **fields)
    np.testing.assert_array_equal(folder[0]['video'], records[0]['video'])
    for seed in range(4):
        drawn = [each.draw(0, np.random.default_rng(seed))['video'] for each in (folder, records)]
        np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize(('fields', 'decoded'), [({}, 8), ({'cache_mb': 0}, 24)])
def test_a_small_set_is_kept_in_memory_where_it_fits(place, fields, decoded, monkeypatch):
    """Six clips of each of four records: a first one, all frames, and no more; the clips are the same."""
    read = decode.read
    calls = []
    monkeypatch.setattr(decode, 'read', lambda *args: calls.append(1) or read(*args))
    cached = source(place, crop='random', flip=True, **fields)
    fresh = source(place, crop='random', flip=True, cache_mb=0)

    def rngs():
        return (np.random.default_rng(seed) for seed in range(24))

    drawn = [cached.draw(i % 4, rng)['video'] for i, rng in enumerate(rngs())]
    assert len(calls) == decoded
    for i, rng in enumerate(rngs()):
        np.testing.assert_array_equal(drawn[i], fresh.draw(i % 4, rng)['video'])
    other = [clips.extract(1, (4, 16, 36), np.random.default_rng(1))['video'] for clips in (cached, fresh)]
    assert other[0].shape == (4, 16, 36, 3)
    np.testing.assert_array_equal(*other)


@pytest.mark.parametrize(
    ('fields', 'expected_keys'),
    [
        ({'filters': ('motion>=0.3',)}, 'acd'),
        ({'filters': ('motion>=0.3', 'sharp>50')}, 'a'),
        ({'filters': ('sharp>50|missing', 'seconds>=3')}, 'ab'),
        ({'filters': ('label_name==fall',)}, 'a'),
        ({'short': 'drop'}, 'acb'),
        ({'short': 'drop', 'stride': 4}, 'acb'),
        ({'short': 'drop', 'stride': 5}, 'b'),
        ({'short': 'drop', 'fps': 20.0, 'filters': ('motion<0.9',)}, 'abd'),
    ],
)
def test_records_are_chosen_only_by_their_table(place, fields, expected_keys):
    assert keys(source(place, **fields)) == [*expected_keys]


def test_no_video_is_in_both_splits(place):
    splits = [source(place, split=split, held_out=0.5) for split in ('train', 'test')]
    videos = [{split.records.column('source')[i] for i in split.index} for split in splits]
    assert videos[0] | videos[1] == {'x.mp4', 'two.mp4', 'three.mp4'} and not videos[0] & videos[1] and all(videos)
    assert splits[0].held_out().source == splits[1].source


def test_several_clips_a_record_share_out_the_places_where_a_clip_may_begin(place):
    clips = source(place, clips=3, filters=('motion==0.1',))  # 40 frames: a clip begins at one of 33
    assert len(clips) == 3
    assert [frame_numbers(clips[i]['video'])[0] for i in range(3)] == [0, 11, 22]
    for part in range(3):
        begins = [frame_numbers(clips.draw(part, np.random.default_rng(k))['video'])[0] for k in range(20)]
        assert 11 * part <= min(begins) < max(begins) < 11 * part + 11
    center = source(place, start='center', filters=('motion==0.1',))
    assert frame_numbers(center[0]['video']) == frame_numbers(center.draw(0, np.random.default_rng(0))['video'])
    assert frame_numbers(center[0]['video'])[0] == 16
    first = source(place, start='first', filters=('motion==0.1',))
    assert frame_numbers(first.draw(0, np.random.default_rng(0))['video'])[0] == 0


def test_clips_have_their_rate_and_the_scores_of_their_records(place):
    clips = source(place, stride=2)
    assert clips.scalars == ('fps', 'motion', 'sharp')
    assert clips[0]['scalars'] == {'fps': 5.0, 'motion': 0.5, 'sharp': 80.0}
    assert np.isnan(clips[2]['scalars']['sharp'])
    assert source(place, fps=20.0)[0]['scalars']['fps'] == 20


def test_labels_are_the_records_own_or_their_numbers(place):
    named = source(place, label='label', filters=('motion<0.5',))
    assert named.num_classes == 5 and [int(named[i]['label']) for i in range(2)] == [0, 4]
    assert [int(source(place, label='index', filters=('motion<0.5',))[i]['label']) for i in range(2)] == [0, 1]


def test_short_and_left_out_records_are_counted(place):
    clips = source(place, filters=('motion<0.9',))
    assert frame_numbers(clips[2]['video']) == [0, 1, 2, 3, 4, 4, 4, 4]
    assert clips.counters() == {
        'records': 3,
        'filtered_records': 1,
        'short_records': 1,
        'broken_records': 0,
        'replaced_clips': 0,
        'short_clips': 1,
    }


def test_a_broken_record_is_named_and_the_next_one_is_read(tmp_path):
    intact = mp4(20, 9)
    empty = record('empty', 20, video=b'no video at all')
    cut_off = record('cut', 20, video=intact[: len(intact) // 2])
    place = write_set(tmp_path / 'set', [record('a', 20, 9), empty, cut_off, record('b', 20, 99)], shards=1)
    clips = source(place, max_broken=0.5)
    clip = clips[1]
    np.testing.assert_array_equal(clip['video'], clips[3]['video'])
    assert clips.counters()['broken_records'] == 2 and clips.counters()['replaced_clips'] == 1
    assert [name.split(':')[0] for name in clips.problem_files()['broken']] == ['record 1 (empty)', 'record 2 (cut)']
    with pytest.raises(UserError, match=r'2 of 4 records are broken.*max_broken=0.3 allows: record 1 \(empty\): '):
        source(place, max_broken=0.3)[1]


def test_a_record_damaged_in_one_place_is_read_elsewhere_whatever_was_read_before(tmp_path, monkeypatch):
    """Otherwise the stream would hang on which threads and hosts had met the damage, and when."""
    place = write_set(tmp_path / 'set', [record('a', 20, 9), record('b', 20, 99)], shards=1)
    original_read = decode.read

    def read(video, indices, height, width):
        if video.path == damaged and np.max(indices) >= 10:
            raise decode.BrokenVideoError('frame 10 is damaged')
        return original_read(video, indices, height, width)

    monkeypatch.setattr(decode, 'read', read)
    clips = source(place, clips=2, max_broken=0.5)
    damaged = clips.records[0].video
    before = clips[0]['video']
    np.testing.assert_array_equal(clips[1]['video'], clips[3]['video'])  # the other record's
    np.testing.assert_array_equal(clips[0]['video'], before)
    assert clips.counters()['broken_records'] == clips.counters()['replaced_clips'] == 1


def test_a_record_beyond_the_limits_is_broken(place):
    with pytest.raises(UserError, match=r'record 0 \(a\): 40x24 frames are larger than 100 pixels'):
        source(place, limits=decode.Limits(frame_pixels=100))[0]


def test_a_damaged_shard_names_its_records(tmp_path):
    place = write_set(tmp_path / 'set', [record('a'), record('b')], shards=1)
    shard = tmp_path / 'set' / shard_name(0, 1)
    data = bytearray(shard.read_bytes())
    at = data.index(b'mdat') + 100
    data[at] ^= 255
    shard.write_bytes(data)
    clips = source(place, max_broken=0.5)
    clips[0]
    assert 'record 0 (a)' in clips.problem_files()['broken'][0] and clips.counters()['replaced_clips'] == 1


def test_other_records_and_other_filters_are_other_clips(place, tmp_path):
    options = ({}, {'filters': ('motion<0.5',)}, {'short': 'drop'})
    identities = {source(place, **fields).identity() for fields in options}
    one, two = (write_set(tmp_path / name, [record('a', 30, tint)]) for name, tint in (('1', 0), ('2', 9)))
    assert len(identities | {source(one).identity(), source(two).identity()}) == 5
    again = write_set(tmp_path / '3', [record('a', 30, 0)])
    assert source(one).identity() == source(again).identity()


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'path': ''}, 'config.data.path is empty'),
        ({'path': '/nowhere'}, 'config.data.path=/nowhere: no records.parquet there'),
        ({'frames': 0}, 'config.data.frames=0'),
        ({'filters': ('motio>1',)}, "config.data.filters: motio>1: nothing is called 'motio'; did you mean 'motion'?"),
        ({'filters': ('motion',)}, "config.data.filters: 'motion' is no filter"),
        ({'filters': ('motion>2',)}, 'none of 4 records is left: config.data.filters keep 0'),
        ({'frames': 100, 'short': 'drop'}, '4 of those are too short for config.data.frames=100'),
        ({'text': '/nowhere'}, 'config.data.text=/nowhere: no embeddings there'),
    ],
)
def test_mistakes_are_named(place, fields, message):
    with pytest.raises(UserError) as error:
        len(source(**{'place': place, **fields}) if 'path' not in fields else Records(**fields).open())
    assert message in str(error.value)


def test_records_without_a_label_have_no_classes(tmp_path):
    place = write_set(tmp_path / 'set', [record('a'), record('b', label=3)])
    with pytest.raises(UserError, match='1 of 2 records in .* have none'):
        source(place, label='label').num_classes  # noqa: B018
    assert source(place, label='label', filters=('label>=0',)).num_classes == 4


def test_a_batch_is_the_same_for_any_threads(place):
    drawn = []
    for threads in (1, 4):
        clips = source(place, crop='random', flip=True, clips=2, threads=threads)
        order = Order(len(clips), 4, seed=3)
        with batches(clips, order, stop_step=3, scalars=('fps',)) as stream:
            drawn.append([batch['video'] for batch in stream])
    np.testing.assert_array_equal(*drawn)


def test_buckets_take_records_of_every_size(place):
    clips = Bucketed(source(place).source, ('16x24x40', '4x24x24')).open()
    assert clips.bucket_of.tolist() == [0, 0, 0, 1]
    assert clips[1]['video'].shape == (16, 24, 40, 3)
    assert clips.draw(3, np.random.default_rng(0))['video'].shape == (4, 24, 24, 3)
    assert len(Bucketed(source(place, clips=2).source, ('16x24x40', '4x24x24')).open()) == 8


def test_latents_replace_videos_uncropped(tmp_path):
    latents = np.random.default_rng(0).normal(size=(3, 2, 3, 4, 8)).astype(np.float16)
    records = [record(f'{i}', 8, video=b'', latents=each, codec='ab12') for i, each in enumerate(latents)]
    place = write_set(tmp_path / 'set', [dataclasses.replace(each, width=24) for each in records], shards=1)
    clips = source(place)
    assert clips.latents == LatentInfo('ab12', {(8, 24, 24): (2, 3, 4, 8)})
    clip = clips.draw(1, np.random.default_rng(0))
    assert 'video' not in clip and clip['moments'].dtype == np.float32
    np.testing.assert_array_equal(clip['moments'], latents[1].astype(np.float32))
    for fields, message in (({'stride': 2}, 'config.data.stride=2: latents are of clips that were cut'),):
        with pytest.raises(UserError, match=message):
            source(place, **fields).latents  # noqa: B018
    mixed = write_set(tmp_path / 'mixed', [record('v'), records[0]])
    with pytest.raises(UserError, match=r'records of two codecs, none \(videos\) and ab12'):
        source(mixed).latents  # noqa: B018


CAPTIONS = (
    Caption('all', 1.0),
    Caption('never', 0.0),
    Caption('begin', 1.0, 0.0, 1.0),
    Caption('end', 3.0, 1.0, None),
    Caption('  ', 5.0),
)


@pytest.mark.parametrize(
    ('window', 'first', 'all_of_them'),
    [
        ((0.0, 0.8), 'all', {'all', 'begin'}),
        ((0.5, 1.5), 'all', {'all', 'begin', 'end'}),
        ((0.9, 1.5), 'all', {'all', 'end'}),
    ],
)
def test_a_caption_is_used_where_it_holds_for_half_of_the_clip(window, first, all_of_them):
    assert choose_caption(CAPTIONS, window, None).text == first
    drawn = [choose_caption(CAPTIONS, window, np.random.default_rng(seed)).text for seed in range(60)]
    assert set(drawn) == all_of_them
    if 'end' in all_of_them:  # three times the weight of the others
        assert drawn.count('end') > drawn.count('all')
    assert choose_caption(CAPTIONS[2:3], (1.2, 2.0), None) is None and choose_caption((), window, None) is None


def test_probes_are_cached_until_the_cache_is_full():
    data = mp4(20)
    cache = ProbeCache(decode.Limits(), max_bytes=3000)
    first = cache.video(0, data)
    assert cache.video(0, data).path == data and cache.video(0, data).index is first.index
    assert cache.video(1, data).index is not cache.video(1, data).index  # no room


def test_a_mixture_with_a_folder_has_the_scalars_of_both(place, tmp_path):
    (tmp_path / 'a.mp4').write_bytes(mp4(30, 50))
    both = Mixture((source(place).source, VideoFolder(str(tmp_path), frames=8, pixels=24))).open()
    assert len(both) == 5 and both.scalars == ('fps',) and json.dumps(both.counters())
    assert both[0]['video'].shape == both[4]['video'].shape and both.latents is None
    assert 'text' not in both[0]
