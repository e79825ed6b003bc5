"""Latent video with nothing but what is here: an autoencoder, a network on its latents, videos."""

import hashlib
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

from data_pipelines import __main__ as data_pipelines
from data_pipelines.commands.cache_latents import cache as make
from tests import one_device, seeds
from vdm_jax import cli, media
from vdm_jax.data.latents.metadata import check_same_encoding
from vdm_jax.data.pipeline import batches
from vdm_jax.data.video import decode
from vdm_jax.errors import UserError
from vdm_jax.evals import runner
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run
from vdm_jax.pretrained import weights
from vdm_jax.train import fingerprint
from vdm_jax.train.resume import describe_position

ROOT = Path(__file__).parents[1]
VAE = {'channels': (8, 16), 'patch': 2, 'blocks': 1, 'groups': 4, 'latent': 4, 'space': 4, 'time': 2}
DATA = {'source': 'bouncing_balls', 'frames': 5, 'pixels': 16, 'size': 12}
MOMENTS = 'moments-00000-of-00001.npy'
NO_CHECKS = '--config.train.validate_every=0'
FILE = """
from vdm_jax.config import ConfigDict


def get_config(arg=None):
    return ConfigDict({groups})
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Two experiment files, and the run of an autoencoder."""
    place = tmp_path_factory.mktemp('latent')
    train = {'steps': 2, 'batch_size': 4, 'log_every': 1, 'validate_every': 2, 'validate_batches': 1}
    learn = {'train': train, 'optim': {'name': 'adamw'}, 'ema': {'decays': (0.99,)}}
    vae = {'data': DATA, 'model': {'name': 'video_vae', **VAE}, 'evaluate': {'real': 4}, **learn}
    codec = {'name': 'video_vae', 'path': f'{place}/vae', 'sample': True, 'model': VAE}
    network = {'depth': 1, 'layout': 'full', 'width': 16, 'heads': 2, 'patch': 1, 'scalars': ('motion',)}
    latent = {'data': DATA, 'codec': codec, 'model': network, 'sampler': {'steps': 2}, **learn}
    (place / 'vae.py').write_text(FILE.replace('{groups}', repr(vae)))
    (place / 'latent.py').write_text(FILE.replace('{groups}', repr(latent)))
    assert cli.main(['train', f'--config={place}/vae.py', f'--workdir={place}/vae']) == 0
    return place


def lines(workdir):
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def test_an_autoencoder_trains_and_reports_its_error(place, capsys):
    names = {name for line in lines(place / 'vae') for name in line}
    assert {'loss', 'kl', 'psnr', 'reconstruction', 'validation_psnr'} <= names
    assert cli.main(['evaluate', f'--workdir={place}/vae', '--json']) == 0
    score = json.loads(capsys.readouterr().out)
    assert score['name'] == 'reconstruction4_5f' and set(score['figures']) == {'reconstructed', 'mean picture'}
    assert 'sampler' not in score  # nothing was sampled
    assert cli.main(['evaluate', f'--workdir={place}/vae', '--protocol=ball_physics']) == 2


@pytest.fixture(scope='module')
def trained_run(place):
    assert cli.main(['train', f'--config={place}/latent.py', f'--workdir={place}/run']) == 0
    return place / 'run'


def test_a_network_on_its_latents_makes_videos(trained_run, tmp_path):
    assert cli.main(['sample', f'--workdir={trained_run}', '--num=2', f'--out={tmp_path}']) == 0
    (mp4,) = tmp_path.glob('*.mp4')
    video = decode.probe(str(mp4))
    assert video.frames == 5 and min(video.height, video.width) >= 64


def test_context_frames_are_as_many_as_the_latents_decode_to(trained_run, tmp_path):
    """Two latents are three frames: of two the codec makes none."""
    more = ['--config.data.frames=9', '--config.diffusion.context=2', '--num=2', f'--out={tmp_path}']
    assert cli.main(['sample', f'--workdir={trained_run}', *more]) == 0
    assert list(tmp_path.glob('*.gif'))


def cache(place):
    return data_pipelines.main(['cache-latents', f'--config={place}/latent.py', f'--out={place}/cache', '--batch=5'])


@pytest.fixture(scope='module')
def latents_option(place):
    """The latents of the clips; a second run of the command changes nothing."""
    assert cache(place) == 0
    before = (place / 'cache' / MOMENTS).read_bytes()
    assert cache(place) == 0 and (place / 'cache' / MOMENTS).read_bytes() == before
    return f'--config.latents={place}/cache'


