"""Caches of latents: views, parts, dtypes, being killed anywhere, several machines, and the conditions of a clip."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np
import pytest

from data_pipelines.commands import cache_latents
from tests import seeds
from vdm_jax.codecs.codec import Codec
from vdm_jax.data.bucketed import Bucketed
from vdm_jax.data.latents import metadata, store
from vdm_jax.data.latents.metadata import part_file
from vdm_jax.data.latents.source import CachedLatents
from vdm_jax.data.latents.store import LatentSet
from vdm_jax.data.order.order import VIEW_STREAM, Order, clip_generator, philox
from vdm_jax.data.pipeline import batches
from vdm_jax.data.source import StatelessSource
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run

ROOT = Path(__file__).parents[3]


@dataclasses.dataclass(frozen=True)
class Clips(StatelessSource):
    """Clip i shows i, and one that is drawn noise too; it has one of two captions, with what was drawn."""

    size: int = 7
    captions: bool = True
    frames: int = 2
    pixels: int = 4
    threads: int = 2
    prefetch: int = 4
    shape: ClassVar = (2, 4, 4, 3)
    scalars: ClassVar = ('shade',)

    def __len__(self):
        return self.size

    def __getitem__(self, i):
        return self._clip(i, np.zeros(self.shape, np.uint8))

    def draw(self, i, rng):
        return self._clip(i, rng.integers(1, 100, self.shape, np.uint8))

    def _clip(self, i, noise):
        conditions = {'label': np.int32(i), 'scalars': {'shade': noise[0, 0, 0, 0] / 2}}
        return {'video': noise + np.uint8(i), 'draws': np.array([i, noise.max()], float)} | conditions

    @property
    def num_draws(self):
        return 2 if self.captions else 0

    def conditions_of(self, draws, rng):
        return {'text': np.array([*draws, rng.random() < 0.5], np.float32)}


@dataclasses.dataclass(frozen=True)
class Halves(Codec):
    """A codec: means are pixels / 2, log variances their square / 10000."""

    scale: float = 0.5

    def latent_shape(self, shape):
        return shape

    def abstract_weights(self):
        return {'scale': jax.ShapeDtypeStruct((), 'float32')}

    def moments(self, weights, video):
        x = video.astype('float32') * weights['scale']
        return jax.numpy.concatenate([x, x * x / 1e4], -1)


def run_of(source, seed=3, scale=0.5):
    """A Run, as far as a cache is concerned."""
    experiment = experiment_from({'data': {'source': 'synthetic'}, 'seed': seed})
    run = Run(dataclasses.replace(experiment, data=source, codec=Halves()), jax.local_devices()[:1])
    return run.with_parts(frozen={'codec': {'scale': jax.numpy.float32(scale)}})


def files(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def expected_views(source, views, seed=3):
    """What view v of clip i shows."""

    def draw(i, v):
        return source.draw(i, np.random.Generator(philox(VIEW_STREAM, seed, i, v)))

    return [[source[i] if not v else draw(i, v) for v in range(views)] for i in range(len(source))]


@pytest.mark.parametrize('parts', [1, 3, 7])
def test_every_view_is_stored_with_its_conditions(tmp_path, parts):
    """In any number of parts; view 0 is evaluation's, the others differ from it and from each other."""
    source = Clips()
    cache_latents.cache(run_of(source), tmp_path, batch=4, views=3, parts=parts)
    there = LatentSet(str(tmp_path), 'cache')
    clips = expected_views(source, 3)
    ids, views = (rows.ravel()[::-1] for rows in np.indices((7, 3)))
    moments = there.moments(ids, views)
    conditions = there.conditions(ids, views)
    for i, v, each, words in zip(ids, views, moments, conditions, strict=True):
        clip = clips[i][v]
        np.testing.assert_allclose(each[..., :3], clip['video'] * 0.5)
        assert words['label'] == i and words['shade'] == np.float32(clip['scalars']['shade'])
        np.testing.assert_array_equal(words['drawn'], clip['draws'])
    assert not clips[1][0]['draws'][1] and len({each['video'].tobytes() for each in clips[1]}) == 3
    names = {part_file(kind, i, parts) for kind in ('moments', 'told', 'done') for i in range(parts)}
    assert set(files(tmp_path)) == names | {'about.json'} and (tmp_path / 'about.json').stat().st_size < 1000
    np.load(tmp_path / part_file('moments', 0, parts))  # a plain file of numpy's


