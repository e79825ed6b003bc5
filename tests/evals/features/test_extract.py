"""Features of many clips: the same for any batches and any devices, in memory that does not grow."""

import hashlib
import socket
import subprocess
import sys
import weakref

import jax
import numpy as np
import pytest

from tests import one_device
from tests.evals.features import one_of_several
from tests.evals.features.small_network import Colours, FrameColours
from tests.imports import ROOT
from vdm_jax.errors import UserError
from vdm_jax.evals.features.extract import extract_features
from vdm_jax.parallel.mesh import MeshConfig, make_mesh

NETWORK = Colours()
PARAMS = NETWORK.init(jax.random.key(0))
CLIPS = np.random.default_rng(0).integers(0, 256, (13, 3, 4, 5, 3), np.uint8)


def batches(clips, *sizes):
    """The clips in batches of these sizes, and one of what is left."""
    for size in sizes:
        yield clips[:size]
        clips = clips[size:]
    if len(clips):
        yield clips


def expect(network, clips):
    return np.asarray(network.apply(PARAMS, clips))


@pytest.mark.parametrize('sizes', [(), (1, 2, 3), (4, 4, 4), (13,), (5, 0, 8), (1,) * 13])
@pytest.mark.parametrize('batch_size', [1, 4, 13, 20])
def test_features_do_not_depend_on_batches(sizes, batch_size):
    result = extract_features(NETWORK, PARAMS, batches(CLIPS, *sizes), batch_size)
    np.testing.assert_allclose(result.features, expect(NETWORK, CLIPS), rtol=1e-5, atol=1e-5)
    assert result.features.dtype == np.float32 and result.features.flags.owndata
    assert (result.num_clips, result.frames, result.probabilities) == (13, 3, None)
    shape_and_bytes = repr((3, 4, 5, 3)).encode() + CLIPS.tobytes()
    assert result.clips_sha256 == hashlib.sha256(shape_and_bytes).hexdigest()


def test_the_hash_tells_clips_and_shapes_apart():
    other = CLIPS.copy()
    other[12, 2, 3, 4, 2] ^= 1
    turned = CLIPS.reshape(13, 3, 5, 4, 3)
    hashes = {extract_features(NETWORK, PARAMS, [each]).clips_sha256 for each in (CLIPS, other, CLIPS[::-1], turned)}
    assert len(hashes) == 4


@pytest.mark.parametrize('with_probabilities', [False, True])
def test_probabilities_come_beside(with_probabilities):
    result = extract_features(NETWORK, PARAMS, batches(CLIPS, 6), 4, with_probabilities)
    np.testing.assert_allclose(result.features, expect(NETWORK, CLIPS), rtol=1e-5, atol=1e-5)
    if not with_probabilities:
        assert result.probabilities is None
        return
    np.testing.assert_allclose(result.probabilities, NETWORK.probabilities(PARAMS, CLIPS), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.probabilities.sum(1), 1, rtol=1e-5)


def test_a_network_of_frames_has_a_row_for_each():
    network = FrameColours()
    result = extract_features(network, PARAMS, batches(CLIPS, 3, 7), 4)
    assert result.features.shape == (13 * 3, 3)
    np.testing.assert_allclose(result.features, expect(network, CLIPS), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.features[4], expect(network, CLIPS[1:2, 1:2])[0], rtol=1e-5, atol=1e-5)


def test_grey_clips_are_three_equal_channels():
    grey = extract_features(NETWORK, PARAMS, [CLIPS[..., :1]])
    colour = extract_features(NETWORK, PARAMS, [np.repeat(CLIPS[..., :1], 3, -1)])
    np.testing.assert_allclose(grey.features, colour.features, rtol=1e-5, atol=1e-5)
    assert grey.clips_sha256 != colour.clips_sha256