def test_what_to_normalise_latents_by_is_printed(place, latents_option, capsys):
    assert cache(place) == 0
    mean = np.load(place / 'cache' / MOMENTS).mean((0, 1, 2, 3, 4))
    printed = re.search(r'mean of their channels: \((.*)\)\n  std of their channels: \(', capsys.readouterr().out)
    np.testing.assert_allclose([float(value) for value in printed[1].split(', ')], mean[: len(mean) // 2], rtol=1e-3)


def test_cached_latents_train_as_the_clips_do(place, trained_run, latents_option):
    run = f'--workdir={place}/cached'
    assert cli.main(['train', f'--config={place}/latent.py', run, latents_option, NO_CHECKS]) == 0
    losses = [[line['loss'] for line in lines(where) if 'loss' in line] for where in (trained_run, place / 'cached')]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    # what was trained on clips goes on with latents, as they are the same
    more = ['train', f'--config={place}/latent.py', f'--workdir={trained_run}', '--config.train.steps=3']
    more.append(latents_option)
    assert cli.main([*more, NO_CHECKS]) == 0


@pytest.fixture(scope='module')
def other_vae(place):
    """The same autoencoder from another seed, for config.codec.path."""
    ask = ['train', f'--config={place}/vae.py', f'--workdir={place}/vae2', '--config.seed=1', '--config.train.steps=1']
    assert cli.main([*ask, NO_CHECKS]) == 0
    return f'--config.codec.path={place}/vae2'


def test_another_codec_and_other_clips_are_refused(place, trained_run, latents_option, other_vae, capsys):
    capsys.readouterr()
    ask = ['train', f'--config={place}/latent.py', other_vae]
    assert cli.main([*ask, f'--workdir={trained_run}', '--config.train.steps=4']) == 2
    assert 'codec' in capsys.readouterr().err
    assert cli.main([*ask, f'--workdir={place}/new', latents_option]) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith('vdm_jax: config.latents') and len(re.findall(r'\b[0-9a-f]{64}\b', stderr)) == 2
    other_clips = ['train', f'--config={place}/latent.py', f'--workdir={place}/new', '--config.data.size=13']
    assert cli.main([*other_clips, latents_option]) == 2
    assert 'made with clips 12' in capsys.readouterr().err


@pytest.mark.parametrize('command', ['sample', pytest.param('evaluate', marks=pytest.mark.slow)])
@pytest.mark.parametrize('where', ['workdir', pytest.param('weights', marks=pytest.mark.slow)])
def test_another_codec_than_in_training_is_refused_unless_it_is_wanted(
    where, command, trained_run, other_vae, tmp_path, capsys
):
    """Of a run, and of what was exported of it."""
    argv = [command, f'--workdir={trained_run}']
    if where == 'weights':
        assert cli.main(['export', f'--workdir={trained_run}', f'--out={tmp_path}/w']) == 0
        argv = [command, f'--weights={tmp_path}/w']
        assert re.fullmatch('[0-9a-f]{64}', weights.read_provenance(tmp_path / 'w')['codec'])
    assert cli.main([*argv, other_vae, f'--out={tmp_path}/out']) == 2
    stderr = capsys.readouterr().err
    assert 'config.codec.path=' in stderr and len(re.findall(r'\b[0-9a-f]{64}\b', stderr)) == 2
    assert '--allow-other-codec' in stderr and not (tmp_path / 'out').exists()
    if where == 'weights' and command == 'sample':
        assert cli.main([*argv, other_vae, '--allow-other-codec', '--num=1', f'--out={tmp_path}/out']) == 0
        assert list((tmp_path / 'out').iterdir())


@pytest.mark.slow
def test_scores_name_their_codec_and_one_trained_on_since_is_another(place, trained_run, other_vae, tmp_path, capsys):
    few = ['--config.evaluate.samples=2', '--config.evaluate.real=2', '--config.evaluate.train=4', f'--out={tmp_path}']
    names = set()
    for more in ([], ['--config.model.dtype=bfloat16'], [other_vae, '--allow-other-codec']):
        assert cli.main(['evaluate', f'--workdir={trained_run}', *few, *more]) == 0
        names.add(capsys.readouterr().out.splitlines()[-1])
    scores = [runner.read(name).settings for name in names]
    assert len(names) == 3 and len({score['codec'] for score in scores}) == 2
    of_training = {score['codec'] for score in scores if 'codec_of_training' not in score}
    assert [score['codec_of_training'] for score in scores if 'codec_of_training' in score] == [*of_training]
    moved = shutil.copytree(place / 'vae', tmp_path / 'vae')
    path = f'--config.codec.path={moved}'
    assert cli.main(['sample', f'--workdir={trained_run}', path, '--num=1', f'--out={tmp_path}/out']) == 0
    assert cli.main(['train', f'--workdir={moved}', '--config.train.steps=3', NO_CHECKS]) == 0
    assert cli.main(['sample', f'--workdir={trained_run}', path, '--num=1', f'--out={tmp_path}/out']) == 2
    assert 'of a run at config.codec.path, its newest checkpoint' in capsys.readouterr().err


def latent_run(place, **changes):
    groups = {'data': DATA, 'codec': {'name': 'video_vae', 'model': VAE, 'path': f'{place}/vae'}}
    groups['model'] = {'depth': 2, 'width': 16, 'heads': 2, 'patch': 1}
    return Run(experiment_from(groups | {'train': {'batch_size': 3}} | changes))


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        video = np.random.default_rng(number).integers(0, 256, (5, 16, 16, 3), np.uint8)
        media.write_gif(tmp_path / 'clips' / f'{number}.gif', video, fps=10 + 10 * number)
    return tmp_path / 'clips'


@pytest.mark.parametrize('name', ['a folder of videos', 'one constant batch'])
def test_cached_latents_have_all_conditions_of_their_clips(name, place, folder, tmp_path):
    shape = {'frames': 5, 'pixels': 16}
    kinds = {
        'a folder of videos': ({'source': 'video_folder', 'path': str(folder), 'start': 'first'}, ('fps', 'motion')),
        'one constant batch': ({'source': 'synthetic', 'size': 2}, ('motion',)),
    }
    data, scalars = kinds[name]
    clips = latent_run(place, data=data | shape)
    make(clips, tmp_path / 'cache', 2)
    cached = latent_run(place, data=data | shape, latents=f'{tmp_path}/cache')
    order = clips.data.reader.order(3)

    def drawn(source):
        return next(iter(batches(source, order, 0, 1, scalars=scalars)))

    seen = drawn(clips.training_reader)
    from_cache = drawn(cached.training_reader)
    moments = clips.experiment.codec.moments(clips.frozen['codec'], seen.pop('video'))
    np.testing.assert_allclose(from_cache.pop('moments'), moments, atol=1e-5)
    assert set(from_cache) == set(seen) == {'label', *scalars} and np.ptp(seen[scalars[0]]) > 0
    for key, values in seen.items():
        assert from_cache[key].dtype == values.dtype
        np.testing.assert_array_equal(from_cache[key], values)


def start(place, out, number=0, count=1, port=0, *more):
    """A process that makes latents, one of `count`."""
    environment = one_device.environment(f'{place}/xla')
    if count > 1:
        names = 'JAX_COORDINATOR_ADDRESS', 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID'
        environment |= dict(zip(names, (f'localhost:{port}', str(count), str(number)), strict=True))
    argv = [sys.executable, '-m', 'data_pipelines', 'cache-latents', f'--config={place}/latent.py']
    argv += [f'--out={place}/{out}', '--batch=2', '--views=2', '--parts=4', *more]
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
    return subprocess.Popen(argv, cwd=ROOT, env=environment, text=True, **pipes)


def several(place, out, count, more=()):
    """Start so many processes, the last one with the arguments `more`."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    return [start(place, out, i, count, port, *(more if i == count - 1 else ())) for i in range(count)]


def ends(processes):
    """[(exit code, stdout, stderr)] of each."""
    outputs = [process.communicate(timeout=240) for process in processes]
    return [(process.returncode, *each) for process, each in zip(processes, outputs, strict=True)]


def same_latents(directory, other):
    """Moments may differ by a rounding, as programs for other devices are others, and so do their hashes."""
    names = [sorted(path.name for path in where.iterdir()) for where in (directory, other)]
    assert names[0] == names[1]
    for name in names[0]:
        if name.startswith('moments'):
            np.testing.assert_allclose(np.load(directory / name), np.load(other / name), atol=1e-5)
        elif name.startswith('told'):
            rows = [np.load(where / name) for where in (directory, other)]
            for field in set(rows[0].dtype.names) - {'sha256'}:
                np.testing.assert_array_equal(rows[0][field], rows[1][field], err_msg=name)
        elif name.startswith('done'):
            notes = [json.loads((where / name).read_text()) for where in (directory, other)]
            assert notes[0].keys() == notes[1].keys() and notes[0]['done'] == notes[1]['done'], name
        else:
            assert (directory / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope='module')
def of_one(place):
    """Two views of each clip, made by one process."""
    make(latent_run(place), place / 'of_one', 2, views=2, parts=4)
    return place / 'of_one'


def test_two_processes_make_what_one_makes(place, of_one):
    """Each writes its own parts; only the primary process prints."""
    (code, output, _), (other, *silent) = process_ends = ends(several(place, 'of_two', 2))
    assert (code, other) == (0, 0), process_ends
    assert 'moments of 12 clips in 2 views' in output and not silent[0] and 'views of clips left' not in silent[1]
    same_latents(place / 'of_two', of_one)


@pytest.mark.slow
def test_killed_with_nine_at_random_moments_on_two_then_one_then_three(place, of_one):
    rng = seeds.generator()
    for kill in range(10):
        processes = several(place, 'killed', (2, 1, 3)[kill % 3])
        until = time.monotonic() + rng.uniform(2, 12)
        while time.monotonic() < until and any(process.poll() is None for process in processes):
            time.sleep(0.01)
        for process in processes:
            process.kill()
        ends(processes)
    ((code, *output),) = ends(several(place, 'killed', 1))
    assert code == 0, output
    same_latents(place / 'killed', of_one)


@pytest.mark.slow
def test_a_mistake_of_one_process_ends_both(place):
    process_ends = ends(several(place, 'mistaken', 2, ['--config.data.size=11']))
    message = 'process 1: made with clips 11, and this run has 12'
    assert all(code == 2 and message in err for code, _, err in process_ends)
    assert not (place / 'mistaken').exists()


def test_a_scalar_that_was_not_stored_is_refused_before_training(place, latents_option):
    run = latent_run(place, latents=f'{place}/cache')
    with pytest.raises(
        UserError, match=r'config\.latents=.*: they have the scalars motion, .*config\.model\.scalars wants fps'
    ):
        run.training_reader.check(run.latent_cache_key, ('fps',))


def test_latents_of_a_codec_that_is_set_otherwise_are_refused(place, latents_option):
    """How much is worked on at a time, and what is done to moments, may change."""
    codec = {'name': 'video_vae', 'model': VAE, 'path': f'{place}/vae'}
    free = {'sample': True, 'chunk': 1, 'mean': (0.5,) * 4, 'std': (2.0,) * 4}
    run = latent_run(place, latents=f'{place}/cache', codec=codec | free)
    assert run.training_reader
    other = latent_run(place, latents=f'{place}/cache', codec=codec | {'model': VAE | {'dtype': 'bfloat16'}})
    other = other.with_parts(frozen=run.frozen)
    with pytest.raises(UserError, match=r'with config\.codec\.model\.dtype float32, and this run has bfloat16'):
        other.training_reader  # noqa: B018


@pytest.mark.parametrize('name', ['bouncing_balls', 'mixture'])
def test_latents_of_clips_that_are_cut_otherwise_are_refused(name, place):
    """The same number of them; how many threads draw them may change."""
    balls = DATA | {'threads': 1}

    def data(**more):
        return balls | more if name == 'bouncing_balls' else {'source': name, 'sources': [balls | more]}

    run = latent_run(place, data=data())
    assert latent_run(place, data=data(threads=2)).latent_cache_key == run.latent_cache_key
    with pytest.raises(UserError, match=r'cache: made with config\.data.*label count, and this run has colour'):
        check_same_encoding(
            'cache', run.latent_cache_key, latent_run(place, data=data(label='colour')).latent_cache_key
        )


def test_weights_are_hashed_once(place, latents_option, monkeypatch):
    run = latent_run(place, latents=f'{place}/cache')
    hashed = []
    assert run.frozen  # hashing what is read is not what is counted
    counting = types.SimpleNamespace(sha256=lambda *data: hashed.append(data) or hashlib.sha256(*data))
    monkeypatch.setattr(fingerprint, 'hashlib', counting)
    assert run.training_reader and len({describe_position(run, step)['codec'] for step in range(3)}) == 1
    assert len(hashed) == 1


def test_weights_that_are_not_there_or_of_another_network_are_named(place):
    groups = {'data': DATA, 'codec': {'name': 'video_vae', 'model': VAE}, 'model': {'size': 'tiny', 'patch': 1}}
    with pytest.raises(UserError, match=r'config\.codec\.path is not set'):
        Run(experiment_from(groups)).frozen  # noqa: B018
    groups['codec']['path'] = f'{place}/none'
    with pytest.raises(UserError, match=r'config\.codec\.path=.*none: no such file'):
        Run(experiment_from(groups)).frozen  # noqa: B018
    groups['codec'] = {'name': 'video_vae', 'model': VAE | {'latent': 2}, 'path': f'{place}/vae'}
    with pytest.raises(UserError, match=r'config\.codec\.model\.latent=2: the weights of .*have 4'):
        Run(experiment_from(groups)).frozen  # noqa: B018