def test_training_draws_one_view_at_a_time_with_its_conditions(tmp_path):
    source = Clips()
    cache_latents.cache(run_of(source), tmp_path, batch=4, views=3, parts=2)
    latents = CachedLatents(str(tmp_path), source)
    order = Order(7, 4, seed=9)
    with batches(latents, order, 0, 20, scalars=('shade',)) as stream:
        stream_batches = list(stream)
    assert set(stream_batches[0]) == {'moments', 'label', 'text', 'shade'}
    assert stream_batches[0]['moments'].shape == (4, 2, 4, 4, 6)
    clips = expected_views(source, 3)
    seen = set()
    for step, batch in enumerate(stream_batches):
        np.testing.assert_array_equal(batch['label'], order.ids(step))
        for row, position in enumerate(order.positions(step)):
            clip = {name: values[row] for name, values in batch.items()}
            i = int(batch['label'][row])
            (view,) = (v for v in range(3) if clip['shade'] == np.float32(clips[i][v]['scalars']['shade']))
            np.testing.assert_allclose(clip['moments'][..., :3], clips[i][view]['video'] * 0.5)
            np.testing.assert_array_equal(clip['text'][:2], clips[i][view]['draws'].astype(np.float32))
            drawn = latents.draw(i, clip_generator(9, int(position)))
            assert drawn['scalars'] == {'shade': clip['shade'], 'motion': drawn['scalars']['motion']}
            for name in ('moments', 'label', 'text'):
                np.testing.assert_array_equal(drawn[name], clip[name])
            seen.add((view, clip['text'][2]))
    assert seen == set(itertools.product(range(3), (0, 1)))  # all views, all captions
    for rows in ([0, 1], [3, 2, 2]):  # of another host
        with batches(latents, order, 5, 7, (rows,), ('shade',)) as stream:
            for step, batch in enumerate(stream, 5):
                for name, values in batch.items():
                    np.testing.assert_array_equal(values, stream_batches[step][name][rows])


def test_half_precision_is_half_the_size_and_refuses_values_beyond_it(tmp_path):
    source = Clips(captions=False)
    for dtype in ('float32', 'float16'):
        cache_latents.cache(run_of(source), tmp_path / dtype, batch=8, dtype=dtype)
    single, half = (LatentSet(str(tmp_path / name), 'x').moments(np.arange(7), 0) for name in ('float32', 'float16'))
    assert half.dtype == np.float16 and half.nbytes * 2 == single.nbytes
    np.testing.assert_allclose(half, single, rtol=2**-11, atol=2**-25)
    with pytest.raises(UserError, match=r'--dtype=float16: the latents of clip 1 are not finite in it; take float32'):
        cache_latents.cache(run_of(source, scale=1e6), tmp_path / 'large', batch=8, dtype='float16')


@dataclasses.dataclass(frozen=True)
class Uneven(Clips):
    """Clips of one to four frames, in any shape."""

    def extents(self):
        return np.array([[1 + i % 4, 4, 4] for i in range(self.size)])

    def extract(self, i, size, rng=None):
        clip = self[i] | {'video': np.full((*size, 3), i, np.uint8)}
        return clip if rng is None else clip | {'draws': np.array([i, 1.0])}


