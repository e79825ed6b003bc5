"""Every experiment file builds: config and network (shapes only) are right, and its docstring shows how to run it."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.data.small_set import record, write_set
from vdm_jax import media
from vdm_jax.data.records.schema import Caption
from vdm_jax.errors import UserError
from vdm_jax.experiment import validate
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.parallel import hardware
from vdm_jax.planning import baselines, docs, docs_tables, plan
from vdm_jax.planning.lowering import abstract_batch, abstract_conditions
from vdm_jax.train.diffusion_loss import compute_losses

ROOT = Path(__file__).parents[1]
FILES = baselines.files(ROOT / 'experiments')
LARGER = ':size=S,pixels=64,frames=16'
LARGER_OF = {  # what there is beside the default
    'moving_mnist': ':size=S,patch=4',
    'latte': ':size=S',
    'dit': ':size=B,patch=4,data=images',
    'sit': ':size=B,patch=8,sampler=euler,data=images',
    'vdm': ':dataset=bair,size=S',
    'walt': ':dataset=k600,data=videos',
    'dfot': ':size=B,data=videos',
    'far': ':size=XL,conditional',
    'bair': ':given=2,frames=30,size=B,patch=8',
    'video_vae': ':size=paper,data=folder',
    'latent_video': ':size=S',
    'phyworld': ':size=paper',
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('videos')
    media.write_gif(folder / 'a.gif', np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8))
    return folder


@pytest.mark.parametrize('arg', ['', 'larger'])
@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_builds(file, arg, folder):
    more = [f'--config.data.path={folder}'] if file.stem == 'video_folder' else []
    arg = arg and LARGER_OF.get(file.stem, LARGER)
    run = Run(read_experiment(f'{file}{arg}', more), jax.devices()[:1])
    params = run.programs.abstract_state.params
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert count > (3e7 if arg else 1e5)
    assert run.network.latent_shape == (
        (16, 64, 64, 3) if arg == LARGER else run.experiment.codec.latent_shape(run.data.source.shape)
    )


def test_video_folder_reads_records_with_their_captions_too(tmp_path):
    path = write_set(tmp_path / 'set', [record(str(i), captions=(Caption('a ball'),)) for i in range(3)], 1)

    def build(arg):
        return read_experiment(f'experiments/video_folder.py:{arg}', [f'--config.data.path={path}'])

    run = Run(build('records'), jax.devices()[:1])
    assert (
        len(run.data.reader) == 3
        and run.model_config.classes == 0
        and run.data.reader[0]['video'].shape == (8, 32, 32, 3)
    )
    assert Run(build('records,memorise'), jax.devices()[:1]).model_config.classes == 3
    with_text = Run(build('records,text=24'), jax.devices()[:1])
    assert with_text.model_config.text_width == with_text.experiment.text.width == 24


def test_moving_mnist_has_its_stochastic_form():
    run = Run(read_experiment(f'{ROOT}/experiments/moving_mnist.py:stochastic'), jax.devices()[:1])
    assert run.network.latent_shape == (15, 64, 64, 1) and run.data.source.motion == 'stochastic'
    assert run.experiment.diffusion.context == run.protocol.context == 5


@pytest.mark.parametrize(('regressor', 'millions'), [('same', 1.897), ('conv_lstm', 11.68)])
def test_moving_mnist_has_regressors_to_beat(regressor, millions):
    run = Run(read_experiment(f'{ROOT}/experiments/moving_mnist.py:regressor={regressor}'), jax.devices()[:1])
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(run.programs.abstract_state.params))
    assert count / 1e6 == pytest.approx(millions, rel=0.02)
    assert run.experiment.sampler.steps == run.protocol.per_clip == 1


@pytest.mark.parametrize('process', ['numbering=sit', 'name=ddpm', 'name=logsnr_cosine'])
def test_a_regressor_that_cannot_see_which_frames_are_context_is_refused(process):
    spec = f'{ROOT}/experiments/moving_mnist.py:regressor=conv_lstm'
    with pytest.raises(UserError, match='takes frames of time 0 for context frames'):
        run = Run(read_experiment(spec, [f'--config.diffusion.process.{process}']), jax.devices()[:1])
        validate.check_objective(run.experiment, run.network)


@pytest.mark.parametrize('arg', ['size=S', 'patch=4', 'size=B,patch=8'])
def test_the_convolutional_regressor_is_of_one_size(arg):
    with pytest.raises(UserError, match='regressor=conv_lstm: .*leave size and patch out'):
        read_experiment(f'{ROOT}/experiments/moving_mnist.py:regressor=conv_lstm,{arg}')


@pytest.mark.parametrize(
    'spec, pattern',
    [
        ('moving_mnist.py:regressor=lstm', 'regressor=lstm: want one of none, same, conv_lstm'),
        ('walt.py:size=M', 'size=M: want one of paper, XL, L, B, S'),
        ('latte.py:batch=0', 'FILE:batch=0: want 1 or more'),
        ('latte.py:batch=-1', 'FILE:batch=-1: want 1 or more'),
        ('video_folder.py:frames=0', 'config.data.frames=0'),
        ('dit.py:batch=0', 'config.train.batch_size=0'),
    ],
)
def test_an_argument_that_cannot_be_is_named(spec, pattern):
    with pytest.raises(UserError, match=pattern):
        read_experiment(f'{ROOT}/experiments/{spec}')


@pytest.mark.parametrize('frames', ['frames=0', 'frames=-1', 'pixels=0'])
def test_noise_has_frames_and_pixels(frames):
    with pytest.raises(UserError, match=f'config.data.{frames}: want'):
        read_experiment(f'{ROOT}/experiments/dit.py', [f'--config.data.{frames}'])


@pytest.mark.parametrize('spec', ['vdm.py', 'latte.py:images=8,data=videos,dataset=sky'])
def test_images_beside_clips_without_a_folder_are_found_before_training(spec, folder):
    overrides = [f'--config.data.clips.path={folder}', '--config.model.size=S', '--config.model.scan=true']
    with pytest.raises(UserError, match=r'^config\.data\.images\.path is empty'):
        Run(read_experiment(f'{ROOT}/experiments/{spec}', overrides), jax.devices()[:1]).check()


@pytest.mark.parametrize('world', ['collide', 'shadow', 'pan'])
def test_the_bouncing_balls_have_harder_worlds(world):
    run = Run(read_experiment(f'{ROOT}/experiments/bouncing_balls.py:world={world}'), jax.devices()[:1])
    assert run.network.latent_shape == (16, 32, 32, 3) and run.protocol.suffix == f'_{world}'
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(run.programs.abstract_state.params)) > 1e5
    assert run.data.held_out.source.split == 'test' and run.data.reader[0]['video'].shape == run.data.source.shape


def test_a_world_that_is_not_there_is_named():
    with pytest.raises(UserError, match='world=tilt: want plain or one of collide, shadow, pan'):
        read_experiment(f'{ROOT}/experiments/bouncing_balls.py:world=tilt')


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_names_a_machine_and_has_its_row_in_the_plans(file, monkeypatch):
    """The row is that of the experiment as it is now: its machine and its batch."""
    monkeypatch.setattr(hardware.importlib.util, 'find_spec', lambda name: name)  # nothing is compiled
    name, assignments = plan.read_target(str(file))
    hardware.read_topology(name)
    batch = read_experiment(str(file), assignments).train.batch_size
    rows = docs_tables.between(ROOT / 'docs' / 'plans.md', docs.BEGIN, docs.END)
    assert sum(row.startswith(f'| `{file.name}` | {name} | {batch} | ') for row in rows) == 1


@pytest.mark.parametrize('dataset', ['ucf101', 'sky', 'taichi', 'ffs'])
def test_latte_sees_sixteen_frames_of_latents_and_the_data_sets_classes(dataset):
    run = Run(read_experiment(f'{ROOT}/experiments/latte.py:dataset={dataset}'), jax.devices()[:1])
    assert run.network.latent_shape == (16, 32, 32, 4) == run.data.reader[0]['video'].shape
    assert run.model_config.classes == (101 if dataset == 'ucf101' else 0)
    assert (run.experiment.guidance.scale == 1) == (run.model_config.classes == 0)
    run.check()


@pytest.mark.parametrize(
    ('spec', 'millions'),
    [
        ('latte.py:dataset=ffs', 673.68),
        ('latte.py:size=S,dataset=ffs', 32.48),
        ('dit.py', 675),
        ('sit.py', 675),
        ('walt.py', 460),
        ('walt.py:dataset=k600', 313),
        ('dfot.py', 673),
        ('far.py', 457),
        ('far.py:dataset=bair,size=B', 130),
    ],
)
def test_networks_have_as_many_parameters_as_published(spec, millions):
    run = Run(read_experiment(f'{ROOT}/experiments/{spec}'), jax.devices()[:1])
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(run.programs.abstract_state.params))
    assert count / 1e6 == pytest.approx(millions, rel=0.005)


@pytest.mark.parametrize(
    'spec',
    [
        'bair.py',
        'dfot.py',
        'dit.py',
        'far.py:conditional',
        'latte.py:images=8,data=videos',
        'sit.py',
        'vdm.py',
        pytest.param('dit.py:data=images', marks=pytest.mark.slow),
        pytest.param('far.py:dataset=bair,size=M', marks=pytest.mark.slow),
        pytest.param('latte.py:variant=2,patch=8', marks=pytest.mark.slow),
        pytest.param('latte.py:variant=3,patch=4', marks=pytest.mark.slow),
        pytest.param('latte.py:variant=4,images=8', marks=pytest.mark.slow),
        pytest.param('vdm.py:dataset=k600,data=synthetic', marks=pytest.mark.slow),
        pytest.param('walt.py', marks=pytest.mark.slow),
        'walt.py:dataset=k600',
        pytest.param('walt.py:dataset=k600,data=videos', marks=pytest.mark.slow),
        pytest.param('dfot.py:data=videos', marks=pytest.mark.slow),
    ],
)
def test_a_baselines_parts_go_together_and_it_trains_and_samples_by_shape(spec):
    """Without its data, which are not here: nothing is computed."""
    run = Run(read_experiment(f'{ROOT}/experiments/{spec}', ['--config.model.scan=true']), jax.devices()[:1])
    run.network.config.check_mesh(run.mesh, run.network.inputs)
    validate.check_objective(run.experiment, run.network)
    validate.check_sampler(run.experiment, run.network)
    with jax.set_mesh(run.mesh):
        _, scalars = jax.eval_shape(
            run.programs.train_step, run.programs.abstract_state, abstract_batch(run), run.programs.abstract_frozen
        )
        (average,) = run.programs.abstract_state.ema.values()
        frozen = run.programs.abstract_frozen
        videos, finite = jax.eval_shape(
            lambda *inputs: run.programs.generator(*inputs, frozen=frozen), average, *abstract_conditions(run)
        )
    assert (
        scalars['loss'].shape == () and videos.shape[1:] == run.data.source.shape and finite.shape == videos.shape[:1]
    )


@pytest.mark.parametrize(
    ('arg', 'first'),
    [
        ('dataset=ucf101,batch=40', 99_999),
        ('dataset=taichi,batch=40', 499_999),
        ('dataset=sky,batch=32,images=8', 19_999),
        ('dataset=sky,batch=80', 9_999),
        ('dataset=sky,batch=1000000', 0),
    ],
)
def test_latte_clips_from_the_step_of_its_configs_on(arg, first):
    """Their step k is our update k - 1, as step 0 updates nothing; another batch has seen as many clips by then."""
    optim = read_experiment(f'{ROOT}/experiments/latte.py:{arg}').optim
    assert optim.clip_from == first and optim.join_first
    assert optim.clip == pytest.approx(0.15 if 'images' in arg else 0.1)


@pytest.mark.parametrize(
    'variant, layout', [*enumerate(['interleaved', 'late_fusion', 'sequential', 'split_heads'], 1)]
)
def test_latte_has_four_variants(variant, layout):
    assert read_experiment(f'{ROOT}/experiments/latte.py:variant={variant}').model.layout == layout


@pytest.mark.parametrize('name', ['walt', 'dfot'])
def test_videos_and_what_stands_for_their_latents_are_of_one_shape(name):
    """Two context frames of latents are five of a video."""
    runs = [
        Run(read_experiment(f'{ROOT}/experiments/{name}.py:data={data}', ['--config.diffusion.context=2']))
        for data in ('latents', 'videos')
    ]
    assert runs[0].network.latent_shape == runs[1].network.latent_shape
    assert [run.network.context_frames for run in runs] == [2, 5]
    codec = runs[1].experiment.codec.model
    vae = read_experiment(
        f'{ROOT}/experiments/video_vae.py:size=paper,data=folder', [f'--config.model.latent={codec.latent}']
    )
    assert codec == Run(vae).model_config


@pytest.mark.parametrize('data', ['balls', 'folder'])
def test_the_autoencoder_that_latent_video_wants_is_the_one_that_video_vae_trains(data, folder):
    more = [f'--config.data.path={folder}'] if data == 'folder' else []
    latent, vae = (
        Run(read_experiment(f'{ROOT}/experiments/{name}.py:data={data}', more), jax.devices()[:1])
        for name in ('latent_video', 'video_vae')
    )
    assert latent.experiment.codec.model == vae.model_config and latent.data.source.shape == vae.data.source.shape


def test_what_stands_for_latents_is_no_video():
    run = Run(read_experiment(f'{ROOT}/experiments/latte.py:size=S'), jax.devices()[:1])
    with pytest.raises(
        UserError, match=r'4 channels.*config.codec.*convert: --config\.codec\.name=sd_vae --config\.codec\.path='
    ):
        validate.check_pictures(run.data)
    looking = read_experiment(f'{ROOT}/experiments/latte.py:size=S', ['--config.train.sample_every=10'])
    with pytest.raises(UserError, match='4 channels.*config.codec'):
        Run(looking, jax.devices()[:1]).check()
    videos = Run(read_experiment(f'{ROOT}/experiments/latte.py:size=S,data=videos'), jax.devices()[:1])
    validate.check_pictures(videos.data)


@pytest.mark.parametrize(
    'spec, num_context',
    [('vdm.py', 0), ('vdm.py:dataset=bair,images=3', 1), ('vdm.py:dataset=k600', 5), ('latte.py:images=8', 0)],
)
def test_images_beside_clips_weigh_as_frames_do(spec, num_context):
    """The curvature of the loss in the prediction of each frame and each image: 0 for context frames."""
    experiment = read_experiment(f'{ROOT}/experiments/{spec}')
    objective = experiment.diffusion
    count = experiment.data.count
    objective = dataclasses.replace(objective, variance='fixed')  # the loss of the variance is another term
    x0 = jax.random.normal(jax.random.key(0), (1, 16 + count, 2, 2, 1))

    def loss(prediction):
        def network(params, x, t, conditions, images):
            return x + prediction[None, :, None, None, None]

        return compute_losses(
            network, objective, None, x0, {}, 0, jax.random.split(jax.random.key(1), 1), count
        ).loss.sum()

    slope = jax.jit(jax.grad(loss))
    weights = slope(jnp.ones(16 + count)) - slope(jnp.zeros(16 + count))
    np.testing.assert_allclose(weights[:num_context], 0, atol=1e-6)
    np.testing.assert_allclose(weights[num_context:], 2 / (16 - num_context), rtol=1e-4)


@pytest.mark.parametrize('arg', ['dataset=kinetics', 'size=tiny', 'patch=3', 'variant=5', 'data=images'])
def test_latte_names_what_it_has(arg):
    with pytest.raises(UserError, match=arg.partition('=')[0]):
        read_experiment(f'{ROOT}/experiments/latte.py:{arg}')
