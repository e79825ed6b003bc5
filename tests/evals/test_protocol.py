"""Which held-out clips protocols take: those that the order gives, of a mixture from each source its share."""

import dataclasses

import numpy as np
import pytest

from tests.data.small_set import record, write_set
from tests.evals.feature_distance.small import make_clips, open_clips, open_small
from vdm_jax.data.bucketed import Bucketed
from vdm_jax.data.clip_batches import batch_of
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.records.source import Records
from vdm_jax.data.video_set import VideoSetReader
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.evals.feature_distance.protocol import FeatureDistance
from vdm_jax.evals.frame_prediction import FramePrediction
from vdm_jax.evals.paired import Paired
from vdm_jax.evals.physics_iq.protocol import PhysicsIQ
from vdm_jax.evals.protocol import EvaluateConfig, read_held_out
from vdm_jax.evals.reconstruction import Reconstruction

BALLS = BouncingBalls(frames=2, pixels=16, size=40)


def test_reconstructions_of_a_mixture_are_of_all_its_sources_in_their_shares():
    mixed = Mixture((BALLS, dataclasses.replace(BALLS, seed=1)), (1, 2)).open()
    held_out = mixed.held_out()
    numbers = {held_out[i]['video'].tobytes(): i for i in range(len(held_out))}

    conditions = Reconstruction().make_conditions(mixed, held_out, EvaluateConfig(real=30))
    ids = np.array([numbers[clip.tobytes()] for clip in conditions['frames']])
    first = (ids < len(held_out.readers[0])).sum()
    assert len(set(ids)) == 30 and 4 <= first <= 16, 'a third of them, about'
    assert conditions['label'].tolist() == [int(held_out[i]['label']) for i in ids]


@pytest.mark.parametrize('count', [3, 100], ids=['some', 'all'])
@pytest.mark.parametrize('kind', ['world', 'constant', 'records', 'bucketed'])
def test_clips_of_one_source_are_the_first_ones(kind, count, tmp_path):
    path = write_set(tmp_path / 'set', [record(str(i), 12, 60 * i) for i in range(4)], shards=1)
    records = Records(path, frames=4, pixels=8)
    sources = {
        'world': BALLS,
        'constant': Synthetic(frames=2, pixels=8, size=5),
        'records': records,
        'bucketed': Bucketed(records, ('4x8x8',)),
    }
    held_out = sources[kind].open().reference.held_out()

    clips = read_held_out(held_out, EvaluateConfig(real=count))
    expected = batch_of(held_out, range(min(count, len(held_out))))
    assert clips.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(clips[name], values)
        assert clips[name].dtype == values.dtype


class Captioned(VideoSetReader):
    """Clips whose text is their number."""

    def __getitem__(self, i):
        return super().__getitem__(i) | {'text': np.full((1, 2), i, np.float32), 'text_mask': np.ones(1, bool)}


@pytest.mark.parametrize(
    'protocol',
    [
        Paired(context=2),
        FeatureDistance(context=2, per_clip=3),
        FramePrediction(context=2, per_clip=3),
        PhysicsIQ(context=2, per_clip=3),
    ],
    ids=lambda protocol: type(protocol).__name__,
)
def test_context_frames_and_texts_are_of_one_clip(protocol, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    reader = Captioned(open_clips(tmp_path / 'clips.npy', make_clips(10, shape=(9, 8, 8, 3))).source)
    judge = protocol.open_judge(reader, reader, EvaluateConfig(real=10, batch_size=4), open_small)
    rows = np.arange(len(judge.labels))
    conditions = judge.conditions_of(rows)
    assert conditions['text_mask'].all() and len(conditions['frames']) == len(rows)
    for frames, text in zip(conditions['frames'], conditions['text'], strict=True):
        np.testing.assert_array_equal(frames, reader[int(text[0, 0])]['video'][:2])


def test_clips_without_classes_are_not_read_for_their_labels(tmp_path, monkeypatch):
    class Unread(VideoSetReader):
        def __getitem__(self, i):
            raise AssertionError('a clip was read')

    reader = Unread(open_clips(tmp_path / 'clips.npy', make_clips(5, shape=(9, 8, 8, 3))).source)
    assert Paired(context=2).open_judge(reader, reader, EvaluateConfig()).labels.tolist() == [0] * 5
    balls = BALLS.open()
    labels = Paired(context=1).open_judge(balls, balls, EvaluateConfig(real=9)).labels
    assert labels.tolist() == [int(balls[i]['label']) for i in range(9)] and len(set(labels)) > 1
