"""A suite: which of its protocols fit a run, and why the others do not."""

import dataclasses

import pytest

from vdm_jax.codecs.video_vae import VideoVAEConfig
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.data.worlds.colliding_balls import CollidingBalls
from vdm_jax.data.worlds.panned_balls import PannedBalls
from vdm_jax.data.worlds.phyworld import PhyWorld
from vdm_jax.data.worlds.shadowed_balls import ShadowedBalls
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.errors import UserError
from vdm_jax.evals.paired import Paired
from vdm_jax.evals.physics_suite import PhysicsSuite
from vdm_jax.evals.protocol import Protocol, Suite
from vdm_jax.evals.select import choose_protocol, select_protocols
from vdm_jax.experiment.registry import PROTOCOLS
from vdm_jax.models.dit import VideoDiTConfig

NETWORK = VideoDiTConfig()
OWN = {
    BouncingBalls: 'ball_physics',
    CollidingBalls: 'collision_physics',
    ShadowedBalls: 'shadow_physics',
    PannedBalls: 'pan_physics',
}


def select(source, context, protocol=None, network=NETWORK):
    return select_protocols(protocol or PhysicsSuite(), PROTOCOLS, source.open(), network, context)


def names(selection):
    by_class = {cls: name for name, cls in PROTOCOLS.items()}
    return [by_class[type(protocol)] for protocol in selection.protocols]


@pytest.mark.parametrize('world', OWN, ids=lambda world: world.__name__)
def test_a_world_is_judged_by_its_own_protocol_and_by_those_of_any_video(world):
    selection = select(world(), 0)
    assert names(selection) == [OWN[world], 'temporal']
    assert selection.left_out['physics_iq'] == 'the network was trained without context frames'
    assert (
        f'cannot score samples of a {world.__name__}'
        in selection.left_out[next(iter(set(OWN.values()) - {OWN[world]}))]
    )
    assert set(names(selection)) | set(selection.left_out) == set(PhysicsSuite.members)


def test_a_network_with_context_is_judged_after_as_many_frames():
    selection = select(PhyWorld(), 5)
    assert names(selection) == ['phyworld_velocity_error', 'physics_iq', 'temporal']
    assert [protocol.context for protocol in selection.protocols[:2]] == [5, 5]


def test_a_member_is_asked_as_it_would_judge():
    """Paired scores a network that was trained after context frames, after as many."""

    @dataclasses.dataclass(frozen=True)
    class OfPairs(Suite):
        members = ('paired',)

    assert select(Synthetic(), 3, OfPairs()).protocols == (Paired(context=3),)
    with pytest.raises(UserError, match='paired: samples have a truth where context frames are given'):
        select(Synthetic(), 0, OfPairs())


def test_any_other_source_is_judged_by_what_needs_no_truth():
    assert names(select(Synthetic(), 2)) == ['physics_iq', 'temporal']


def test_where_none_fits_the_reasons_are_named():
    with pytest.raises(UserError, match='none of the suite fits: ball_physics: an autoencoder is scored by'):
        select(BouncingBalls(), 0, network=VideoVAEConfig())
    with pytest.raises(UserError, match='one protocol is wanted'):
        choose_protocol(PhysicsSuite(), PROTOCOLS, BouncingBalls().open(), NETWORK)


def test_one_protocol_is_a_selection_of_one():
    selection = select(BouncingBalls(), 0, PROTOCOLS['ball_physics']())
    assert names(selection) == ['ball_physics'] and not selection.left_out


@pytest.mark.parametrize('suite', [cls for cls in PROTOCOLS.values() if issubclass(cls, Suite)])
def test_members_are_protocols(suite):
    assert all(issubclass(PROTOCOLS[name], Protocol) for name in suite.members)
