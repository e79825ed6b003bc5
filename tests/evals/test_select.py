"""Which protocol scores a run: that of its config, or the usual one of its source."""

import dataclasses

import numpy as np
import pytest

from tests.data.small_set import record, write_set
from vdm_jax.codecs.video_vae import VideoVAEConfig
from vdm_jax.data.bucketed import Bucketed
from vdm_jax.data.records.source import Records
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.data.worlds.colliding_balls import CollidingBalls
from vdm_jax.data.worlds.moving_mnist import MovingMNIST
from vdm_jax.data.worlds.panned_balls import PannedBalls
from vdm_jax.data.worlds.shadowed_balls import ShadowedBalls
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.errors import UserError
from vdm_jax.evals.frame_prediction import FramePrediction
from vdm_jax.evals.protocol import EvaluateConfig, UsualProtocol
from vdm_jax.evals.recall import Recall
from vdm_jax.evals.reconstruction import Reconstruction
from vdm_jax.evals.select import choose_protocol
from vdm_jax.experiment.registry import PROTOCOLS
from vdm_jax.models.dit import VideoDiTConfig

NETWORK = VideoDiTConfig()
AUTOENCODER = VideoVAEConfig()
WORLDS = {
    BouncingBalls: 'ball_physics',
    CollidingBalls: 'collision_physics',
    ShadowedBalls: 'shadow_physics',
    PannedBalls: 'pan_physics',
}


def choose(source, protocol=None, network=NETWORK):
    return choose_protocol(protocol or UsualProtocol(), PROTOCOLS, source.open(), network)


@pytest.fixture
def records(tmp_path):
    """count -> a source of so many records."""

    def make(count, **fields):
        path = write_set(tmp_path / str(count), [record(str(i), 12, 60 * i) for i in range(count)], shards=1)
        return Records(path, frames=4, pixels=8, **fields)

    return make


@pytest.mark.parametrize('world', WORLDS, ids=lambda world: world.__name__)
def test_every_world_of_balls_has_its_own_protocol_and_no_other_s(world):
    assert choose(world()) == PROTOCOLS[WORLDS[world]]()
    for name in set(WORLDS.values()) - {WORLDS[world]}:
        with pytest.raises(UserError, match=f'^--protocol={name}: it cannot score samples of a {world.__name__} '):
            choose(world(), PROTOCOLS[name]())


def test_a_subclass_is_another_world():
    @dataclasses.dataclass(frozen=True)
    class Tilted(BouncingBalls):
        pass

    with pytest.raises(
        UserError,
        match=r'^--protocol is missing: none is usual for a Tilted; one of .*frame_prediction.*recall.* \(config.eval',
    ):
        choose(Tilted())


def test_predictions_are_usual_for_moving_mnist():
    assert choose(MovingMNIST('nowhere')) == FramePrediction()


def test_recall_is_usual_for_labelled_clips_and_for_a_single_one(records):
    assert choose(records(3, label='index')) == Recall()
    assert choose(Bucketed(records(3, label='index'), ('4x8x8',))) == Recall()
    assert choose(records(1)) == Recall()
    for source in (records(3), Bucketed(records(3), ('4x8x8',))):
        kind = type(source).__name__
        pattern = (
            f'^--protocol is missing: none is usual for a {kind} without labels; one of .*frame_prediction.*recall'
        )
        with pytest.raises(UserError, match=pattern):
            choose(source)
        assert choose(source, Recall()) == Recall()


def test_labels_are_no_advice_for_clips_that_none_is_usual_for():
    with pytest.raises(UserError, match='^--protocol is missing: none is usual for a Synthetic; one of .*frame_pred'):
        choose(Synthetic())


def test_an_autoencoder_is_scored_only_by_reconstruction():
    for source in (BouncingBalls(), MovingMNIST('nowhere'), Synthetic()):
        assert choose(source, network=AUTOENCODER) == Reconstruction()
    pattern = 'an autoencoder is scored by reconstruction, and nothing else is'
    for protocol in (PROTOCOLS['ball_physics'](), Recall(), FramePrediction()):
        with pytest.raises(UserError, match=f'^--protocol=.*: {pattern}'):
            choose(BouncingBalls(), protocol, AUTOENCODER)
    with pytest.raises(UserError, match=f'^--protocol=reconstruction: {pattern}'):
        choose(BouncingBalls(), Reconstruction())


def test_a_chosen_protocol_keeps_its_parameters():
    protocol = FramePrediction(context=2, per_clip=3, bar=0.5)
    assert choose(BouncingBalls(), protocol) is protocol


def test_parameters_of_recall_decide_what_passes():
    source = Synthetic(frames=2, pixels=8, size=2, classes=2).open()
    clips = np.stack([source[i]['video'] for i in range(2)])
    wrong = np.where(clips < 128, clips + 10, clips - 10).astype(np.uint8)  # 28.1 dB
    config = EvaluateConfig(real=2)
    for threshold, passes in ((28, True), (29, False)):
        protocol = Recall(threshold_db=threshold)
        conditions = protocol.make_conditions(source, source, config)
        score = protocol.score(wrong[: len(conditions['label'])], conditions, source, source, config)
        assert score.verdict['psnr'] == passes and score.settings['threshold_db'] == threshold
