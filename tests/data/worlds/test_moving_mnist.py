"""Digits move by the published rules, no digit is in both splits, and files that are no digits are named."""

import dataclasses

import numpy as np
import pytest

from tests.data.small_mnist import digits, write_idx
from tests.shared_data import MNIST
from vdm_jax.data.worlds.moving_mnist import MovingMNIST
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from


@pytest.fixture
def folder(tmp_path):
    write_idx(tmp_path / 't10k-images-idx3-ubyte.gz', digits(50))
    return str(tmp_path)


def test_a_clip_is_its_truth_drawn_with_the_brighter_pixel_on_top(folder):
    source = MovingMNIST(folder, pixels=40, frames=6).open()
    for i in range(20):
        video = source[i]['video']
        truth = source.truth(i)
        assert video.shape == source.shape == (6, 40, 40, 1) and video.dtype == np.uint8
        layers = np.zeros((6, 2, 40, 40), np.uint8)
        for t, n in np.ndindex(6, 2):
            x, y = np.floor(truth.positions[t, n]).astype(int)
            layers[t, n, y : y + 28, x : x + 28] = digits(50)[truth.digits[n]]
        assert (layers > 0).all(1).any()  # they do overlap
        np.testing.assert_array_equal(video[..., 0], layers.max(1))


def test_bounce_goes_a_tenth_of_the_room_a_frame_and_comes_back_mirrored(folder):
    source = MovingMNIST(folder).open()
    turned = 0
    for i in range(50):
        positions = source.truth(i).positions
        assert positions.shape == (20, 2, 2) and positions.min() >= 0 and positions.max() <= 36
        steps = np.diff(positions, axis=0)
        free = ((positions > 0) & (positions < 36)).all(-1)
        between = free[1:] & free[:-1]
        np.testing.assert_allclose(np.linalg.norm(steps, axis=-1)[between], 3.6)
        corners = np.floor(positions)  # where they are drawn
        np.testing.assert_allclose(np.linalg.norm(np.diff(corners, axis=0), axis=-1)[between], 3.6, atol=2**0.5)
        for n, axis in np.ndindex(2, 2):
            place = positions[:, n, axis]
            step = steps[:, n, axis]
            for t in np.flatnonzero((place[1:-1] == 0) | (place[1:-1] == 36)) + 1:
                turned += 1
                assert step[t - 1] * step[t] < 0 and abs(step[t - 1]) <= abs(step[t]) + 1e-9
            middle = (place > 0) & (place < 36)
            is_free = middle[1:-1] & middle[:-2] & middle[2:]
            np.testing.assert_allclose(step[:-1][is_free], step[1:][is_free], atol=1e-9)
    assert turned > 50


def test_stochastic_speed_changes_only_at_borders(folder):
    source = MovingMNIST(folder, motion='stochastic').open()
    turned = 0
    seen = set()

    for i in range(100):
        positions = source.truth(i).positions
        assert positions.dtype == np.int64 and positions.min() >= 0 and positions.max() <= 31
        steps = np.diff(positions, axis=0)
        inside = ((positions > 0) & (positions < 31)).all(-1)
        free = inside[1:-1] & inside[2:]  # neither put back on a border now nor before the next frame
        np.testing.assert_array_equal(steps[:-1][free], steps[1:][free])
        turned += int((steps[:-1] != steps[1:]).any(-1).sum())
        seen |= set(map(tuple, steps.reshape(-1, 2).tolist()))
    assert turned > 100 and seen == {(x, y) for x in range(-4, 5) for y in range(-4, 5)}


def test_stochastic_speeds_are_drawn_away_from_the_border(folder):
    """After a hit the digit goes 1 to 4 pixels a frame off that border, whatever it does along it."""
    source = MovingMNIST(folder, motion='stochastic', frames=60).open()
    off = set()
    for i in range(60):
        positions = source.truth(i).positions
        for place in positions.transpose(1, 2, 0).reshape(-1, 60):  # one axis of one digit
            for t in range(1, 59):
                if place[t] == 31 and place[t - 1] != 31 and place[t + 1] < 31:
                    off.add(int(place[t + 1] - 31))
                if place[t] == 0 and place[t - 1] != 0 and place[t + 1] > 0:
                    off.add(int(place[t + 1]))
    assert off == {-4, -3, -2, -1, 1, 2, 3, 4}


def test_stochastic_digits_are_enlarged_and_add_up_to_white(tmp_path):
    write_idx(tmp_path / 'train-images-idx3-ubyte', np.full((10, 28, 28), 100, np.uint8))
    for count, brightest in ((1, 100), (2, 200), (5, 255)):
        source = MovingMNIST(str(tmp_path), motion='stochastic', count=count, pixels=40, frames=3).open()
        video = source[0]['video']
        assert video.max() == brightest
        if count == 1:
            assert (video > 0).sum((1, 2, 3)).tolist() == [32 * 32] * 3


def test_a_clip_is_a_function_of_digits_seed_split_and_number(folder):
    config = MovingMNIST(folder)
    source = config.open()
    again = MovingMNIST(folder).open()
    again[7]
    np.testing.assert_array_equal(source[3]['video'], again[3]['video'])
    np.testing.assert_array_equal(source.draw(3, np.random.default_rng(1))['video'], again[3]['video'])
    others = [source.truth(4), dataclasses.replace(config, seed=1).open().truth(3)]
    others += [dataclasses.replace(config, split='test').open().truth(3)]
    assert all((other.positions != source.truth(3).positions).any() for other in others)


