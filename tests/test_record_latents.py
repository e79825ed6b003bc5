"""Records of latents: they train a network like the clips that they are of, only with the codec that made them."""

import dataclasses

import jax
import numpy as np
import pytest

from data_pipelines.commands.cache_latents import cache
from data_pipelines.commands.cache_text import cache as cache_text
from data_pipelines.commands.cache_text import collect_texts
from tests.data.small_set import record, write_set
from vdm_jax.data.bucketed import Bucketed
from vdm_jax.data.clip_batches import batch_of
from vdm_jax.data.joint_images import JointImages
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.pipeline import batches
from vdm_jax.data.records.schema import Caption, Record
from vdm_jax.data.records.source import Records
from vdm_jax.errors import UserError
from vdm_jax.evals.frame_prediction import FramePrediction
from vdm_jax.evals.protocol import EvaluateConfig
from vdm_jax.evals.recall import Recall
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run
from vdm_jax.pretrained import weights
from vdm_jax.text.hashing import Hashing

VAE = {'channels': (4, 4, 8), 'patch': 2, 'blocks': 1, 'groups': 2, 'latent': 2}
CLIPS = {'source': 'bouncing_balls', 'frames': 5, 'pixels': 16, 'size': 3}
DEVICES = jax.devices()[:1]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """An autoencoder's weights, nothing learned, and a set of the latents that they make of three clips."""
    place = tmp_path_factory.mktemp('latents')
    vae = Run(experiment_from({'data': CLIPS, 'model': {'name': 'video_vae', **VAE}}), DEVICES)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), vae.programs.abstract_state.params
    )
    weights.save(place / 'vae.safetensors', params, {'step': 0, 'config': vae.resolved})
    codec = run_of(place, CLIPS)
    clips = batch_of(codec.data.reader, range(3))
    moments = np.asarray(codec.experiment.codec.moments(codec.frozen['codec'], clips['video']))
    about = {'frames': 5, 'height': 16, 'width': 16, 'fps': 8.0, 'codec': codec.codec_fingerprint}
    records = [
        Record(f'{i}', latents=each, label=int(label), **about)
        for i, (each, label) in enumerate(zip(moments, clips['label'], strict=True))
    ]
    write_set(place / 'set', records, shards=1)
    write_set(place / 'others', [dataclasses.replace(each, codec='ab12') for each in records], shards=1)
    return place


def run_of(place, data):
    codec = {'name': 'video_vae', 'path': f'{place}/vae.safetensors', 'sample': True, 'model': VAE}
    model = {'depth': 2, 'width': 16, 'heads': 2, 'patch': 1, 'classes': 2}
    return Run(experiment_from({'data': data, 'codec': codec, 'model': model, 'train': {'batch_size': 3}}), DEVICES)


def records(place, name='set', **fields):
    return {'source': 'records', 'path': f'{place}/{name}', 'frames': 5, 'pixels': 16, 'label': 'label', **fields}