def test_each_bucket_has_latents_of_its_own_shape(tmp_path):
    """Training uses all of them or only one; the order is that of the clips."""
    config = Bucketed(Uneven(size=20), ('2x4x4@3', '4x4x4@2', '1x4x4@4'))
    source = config.open()
    cache_latents.cache(run_of(config), tmp_path, batch=4, views=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['bucket-00000', 'bucket-00001', 'bucket-00002']
    latents = CachedLatents(str(tmp_path), source)
    order = source.order(8, seed=2)
    latents.check(run_of(config).latent_cache_key, ('shade',))
    with batches(latents, order, 0, 30) as stream:
        for step, batch in enumerate(stream):
            bucket = config.all_buckets[order.bucket(step)]
            assert batch['moments'].shape == (bucket.batch, *bucket.size, 6)
            clips = source.ids[order.ids(step)]
            np.testing.assert_array_equal(batch['label'], clips)
            np.testing.assert_allclose(batch['moments'][..., 0].max((1, 2, 3)), clips * 0.5)
    bucket = source.for_bucket(1)
    one = CachedLatents(str(tmp_path), bucket)
    one.check(run_of(bucket.source).latent_cache_key)
    with batches(one, bucket.order(2), 0, 5) as stream:
        assert all(batch['moments'].shape == (2, 4, 4, 4, 6) for batch in stream)
    cache_latents.cache(run_of(bucket.source), tmp_path, batch=4, views=2)  # nothing is left to do
    assert one.draw(0, seeds.generator())['label'] == source.ids[source.bucket_of[source.ids] == 1][0]


class KilledError(BaseException):
    """Whatever ends a process at once."""


def dying(action, events, victim):
    """The action, which is killed before or after it at event number `victim`."""

    def act(*args, **kwargs):
        for step in (lambda: None, lambda: action(*args, **kwargs)):
            step()
            if next(events) == victim:
                raise KilledError

    return act


def test_killed_before_or_after_any_write_it_resumes_to_the_same_bytes(tmp_path, monkeypatch):
    """What was written and not noted yet may be anything."""
    monkeypatch.setattr(cache_latents, 'NOTE_BATCHES', 2)

    def make(where):
        return cache_latents.cache(run_of(Clips(size=3)), where, batch=2, views=2, parts=2)

    make(tmp_path / 'whole')
    uninterrupted = files(tmp_path / 'whole')
    size = 96 * 2 * 4
    for victim in itertools.count():
        where = tmp_path / str(victim)
        events = itertools.count()
        with monkeypatch.context() as patch:
            files_of = (store, 'write_atomically'), (metadata, 'write_atomically')
            for owner, name in ((store.PartWriter, 'write'), *files_of):
                patch.setattr(owner, name, dying(getattr(owner, name), events, victim))
            try:
                make(where)
                break
            except KilledError:
                pass
        if (where / 'about.json').exists() and metadata.count_done(where, {'parts': 2}) < 6:
            with pytest.raises(UserError, match=r'cache: \d of 3 clips; let it go on'):
                LatentSet(str(where), 'cache').views  # noqa: B018
        for rest in where.glob('moments-*'):
            done = metadata.read_progress(where, int(rest.name[8:13]), 2).done
            data = rest.read_bytes()
            rest.write_bytes(data[: 128 + done * size] + b'\xff' * (len(data) - 128 - done * size))
        make(where)
        assert files(where) == uninterrupted, victim
    assert victim > 10


def test_a_resumed_cache_keeps_its_settings(tmp_path):
    source = Clips(captions=False)

    def make(**more):
        return cache_latents.cache(run_of(source, more.pop('seed', 3)), tmp_path, **{'batch': 8} | more)

    make(views=2)
    for changed, pattern in (
        ({'views': 3}, '--views=2, and asked for 3'),
        ({'views': 2, 'dtype': 'float16'}, '--dtype=float32, and asked for float16'),
        ({'views': 2, 'seed': 4}, r'config\.seed=3, and asked for 4'),
        ({'views': 2, 'parts': 4}, '--parts=1, and asked for 4'),
        ({'views': 0}, '--views=0: want 1 or more'),
        ({'batch': 0}, '--batch=0: want 1 or more'),
    ):
        with pytest.raises(UserError, match=pattern):
            make(**changed)


def test_a_directory_without_room_is_refused_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_latents.shutil, 'disk_usage', lambda path: type('Usage', (), {'free': 100}))
    with pytest.raises(UserError, match=r'GB are wanted, 0\.0 are free'):
        cache_latents.cache(run_of(Clips()), tmp_path, batch=4)
    assert not files(tmp_path)