def test_the_clip_is_the_same_for_ever(folder):
    truth = MovingMNIST(folder).open().truth(12345)
    assert truth.digits.tolist() == [3, 33]
    known = [[[4.818, 21.009], [12.716, 19.823]], [[21.705, 10.466], [2.723, 16.485]]]
    np.testing.assert_allclose(truth.positions[[0, -1]], known, atol=1e-3)


def test_one_file_gives_four_fifths_of_its_digits_to_training_and_the_rest_to_test(folder):
    config = MovingMNIST(folder, size=300, test_size=100)
    source = config.open()
    held_out = source.held_out()
    assert held_out.source == dataclasses.replace(config, split='test')
    digits_of_splits = [{d for i in range(100) for d in each.truth(i).digits.tolist()} for each in (source, held_out)]
    assert [len(each) for each in digits_of_splits] == [40, 10]
    assert not digits_of_splits[0] & digits_of_splits[1]
    assert source.digits == held_out.digits == 't10k-40-10'
    assert source.title == 'mmnist-t10k-40-10'
    assert dataclasses.replace(config, motion='stochastic').open().title == 'smmnist-t10k-40-10'
    assert dataclasses.replace(config, count=3, pixels=48).open().title == 'mmnist-t10k-40-10-3digits-48px'
    assert (len(source), len(held_out)) == (300, 100)


def test_with_both_files_each_split_has_its_own(folder, tmp_path):
    identity_without_train = MovingMNIST(folder).open().identity()
    write_idx(tmp_path / 'train-images-idx3-ubyte', digits(60, seed=1))
    source = MovingMNIST(folder).open()
    assert source.digits == '60-50' and source.identity() != identity_without_train
    for split, images in (('train', digits(60, seed=1)), ('test', digits(50))):
        one = MovingMNIST(folder, count=1, split=split).open()
        x, y = np.floor(one.truth(0).positions[0, 0]).astype(int)
        drawn_digit = one[0]['video'][0, y : y + 28, x : x + 28, 0]
        np.testing.assert_array_equal(drawn_digit, images[one.truth(0).digits[0]])


def test_plain_and_gzipped_files_are_one_and_another_digit_another_identity(folder, tmp_path):
    plain = tmp_path / 'plain'
    plain.mkdir()
    write_idx(plain / 't10k-images-idx3-ubyte', digits(50))
    assert MovingMNIST(folder).open().identity() == MovingMNIST(str(plain)).open().identity()
    changed = digits(50)
    changed[7, 3, 3] ^= 1
    write_idx(plain / 't10k-images-idx3-ubyte', changed)
    assert MovingMNIST(folder).open().identity() != MovingMNIST(str(plain)).open().identity()


@pytest.mark.parametrize(
    'write, parts',
    [
        (lambda path: None, ('config.data.path', 't10k-images-idx3-ubyte')),
        (lambda path: write_idx(path / 't10k-images-idx3-ubyte', digits(5), magic=2049), ('no images', '0x00000801')),
        (lambda path: write_idx(path / 't10k-images-idx3-ubyte', digits(5)[:, :20]), ('20x28', '28x28')),
        (lambda path: (path / 't10k-images-idx3-ubyte').write_bytes(b'abc'), ('no IDX file', '3 bytes')),
        (lambda path: (path / 't10k-images-idx3-ubyte.gz').write_bytes(b'<html>' * 9), ('cannot be read',)),
        (lambda path: write_idx(path / 't10k-images-idx3-ubyte', digits(1)), ('one digit',)),
    ],
)
def test_files_that_will_not_do_are_named(tmp_path, write, parts):
    write(tmp_path)
    with pytest.raises(UserError) as error:
        len(MovingMNIST(str(tmp_path)).open())
    assert all(part in str(error.value) for part in (str(tmp_path), *parts)), error.value
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('ending', ['', '.gz'])
def test_a_truncated_file_is_named(tmp_path, ending):
    path = tmp_path / f't10k-images-idx3-ubyte{ending}'
    write_idx(path, digits(20))
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(UserError, match='cut off|ended before') as error:
        len(MovingMNIST(str(tmp_path)).open())
    assert str(path) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(
    'key, value', [('path', ''), ('path', 'nowhere'), ('frames', 0), ('pixels', 30), ('motion', 'fly'), ('count', 0)]
)
def test_mistakes_name_the_key(folder, key, value):
    with pytest.raises(UserError, match=f'config.data.{key}') as error:
        len(experiment_from({'data': {'source': 'moving_mnist', 'path': folder, key: value}}).data.open())
    assert '\n' not in str(error.value)


@pytest.mark.skipif(not MNIST.is_dir(), reason=f'no MNIST at {MNIST} (set VDM_JAX_SHARED)')
def test_real_digits():
    source = MovingMNIST(str(MNIST)).open()
    assert source.digits in ('t10k-8000-2000', '60000-10000')
    video = source[0]['video']
    assert video.shape == (20, 64, 64, 1) and video.max() == 255
    assert 0.02 < np.mean([(source[i]['video'] > 127).mean() for i in range(20)]) < 0.08
