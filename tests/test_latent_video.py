"""Latent video with nothing but what is here: an autoencoder, a network on its latents, videos."""

import json
import re

import numpy as np
import pytest

from data_pipelines import __main__ as data_pipelines
from vdm_jax import cli
from vdm_jax.build import experiment_from
from vdm_jax.data import decode
from vdm_jax.errors import UserError
from vdm_jax.run import Run

VAE = {'channels': (8, 8, 16), 'patch': 2, 'blocks': 1, 'groups': 4, 'latent': 4}
DATA = {'source': 'bouncing_balls', 'frames': 5, 'pixels': 16, 'size': 12}
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
    vae = {'data': DATA, 'model': {'name': 'video_vae', **VAE}, 'train': train, 'evaluate': {'real': 4}}
    codec = {'name': 'video_vae', 'path': f'{place}/vae', 'sample': True, 'model': VAE}
    network = {'depth': 2, 'width': 16, 'heads': 2, 'patch': 1}
    latent = {'data': DATA, 'codec': codec, 'model': network, 'train': train, 'sampler': {'steps': 2}}
    (place / 'vae.py').write_text(FILE.replace('{groups}', repr(vae)))
    (place / 'latent.py').write_text(FILE.replace('{groups}', repr(latent)))
    assert cli.main(['train', f'--config={place}/vae.py', f'--workdir={place}/vae']) == 0
    return place


def lines(workdir):
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def test_an_autoencoder_trains_and_says_how_near_it_comes(place, capsys):
    names = {name for line in lines(place / 'vae') for name in line}
    assert {'loss', 'kl', 'psnr', 'reconstruction', 'validation_psnr'} <= names
    assert cli.main(['evaluate', f'--workdir={place}/vae', '--json']) == 0
    score = json.loads(capsys.readouterr().out)
    assert score['name'] == 'reconstruction4_5f' and set(score['figures']) == {'reconstructed', 'mean picture'}
    assert 'sampler' not in score  # nothing was sampled
    assert cli.main(['evaluate', f'--workdir={place}/vae', '--protocol=ball_physics']) == 2


@pytest.fixture(scope='module')
def trained(place):
    assert cli.main(['train', f'--config={place}/latent.py', f'--workdir={place}/run']) == 0
    return place / 'run'


def test_a_network_on_its_latents_makes_videos(trained, tmp_path):
    assert cli.main(['sample', f'--workdir={trained}', '--num=2', f'--out={tmp_path}']) == 0
    (mp4,) = tmp_path.glob('*.mp4')
    video = decode.probe(str(mp4))
    assert video.frames == 5 and min(video.height, video.width) >= 64


def test_it_goes_on_from_the_frames_that_so_many_latents_are_of(trained, tmp_path):
    """Two latents are five frames: of 2, 3 and 4 the codec makes none."""
    more = ['--config.data.frames=9', '--config.diffusion.context=2', '--num=2', f'--out={tmp_path}']
    assert cli.main(['sample', f'--workdir={trained}', *more]) == 0
    assert list(tmp_path.glob('*.gif'))


def cache(place):
    return data_pipelines.main(['cache-latents', f'--config={place}/latent.py', f'--out={place}/cache', '--batch=5'])


@pytest.fixture(scope='module')
def cached(place):
    """The latents of the clips; asked for again, nothing is done."""
    assert cache(place) == 0
    before = (place / 'cache' / 'moments.npy').read_bytes()
    assert cache(place) == 0 and (place / 'cache' / 'moments.npy').read_bytes() == before
    return f'--config.latents={place}/cache'


def test_what_to_normalise_latents_by_is_printed(place, cached, capsys):
    assert cache(place) == 0
    mean = np.load(place / 'cache' / 'moments.npy').mean((0, 1, 2, 3))
    printed = re.search(r'mean of their channels: \((.*)\)\n  std of their channels: \(', capsys.readouterr().out)
    np.testing.assert_allclose([float(value) for value in printed[1].split(', ')], mean[: len(mean) // 2], rtol=1e-3)


def test_cached_latents_train_as_the_clips_do(place, trained, cached):
    run = f'--workdir={place}/cached'
    assert cli.main(['train', f'--config={place}/latent.py', run, cached]) == 0
    losses = [[line['loss'] for line in lines(where) if 'loss' in line] for where in (trained, place / 'cached')]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    # what was trained on clips goes on with latents, as they are the same
    more = ['train', f'--config={place}/latent.py', f'--workdir={trained}', cached, '--config.train.steps=3']
    assert cli.main(more) == 0


def test_another_codec_and_other_clips_are_refused(place, trained, cached, capsys):
    other = ['train', f'--config={place}/vae.py', f'--workdir={place}/vae2', '--config.seed=1']
    assert cli.main(other) == 0
    capsys.readouterr()
    ask = ['train', f'--config={place}/latent.py', f'--config.codec.path={place}/vae2']
    assert cli.main([*ask, f'--workdir={trained}', '--config.train.steps=4']) == 2
    assert 'codec' in capsys.readouterr().err
    assert cli.main([*ask, f'--workdir={place}/new', cached]) == 2
    said = capsys.readouterr().err
    assert (
        said.startswith('vdm_jax: config.latents')
        and len([word for word in said.split() if len(word.strip(',')) == 64]) == 2
    )
    assert (
        cli.main(['train', f'--config={place}/latent.py', f'--workdir={place}/new', cached, '--config.data.size=13'])
        == 2
    )
    assert 'made of clips 12' in capsys.readouterr().err


def test_weights_that_are_not_there_or_of_another_network_are_named(place):
    groups = {'data': DATA, 'codec': {'name': 'video_vae', 'model': VAE}, 'model': {'size': 'tiny', 'patch': 1}}
    with pytest.raises(UserError, match=r'config\.codec\.path is not set'):
        Run(experiment_from(groups)).frozen  # noqa: B018
    groups['codec']['path'] = f'{place}/none'
    with pytest.raises(UserError, match=r'config\.codec\.path=.*none: nothing there'):
        Run(experiment_from(groups)).frozen  # noqa: B018
    groups['codec'] = {'name': 'video_vae', 'model': VAE | {'latent': 2}, 'path': f'{place}/vae'}
    with pytest.raises(UserError, match=r'config\.codec\.model\.latent=2: the weights of .*have 4'):
        Run(experiment_from(groups)).frozen  # noqa: B018
