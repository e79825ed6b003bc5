"""Real collisions pass; balls that pass through each other, lose energy or gain momentum show by as much as they do."""

import dataclasses

import numpy as np
import pytest

from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.worlds.colliding_balls import CollidingBalls
from vdm_jax.errors import UserError
from vdm_jax.evals.protocol import EvaluateConfig
from vdm_jax.evals.worlds import collisions
from vdm_jax.evals.worlds.ball_tracking import track_balls
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run

WORLD = CollidingBalls(size=64)
TEST = dataclasses.replace(WORLD, split='test')
SIDE = WORLD.pixels
RADIUS = WORLD.radius * WORLD.pixels
G = WORLD.gravity * WORLD.pixels
RED = 0
BLUE = 2


@pytest.fixture(scope='module')
def score():
    unseen = dataclasses.replace(TEST, seed=1)
    config = EvaluateConfig(samples=20, real=24, train=64)
    return collisions.CollisionPhysics().score(read_videos(unseen, range(20)), None, WORLD, TEST, config)


def missed_verdicts(score, row):
    return {name for name, good in collisions.judge(score.figures[row], score.figures['real']).items() if not good}


def test_real_clips_pass(score):
    assert score.name == 'balls20_16f_collide' and all(score.verdict.values()) and not missed_verdicts(score, 'real')
    for row in ('samples', 'real'):
        figures = score.figures[row]
        assert figures['collisions'] > 6 and figures['through'] == 0 and figures['kept'] == 1
        assert max(figures['momentum_error_px'], figures['deflection_error_px'], figures['residual_px']) < 0.05
        assert figures['energy_error'] < 0.02


def test_controls_miss(score):
    assert score.figures['through']['through'] == 1
    assert {'through', 'deflection'} <= missed_verdicts(score, 'through')
    assert {'collisions', 'through', 'momentum', 'energy', 'deflection'} <= missed_verdicts(score, 'frozen')
    assert {'collisions', 'kept', 'residual'} <= missed_verdicts(score, 'shuffled')
    assert {'collisions', 'kept'} <= missed_verdicts(score, 'noise')
    assert missed_verdicts(score, 'copied') == {'nearest_train'}


def met(paint, left, right, times=12):
    """Figures of two balls that come at (1.5, -1) and (-1.5, -1) px per frame, touch after 5.5 and leave again.

    left, right: velocities (2,) after the contact, in pixels per frame.
    """
    contact = 5.5
    point = np.array([16.0, 14.0])

    def fall(since):
        return np.stack([0 * since, 0.5 * G * since**2], -1)

    since = np.arange(times) - contact
    paths = []
    for side, after in ((-1, left), (1, right)):
        velocity = np.where(since[:, None] < 0, [-1.5 * side, -1.0], after)
        paths.append(point + [side * RADIUS, 0] + velocity * since[:, None] + fall(since))
    video = paint(np.stack(paths, 1), [RED, BLUE], RADIUS, SIDE)
    return collisions.measure(video[None], dataclasses.replace(WORLD, frames=times))


@pytest.mark.parametrize(
    ('left', 'right', 'through', 'momentum', 'energy', 'deflection'),
    [
        ((-1.5, -1), (1.5, -1), 0, 0, 0, 0),  # elastic
        ((1.5, -1), (-1.5, -1), 1, 0, 0, 3),  # through each other
        ((-0.75, -1), (0.75, -1), 0, 0, 1 - (0.75**2 + 1) / (1.5**2 + 1), 0.75),  # half the speed lost
        ((-1.5, -1), (0.9, -1), 0, 0.6, (1.5**2 - 0.9**2) / 6.5, 0.6 / np.sqrt(2)),  # held by nothing
        ((-1.5, -0.6), (1.5, -1.4), 0, 0, (0.6**2 + 1.4**2 - 2) / 6.5, 0.4),  # friction where there is none
    ],
)
def test_figures_of_collisions_worked_out_by_hand(paint, left, right, through, momentum, energy, deflection):
    figures = met(paint, left, right, times=16 if through else 12)
    assert figures['collisions'] == 1 and figures['through'] == through
    assert figures['momentum_error_px'] == pytest.approx(momentum, abs=0.03)
    assert figures['energy_error'] == pytest.approx(energy, abs=0.03)
    assert figures['deflection_error_px'] == pytest.approx(deflection, abs=0.03)
    assert figures['arcs'] == 4 and figures['residual_px'] < 0.05, 'flights end where balls touch'


def test_what_never_meets_is_not_measured(paint):
    times = np.arange(12.0)[:, None]
    paths = np.stack([[8, 5] + 0 * times + [0, 0.5 * G] * times**2, [24, 5] + 0 * times + [0, 0.5 * G] * times**2], 1)
    figures = collisions.measure(paint(paths, [RED, BLUE], RADIUS, SIDE)[None], dataclasses.replace(WORLD, frames=12))
    assert figures['collisions'] == 0 and np.isnan(figures['through']) and figures['arcs'] == 2
    figures['nearest_train'] = 0.0
    verdict = collisions.judge(figures, figures | {'collisions': 5})
    assert not any(verdict[name] for name in ('collisions', 'through', 'momentum', 'energy', 'deflection'))


def test_a_world_is_scored_only_by_its_own_protocol():
    groups = {'data': {'source': 'colliding_balls'}}
    run = Run(experiment_from(groups))
    assert run.protocol == collisions.CollisionPhysics()
    with pytest.raises(UserError, match='cannot score samples of a CollidingBalls'):
        Run(experiment_from(groups | {'evaluate': {'protocol': 'ball_physics'}})).protocol  # noqa: B018


def test_two_collisions_between_flights_are_not_taken_for_one():
    truth = TEST.truth(134)
    video = TEST[134]['video']
    assert [round(each.time, 1) for each in truth.collisions] == [4.6, 10.5], (
        'too close for flights of 3 frames between'
    )
    tracks = track_balls(video, TEST)
    assert collisions.find_collisions(tracks, TEST, collisions.find_touches(tracks, TEST)) == []
