"""Runs on clips that are not square, and samples of another size; test_cli.py trains and samples one by commands."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from vdm_jax import cli, media
from vdm_jax.cli.restore import make_sampling_run
from vdm_jax.codecs.image_codec import ImageVAECodec
from vdm_jax.codecs.video_codec import VideoVAECodec
from vdm_jax.data.video import decode
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from, read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.sampling import conditioning
from vdm_jax.train import loop, validation
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.fingerprint import fingerprint

SMALL = [
    f'--config.{item}'
    for item in (
        'model.depth=2', 'model.width=16', 'model.heads=2', 'data.frames=4', 'data.size=64', 'train.steps=3',
        'train.batch_size=4', 'train.checkpoint_every=3', 'train.sample_every=0', 'train.log_every=1',
        'train.sample_count=2', 'sampler.steps=2', 'optim.name=adamw', 'ema.decays=0.9',
    )
]  # fmt: skip


@pytest.fixture(scope='module')
def run():
    return Run(read_experiment('experiments/bouncing_balls.py:pixels=16x24', SMALL), jax.devices()[:1])


def size_of(file):
    """(height, width) of a picture."""
    with Image.open(file) as image:
        return image.size[::-1]


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(run, tmp_path):
    assert loop.train_run(run, tmp_path / 'whole')
    assert not loop.train_run(run, tmp_path / 'stopped', stop=lambda step: step == 1)
    assert loop.train_run(run, tmp_path / 'stopped')
    prints = []
    for place in (tmp_path / 'whole', tmp_path / 'stopped'):
        with jax.set_mesh(run.mesh), Checkpoints(f'{place}/checkpoints') as checkpoints:
            prints.append(fingerprint(checkpoints.restore(run.programs.abstract_state)[0].params))
    assert prints[0] == prints[1]


@pytest.mark.slow
def test_a_wide_run_shows_what_it_makes(run):
    videos = validation.preview(run, run.programs.init_state())
    assert videos.shape == (2, 4, 16, 24, 3)


def test_files_of_wide_clips_are_wide(tmp_path):
    """Two clips of two frames, the second one with a red right upper corner: a row a clip, a column a frame."""
    videos = np.zeros((2, 2, 16, 24, 3), np.uint8)
    videos[1, :, :4, 16:, 0] = 255
    files = media.write_samples(tmp_path, 'wide', [videos])
    (mp4,), (gif,), (strip,) = ([file for file in files if file.suffix == end] for end in ('.mp4', '.gif', '.png'))
    with Image.open(strip) as image:
        sheet = np.asarray(image.convert('RGB'))
    assert sheet.shape[:2] == (2 * (16 * 4 + 2) - 2, 2 * (24 * 4 + 1) - 1)
    assert sheet[66 + 2, 24 * 4 - 2].tolist() == sheet[66 + 2, -2].tolist() == [255, 0, 0]
    assert not sheet[:64].any(where=sheet[:64] != 128) and not sheet[66 + 20, 24 * 4 - 2].any()
    assert size_of(gif) == (16 * 4, 2 * 24 * 4)
    video = decode.probe(str(mp4))
    assert (video.height, video.width) == (16 * 4, 2 * 24 * 4)
    frame = decode.read(video, np.arange(1))[0]
    assert frame[2, -4, 0] > 200 and frame[2, 24 * 4 - 4, 0] < 50 and frame[30, -4, 0] < 50


@pytest.mark.parametrize(
    ('size', 'change', 'pattern'),
    [
        ('24x16', 'model.position=learned', r'--size=24x16: config.model.position=learned: .*\(1, 4, 6\).*\(1, 6, 4\)'),
        ('16x26', 'seed=0', '--size=16x26: config.model.patch=4 does not divide the width of 26'),
        ('4x96', 'seed=0', '--size=4x96: config.data.pixels=4x96: balls would be under 2 pixels wide'),
        ('36x48', 'codec.name=sd_vae', '--size=36x48: config.codec: .* whose sides 8 divides, found 36x48'),
        ('wide', 'seed=0', '--size=wide: want a whole number .* or HEIGHTxWIDTH'),
        ('', 'seed=0', '--size=: want a whole number'),
        ('0', 'seed=0', '--size=0: want'),
    ],
)
def test_a_size_that_cannot_be_is_named(run, size, change, pattern):
    with pytest.raises(UserError, match=f'^{pattern}'):
        make_sampling_run(run.resolved, [f'config.{change}'], size)


def test_learned_positions_take_sides_up_to_those_of_training(run):
    smaller = make_sampling_run(run.resolved, ['config.model.position=learned'], '12x20')
    assert smaller.network.latent_shape == (4, 12, 20, 3)


@pytest.mark.parametrize(
    'data',
    [
        {'source': 'video_folder', 'path': 'gone', 'frames': 4},
        {'source': 'records', 'path': 'gone', 'frames': 4},
        {'source': 'moving_mnist', 'path': 'gone', 'frames': 4},
        {'source': 'bucketed', 'clips': {'source': 'video_folder', 'path': 'gone'}, 'buckets': ['4x16x24', '4x24x16']},
        {'source': 'mixture', 'sources': 2 * [{'source': 'video_folder', 'path': 'gone', 'frames': 4}]},
    ],
    ids=lambda data: data['source'],
)
def test_missing_clips_are_not_needed_for_sampling(run, data):
    config = run.resolved | {'data': data}
    config['model'] = config['model'] | {'channels': None, 'classes': 0}
    resized = make_sampling_run(config, [], '40x56')
    assert resized.network.latent_shape[:3] == (4, 40, 56) and resized.programs.generator


def test_context_frames_have_the_size_of_the_video(run):
    changes = ['config.diffusion.context=2', 'config.diffusion.per_frame=true', 'config.model.time_patch=1']
    other = make_sampling_run(run.resolved, changes, '24x16')
    conditions = conditioning.complete_conditions(other.data, other.network, {'label': np.array([0, 1, 0])})
    assert conditions['frames'].shape == (3, 2, 24, 16, 3)


@pytest.mark.parametrize(
    ('codec', 'latents', 'factor'), [(ImageVAECodec(), (5, 4, 6, 4), 8), (VideoVAECodec(), (2, 4, 6, 8), 8)]
)
def test_latents_are_as_wide_and_high_as_their_clips(codec, latents, factor):
    assert codec.latent_shape((5, 32, 48, 3)) == latents
    for size in ((32, 44), (36, 48)):
        with pytest.raises(UserError, match=rf'{size[0]}x{size[1]}.*|config.data.pixels') as error:
            codec.latent_shape((5, *size, 3))
        assert 'config.data.pixels' in str(error.value) and str(factor) in str(error.value)


def test_networks_take_clips_that_are_not_square():
    noise = {'source': 'synthetic', 'frames': 3, 'pixels': '8x12', 'channels': 1, 'classes': 0}
    for model in ({'name': 'conv_lstm', 'hidden': 4, 'layers': 1}, {'width': 16, 'heads': 2, 'depth': 2, 'patch': 4}):
        run = Run(experiment_from({'data': noise, 'model': model}), jax.devices()[:1])
        x = jax.ShapeDtypeStruct((2, *run.network.latent_shape), np.float32)
        t = jax.ShapeDtypeStruct((2, 3), np.float32)
        assert jax.eval_shape(run.network.apply, run.programs.abstract_state.params, x, t, {}).shape == (2, 3, 8, 12, 1)
        with pytest.raises(UserError, match='config.model.patch=4 does not divide .*config.data.pixels'):
            Run(experiment_from({'data': noise | {'pixels': '8x10'}, 'model': model})).model_config  # noqa: B018


def test_inspect_works_for_networks_of_any_size(capsys):
    flops = []
    for size in ('16', '16x32', '32x16'):
        assert cli.main(['inspect', '--json', f'--config=experiments/bouncing_balls.py:pixels={size}', *SMALL]) == 0
        flops.append(json.loads(capsys.readouterr().out)['forward_flops_per_video'])
    assert flops[1] == flops[2] > 1.9 * flops[0]


@pytest.mark.slow
def test_plan_and_benchmark_take_clips_that_are_not_square(capsys):
    experiment = ['--json', '--config=experiments/bouncing_balls.py:pixels=16x24', *SMALL]
    assert cli.main(['plan', *experiment, '--topology=cpu:1']) == 0
    assert json.loads(capsys.readouterr().out)
    assert cli.main(['benchmark', *experiment, '--steps=2']) == 0
    assert json.loads(capsys.readouterr().out)
