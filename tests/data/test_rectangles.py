"""Clips that are not square: of every source, the right way round; and squares are what they were."""

import dataclasses
import hashlib

import numpy as np
import pytest

from tests.data.small_mnist import digits, write_idx
from tests.data.small_set import write_set
from vdm_jax import media
from vdm_jax.data.records.schema import Record
from vdm_jax.data.worlds.bouncing_balls import fly
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.registry import SOURCES

pytest.importorskip('av')

CORNERS = np.array([[(230, 30, 30), (30, 200, 30)], [(30, 30, 230), (220, 220, 220)]], np.uint8)
WORLDS = ('bouncing_balls', 'colliding_balls', 'panned_balls', 'shadowed_balls')
# Those that are made of the video with coloured quarters.
OF_PICTURES = ('video_folder', 'records', 'tfds', 'mixture', 'joint_images', 'bucketed')
# PhyWorld is a square of 10 units.
SQUARE = ('phyworld',)
WIDE_AND_HIGH = ('20x36', '36x20')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder of one video of 24x40, whose four quarters have colours of their own, a set of it, and digits."""
    place = tmp_path_factory.mktemp('rectangles')
    video = np.broadcast_to(CORNERS.repeat(12, 0).repeat(20, 1), (4, 24, 40, 3))
    media.write_mp4(place / 'videos' / 'a.mp4', video, 10)
    data = (place / 'videos' / 'a.mp4').read_bytes()
    write_set(place / 'set', [Record('a', 4, 24, 40, 10.0, video=data, source='a.mp4')], shards=1)
    (place / 'mnist').mkdir()
    write_idx(place / 'mnist' / 't10k-images-idx3-ubyte.gz', digits(50))
    return place


def make(name, place, size):
    """A reader of the source of that name with clips of that size."""
    folder = {'source': 'video_folder', 'path': str(place / 'videos'), 'frames': 4, 'pixels': size}
    height, width = str(size).split('x')
    data = {
        'records': folder | {'source': 'records', 'path': str(place / 'set')},
        'video_folder': folder,
        'mixture': {'sources': [folder, folder]},
        'joint_images': {'clips': folder, 'images': folder, 'count': 1},
        'bucketed': {'clips': folder, 'buckets': (f'4x{height}x{width}',)},
        'moving_mnist': {'path': str(place / 'mnist'), 'pixels': size},
    }
    source = experiment_from({'data': data.get(name, {'pixels': size, 'frames': 4}) | {'source': name}}).data.open()
    if name == 'tfds':  # a prepared set of its own would cost seconds
        frames = np.broadcast_to(CORNERS.repeat(12, 0).repeat(20, 1), (4, 24, 40, 3))
        vars(source)['_examples'] = [{'video': frames}]
    return source


def corners(video):
    """The mean colour of each quarter of the frames, without what is near to another one: (2, 2, 3)."""
    height, width = (length // 3 for length in video.shape[1:3])
    above_and_below = np.stack([video[:, :height], video[:, -height:]]).mean((1, 2))
    return np.stack([above_and_below[:, :width], above_and_below[:, -width:]], 1).mean(2)


def bright(video, positions):
    """The brightest value of each pixel that holds the centre of something, (T, N)."""
    x, y = np.floor(positions).astype(int).transpose(2, 0, 1)
    return video.max(-1)[np.arange(len(video))[:, None], y, x]


@pytest.mark.parametrize('size', ['40x56', '56x40'])
@pytest.mark.parametrize('name', [name for name in SOURCES if name not in SQUARE])
def test_a_clip_has_the_configured_height_and_width(name, size, place):
    source = make(name, place, size)
    height, width = map(int, size.split('x'))
    assert source.shape[1:3] == (height, width) and source.source.pixels == size
    clips = [source[0], source.draw(0, np.random.default_rng(0))]
    assert all(clip['video'].shape == source.shape and clip['video'].dtype == np.uint8 for clip in clips)
    for clip in clips:
        if name in WORLDS:
            truth = source.truth(0)
            assert bright(clip['video'], getattr(truth, 'in_picture', truth.positions)).min() > 100
        elif name == 'moving_mnist':
            truth = source.truth(0)
            assert bright(clip['video'], np.floor(truth.positions) + 0.5).min() > 0
            farthest = np.concatenate([source.truth(i).positions for i in range(20)]).max((0, 1)) + 28
            assert (farthest <= (width, height)).all() and (farthest > (width - 8, height - 8)).all()
        elif name in OF_PICTURES:
            np.testing.assert_allclose(corners(clip['video']), CORNERS, atol=24)
            for image in clip.get('images', ()):
                np.testing.assert_allclose(corners(image[None]), CORNERS, atol=24)


def test_a_video_just_covers_the_size_and_what_stands_over_is_cut_off(place):
    """24x40 to 12x20 is a half of it, to 20x12 the middle of 20x33; cut at random and mirrored, it is another part."""
    half, middle = (make('video_folder', place, size) for size in ('12x20', '20x12'))

    def red_ends(video):
        return int((video[0, 1, :, 0] > 130).sum())

    assert red_ends(half[0]['video']) == 10 and red_ends(middle[0]['video']) in (6, 7)
    moved = dataclasses.replace(middle.source, crop='random', flip=True).open()
    drawn = [moved.draw(0, np.random.default_rng(seed))['video'] for seed in range(12)]
    assert {video.shape for video in drawn} == {(4, 20, 12, 3)} and len({red_ends(video) for video in drawn}) > 4
    assert {bool(video[0, 1, 0, 0] > 130) for video in drawn} == {True, False}, 'mirrored, green is first'


@pytest.mark.parametrize('name', WORLDS)
@pytest.mark.parametrize('size', WIDE_AND_HIGH)
def test_balls_stay_in_the_room_and_use_all_of_it(name, size):
    world = SOURCES[name](pixels=size, frames=24)
    height, width = world.shape[1:3]
    truths = [world.truth(i) for i in range(24)]
    radius = truths[0].radius
    floor = world.floor * world.unit
    wall = world.width * world.unit

    assert radius == world.radius * 20 and wall >= width and height - 2 <= floor <= height
    at = np.concatenate([truth.positions.reshape(-1, 2) for truth in truths])
    assert (at >= radius - 1e-9).all() and (at <= (wall - radius + 1e-9, floor - radius + 1e-9)).all()
    assert (at.max(0) > (0.85 * (wall - radius), 0.95 * (floor - radius))).all(), 'no corner is left empty'
    g = world.gravity * world.unit
    for truth in truths:  # what all balls have of energy stays, through bounces and collisions
        energy = 0.5 * np.square(truth.velocities).sum((1, 2)) - g * truth.positions[..., 1].sum(1)
        np.testing.assert_allclose(energy, energy[0], atol=1e-6)


def test_a_ball_turns_at_the_wall_of_its_room():
    """From x = 1.5 of a room 2 wide, 0.1 a frame and 0.1 in radius, it is at the wall after 4 frames."""
    world = SOURCES['bouncing_balls'](pixels='16x32', radius=0.1)
    start = np.array([[1.5, 0.5, 0.1, 0.0]])
    positions, velocities = fly(start, np.array([4, 6]), 0.1, 0.01, world.width, world.floor)
    np.testing.assert_allclose(positions[:, 0, 0], [1.9, 1.7])
    assert velocities[1, 0, 0] == pytest.approx(-0.1) and (world.width, world.floor) == (2.0, 1.0)
    high = dataclasses.replace(world, pixels='32x16')
    assert (high.width, high.floor, high.unit) == (1.0, 2.0, 16)


def test_a_world_looks_the_same_at_any_number_of_pixels():
    small, large = (SOURCES['bouncing_balls'](pixels=size).truth(3) for size in ('16x24', '32x48'))
    np.testing.assert_allclose(2 * small.positions, large.positions)


def test_shadows_camera_and_collisions_are_in_the_picture():
    for size in WIDE_AND_HIGH:
        shadowed = SOURCES['shadowed_balls'](pixels=size)
        ground = shadowed[0]['video'][:, -2:].min(-1)
        assert (ground[:, :, :2] > 60).any() and not shadowed[0]['video'][:, :2, ::3].min(-1).any()
        for i in range(12):
            truth = shadowed.truth(i)
            assert (0 <= truth.shadows).all() and (truth.shadows <= shadowed.shape[2]).all()
            assert (truth.light[:, 1] <= -shadowed.shape[1]).all()
        panned = SOURCES['panned_balls'](pixels=size)
        reach = panned.width * panned.unit - panned.shape[2]
        for i in range(12):
            truth = panned.truth(i)
            assert (-1e-9 <= truth.camera).all() and (truth.camera <= reach + 1e-9).all()
            assert (truth.in_picture[..., 0] <= panned.shape[2] - truth.radius + 1e-9).all()
        colliding = SOURCES['colliding_balls'](pixels=size)
        points = [each.point for i in range(24) for each in colliding.truth(i).collisions]
        assert len(points) > 8 and max(max(point) for point in points) > 20, 'some are beyond a square'


KNOWN = {  # sha256 of six clips and of their truth before there were rectangles
    'bouncing_balls': 'e21078ac1ef11064',
    'colliding_balls': '30b4dbf260930403',
    'panned_balls': 'c4dfaf7fc271e1ba',
    'shadowed_balls': '2113413535fb223e',
    'moving_mnist': '3d7f9d33bc9f1fc7',
    'synthetic': '63b2f8d2e5e2aaae',
}


@pytest.mark.parametrize('name', KNOWN)
def test_square_clips_are_those_of_before(name, place):
    source = SOURCES[name](**({'path': str(place / 'mnist')} if name == 'moving_mnist' else {})).open()
    clips = b''.join(source[i]['video'].tobytes() for i in range(6))
    assert hashlib.sha256(clips).hexdigest()[:16] == KNOWN[name]