@pytest.mark.multidevice
@pytest.mark.parametrize('axes', [{}, {'data': 2, 'fsdp': 4}, {'data': 2, 'sequence': 4}])
@pytest.mark.parametrize('network', [NETWORK, FrameColours()])
def test_eight_devices_give_what_one_gives(network, axes):
    one = extract_features(network, PARAMS, batches(CLIPS, 6), 3, with_probabilities=True)
    with jax.set_mesh(make_mesh(MeshConfig(**axes))):
        eight = extract_features(network, PARAMS, batches(CLIPS, 6), 3, with_probabilities=True)
    np.testing.assert_allclose(eight.features, one.features, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(eight.probabilities, one.probabilities, rtol=1e-5, atol=1e-6)
    assert eight.clips_sha256 == one.clips_sha256 and eight.num_clips == 13


@pytest.mark.slow
@pytest.mark.multidevice
def test_two_processes_get_all_features(tmp_path):
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    outs = [tmp_path / f'{number}.npz' for number in range(2)]
    commands = []
    for number, out in enumerate(outs):
        variables = {'JAX_COORDINATOR_ADDRESS': f'localhost:{port}', 'JAX_NUM_PROCESSES': '2'}
        environment = one_device.environment(tmp_path / 'cache') | variables | {'JAX_PROCESS_ID': str(number)}
        command = [sys.executable, '-m', 'tests.evals.features.one_of_several', out]
        commands.append(subprocess.Popen(command, cwd=ROOT, env=environment))
    try:
        assert [command.wait(120) for command in commands] == [0, 0]
    finally:
        for command in commands:
            command.kill()

    expected = one_of_several.compute()
    for out in outs:
        stored = np.load(out)
        assert (stored['devices'], stored['processes'], stored['sha256']) == (2, 2, expected.clips_sha256)
        np.testing.assert_allclose(stored['features'], expected.features, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(stored['probabilities'], expected.probabilities, rtol=1e-5, atol=1e-6)


class Counter:
    """Makes batches and counts how many of them are alive."""

    def __init__(self):
        self.alive = 0
        self.most = 0

    def batches(self, count, size):
        for number in range(count):
            # With memory of its own, as it is freed by the last reference to it.
            batch = np.full((size, 2, 4, 4, 3), number % 256, np.uint8)
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(batch, self.forget)
            yield batch
            del batch

    def forget(self):
        self.alive -= 1


@pytest.mark.parametrize('size', [4, 3, 8])
def test_memory_does_not_grow_with_the_number_of_clips(size):
    few, many = Counter(), Counter()
    before = len(jax.live_arrays())
    most = 0

    def count_arrays(batches):
        nonlocal most
        for batch in batches:
            most = max(most, len(jax.live_arrays()) - before)
            yield batch
            del batch

    extract_features(NETWORK, PARAMS, few.batches(64 // size, size), 4)
    result = extract_features(NETWORK, PARAMS, count_arrays(many.batches(2048 // size, size)), 4)
    assert result.num_clips == 2048 // size * size
    # Of what the iterator made: the batch that is computed, and the next one. Features leave the device at once.
    assert many.most == few.most <= 2
    assert most <= 4
    assert many.alive == 0


def test_one_program_is_compiled():
    traces = 0

    class Traced(Colours):
        def reduce(self, videos):
            nonlocal traces
            traces += 1
            return super().reduce(videos)

    for sizes in ((1, 2, 6), (13,), (4, 4)):
        extract_features(Traced(), PARAMS, batches(CLIPS, *sizes), 4)
    assert traces == 1


@pytest.mark.parametrize('wrong, message', [
    ([], 'colours: there are no clips to compute features of; want 1 or more'),
    ([CLIPS[:0]], 'there are no clips'),
    ([CLIPS.astype(np.float32)], r'want clips as uint8 \(B, T, H, W, C\) in 0..255; found float32'),
    ([CLIPS[0]], r'want clips as uint8 \(B, T, H, W, C\) in 0..255; found uint8 \(3, 4, 5, 3\)'),
    ([CLIPS[:5], CLIPS[5:, :, :3]], r'clip 5 is \(3, 3, 5, 3\) \(T, H, W, C\), those before are \(3, 4, 5, 3\)'),
    ([CLIPS[:, :1]], 'colours needs clips of 2 frames or more; found 1'),
    ([CLIPS[..., :2]], r'3 channels, or 1 for grey; found \(13, 3, 4, 5, 2\)'),
])  # fmt: skip
def test_what_gives_no_features_is_refused(wrong, message):
    with pytest.raises(UserError, match=message) as caught:
        extract_features(NETWORK, PARAMS, iter(wrong))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('batch_size', [0, -1])
def test_batches_of_no_clips_are_refused(batch_size):
    with pytest.raises(UserError, match=f'batch_size={batch_size}: want 1 or more'):
        extract_features(NETWORK, PARAMS, [CLIPS], batch_size)


def test_features_that_are_not_finite_are_named():
    params = jax.tree.map(lambda leaf: leaf * np.float32(np.nan), PARAMS)
    with pytest.raises(UserError, match=r'features of 13 of 13 clips are not finite \(clip 0, 1, 2, 3, 4, 5, 6, 7 …\)'):
        extract_features(NETWORK, params, [CLIPS], 4)