def test_they_train_as_their_clips_do(place):
    clips = run_of(place, CLIPS)
    latents = run_of(place, records(place))
    latents.check()
    params = clips.programs.init_state().params
    losses = [
        run.programs.validation_step(
            params, run.batch_layout.to_global(batch_of(run.data.reader, range(3))), 0, run.frozen
        ).loss
        for run in (clips, latents)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_changed_codec_is_refused_with_both_hashes(place):
    run = run_of(place, records(place, 'others'))
    with pytest.raises(UserError) as error:
        run.check()
    assert f'config.codec: its weights are {run.codec_fingerprint}, and the latents' in str(error.value)
    assert 'were made with ab12' in str(error.value)
    pixels = Run(dataclasses.replace(run.experiment, codec=experiment_from({}).codec), DEVICES)
    with pytest.raises(UserError, match='config.codec: its weights are none, and the latents of config.data were made'):
        pixels.check()


def test_latents_of_other_clips_are_refused(place):
    with pytest.raises(
        UserError, match=r'holds latents \(2, 2, 2, 4\) .*of clips \(5, 16, 16\) .* wants .*\(9, 16, 16'
    ):
        run_of(place, records(place, frames=9)).check()


def test_buckets_and_mixtures_of_latents_are_checked_too(place):
    run = run_of(place, records(place))
    source = run.data.source
    others = Records(f'{place}/others', frames=5, pixels=16)
    for data in (Bucketed(source, ('5x16x16@3',)), Mixture((source, source), labels='shared')):
        mixed = Run(dataclasses.replace(run.experiment, data=data), DEVICES)
        mixed.check()
        assert mixed.data.reader[0]['moments'].shape == (2, 2, 2, 4) and 'video' not in mixed.data.reader[0]
    beside = JointImages(source, dataclasses.replace(source, frames=1))
    with pytest.raises(UserError, match='config.data.clips: they are latents, and images beside them are not'):
        Run(dataclasses.replace(run.experiment, data=beside), DEVICES).check()
    with pytest.raises(UserError, match='config.data.sources: the codec of latents is .* of item 0 and ab12 of item 1'):
        Mixture((source, others)).open().latents  # noqa: B018


def test_commands_that_need_pictures_refuse_records_of_latents(place):
    run = run_of(place, records(place))
    clips = run.data.reader, run.data.held_out, EvaluateConfig()
    for protocol in (FramePrediction(context=2), Recall()):
        with pytest.raises(UserError, match='config.data: its clips are latents, and their pictures are asked for'):
            conditions = protocol.make_conditions(*clips)
            protocol.score(np.zeros((1, 5, 16, 16, 3), np.uint8), conditions, *clips)
    model = dataclasses.replace(run.experiment.model, scalars=('motion',))
    with pytest.raises(
        UserError, match='config.model.scalars=motion: clips of this source have the scalars fps; choose'
    ):
        Run(dataclasses.replace(run.experiment, model=model), DEVICES).check()


def test_latents_of_latents_are_refused(place, tmp_path):
    """Also where they are within another source."""
    run = run_of(place, records(place))
    for data in (
        run.data.source,
        Bucketed(run.data.source, ('5x16x16@3',)),
        Mixture((run.data.source, run.data.source), labels='shared'),
    ):
        again = Run(dataclasses.replace(run.experiment, data=data), DEVICES)
        with pytest.raises(UserError, match='config.data: its clips are latents already; train on them as they are'):
            cache(again, tmp_path / 'latents', 3)
    assert not (tmp_path / 'latents').exists()


def test_captions_come_with_latents_from_a_cache_as_they_do_with_clips(place, tmp_path):
    """Those that hold for each clip, one of them drawn, the same as without a cache; made before there were texts."""
    captions_of_clips = [
        (Caption('early', 1.0, 0.0, 0.5), Caption('late', 1.0, 0.5, 2.0)),
        (),
        (Caption('a'), Caption('b c')),
    ]
    videos = [record(f'{i}', 16, 60 * i, captions=captions) for i, captions in enumerate(captions_of_clips)]
    data = records(place, label='none', start='first') | {'path': write_set(tmp_path / 'set', videos, shards=1)}
    cache(run_of(place, data), tmp_path / 'latents', 3)
    cache_text(collect_texts([data['path']])[0], Hashing(8, 2), tmp_path / 'texts')
    run = run_of(place, data | {'text': f'{tmp_path}/texts'})
    cached = Run(dataclasses.replace(run.experiment, latents=f'{tmp_path}/latents'), DEVICES)
    drawn = []
    for each in (run, cached):
        order = each.data.reader.order(3, seed=1)
        with batches(each.training_reader, order, stop_step=8) as stream:
            drawn.append([(batch['text'], batch['text_mask']) for batch in stream])
    np.testing.assert_array_equal(*(np.concatenate([text for text, _ in each]) for each in drawn))
    lengths = {int(count) for _, mask in drawn[1] for count in mask.sum(1)}
    assert lengths == {0, 1, 2}
    mixed = Mixture((cached.data.source, dataclasses.replace(cached.data.source, text=None))).open()
    assert mixed.num_draws == 4 and len(mixed[4]['draws']) == 4

    def rng():
        return np.random.default_rng(2)

    for i in (0, 2, 5):
        clip = mixed.draw(i, rng())
        again = mixed.conditions_of(clip['draws'], rng())
        np.testing.assert_array_equal(again['text'], clip['text'])