def test_a_full_disk_is_the_users_to_mend(tmp_path, monkeypatch):
    def full(self, **rows):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(store.PartWriter, 'write', full)
    with pytest.raises(UserError, match='No space left on device; the same command goes on'):
        cache_latents.cache(run_of(Clips()), tmp_path, batch=4)


@pytest.mark.parametrize(('kind', 'method'), [('moments', 'moments'), ('told', 'conditions')])
def test_files_that_are_damaged_are_named(tmp_path, kind, method):
    cache_latents.cache(run_of(Clips()), tmp_path, batch=4, parts=2)
    file = tmp_path / part_file(kind, 1, 2)
    there = LatentSet(str(tmp_path), 'config.latents=X')
    data = file.read_bytes()
    if kind == 'moments':  # cut off while it is open
        there.moments([6], 0)
        os.truncate(file, len(data) - 10)
        with pytest.raises(UserError, match=r'config\.latents=X: its moments cannot be read \(a file ends too early'):
            there.moments([6], 0)
    for broken in (data[:-10], b'', b'no array'):
        file.write_bytes(broken)
        with pytest.raises(UserError, match=rf'config\.latents=X: its {kind} cannot be read'):
            getattr(LatentSet(str(tmp_path), 'config.latents=X'), method)([6], 0)
    done = tmp_path / part_file('done', 1, 2)
    done.write_text('1')
    with pytest.raises(UserError, match=f'{file.name}: not as it was left'):
        cache_latents.cache(run_of(Clips()), tmp_path, batch=4)


def test_latents_of_the_layout_before_are_refused(tmp_path):
    (tmp_path / 'about.json').write_text(json.dumps({'made': {}, 'done': 3, 'count': 3, 'labels': [0, 0, 0]}))
    with pytest.raises(UserError, match='of another version of vdm_jax; make them anew'):
        LatentSet(str(tmp_path), 'config.latents=X').about  # noqa: B018


@pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='/proc/self/fd is not here')
def test_no_file_is_opened_twice_and_none_stays_open(tmp_path):
    cache_latents.cache(run_of(Clips()), tmp_path, batch=4, parts=7)
    latents = CachedLatents(str(tmp_path), Clips())
    with batches(latents, Order(7, 4), 0, 50) as stream:
        opened = [open_files(tmp_path) for _ in stream]
    assert all(len(files) == len(set(files)) for files in opened)
    assert 1 <= max(map(len, opened)) <= 7
    del latents, stream
    assert open_files(tmp_path) == []


def open_files(folder):
    """Paths under it that this process holds open; those of other threads elsewhere come and go."""
    paths = []
    for number in os.listdir('/proc/self/fd'):
        try:
            paths.append(os.readlink(f'/proc/self/fd/{number}'))
        except FileNotFoundError:  # closed since it was listed
            continue
    return [path for path in paths if path.startswith(f'{os.path.realpath(folder)}/')]


def test_a_cache_left_open_ends_silently_with_the_program(tmp_path):
    cache_latents.cache(run_of(Clips(captions=False)), tmp_path, batch=4)
    code = f"""
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.data.latents.source import CachedLatents
from vdm_jax.data.order.order import Order
from vdm_jax.data.pipeline import batches
stream = batches(CachedLatents({str(tmp_path)!r}, BouncingBalls(size=7)), Order(7, 4))
next(stream)
"""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, '')


def test_latents_of_before_are_those_of_stored_pixels():
    """The key they were made with does not mention pixels."""
    before = {'clips': '3 ab', 'config.data.frames': 8, 'weights': 'cd'}
    metadata.check_same_encoding('DIR', before, before | {'config.data.pixel_aspect': 'stored'})
    with pytest.raises(UserError, match='made with config.data.pixel_aspect stored, and this run has square'):
        metadata.check_same_encoding('DIR', before, before | {'config.data.pixel_aspect': 'square'})
