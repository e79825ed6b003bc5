"""A backbone is a config class and a module, entered in one table: a U-Net does all that VideoDiT does, or refuses."""

import contextlib
import io
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from tests.models.unet import UNetConfig
from vdm_jax import cli
from vdm_jax.errors import UserError
from vdm_jax.experiment import registry
from vdm_jax.experiment.experiment import experiment_from, read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.parallel.mesh import MeshConfig, make_mesh
from vdm_jax.train.ema import EmaConfig
from vdm_jax.train.state import abstract_state, create_state, graphdef_of

ROOT = Path(__file__).parents[2]

# A command that compiles in a process of its own knows the network from the experiment's file.
EXPERIMENT = f"""'''A small U-Net.'''
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.models.unet import UNetConfig
from vdm_jax.experiment.registry import MODELS
from vdm_jax.config import ConfigDict
MODELS['unet'] = UNetConfig

def get_config(arg=None):
    return ConfigDict({{
        'data': {{'source': 'synthetic', 'frames': 3, 'pixels': 8, 'size': 8, 'classes': 3}},
        'model': {{'name': 'unet'}},
        'sampler': {{'name': 'euler', 'steps': 2}},
        'train': {{'steps': 2, 'batch_size': 8, 'log_every': 1}},
        'evaluate': {{'batch_size': 2}},
    }})
"""


@pytest.fixture(scope='module', autouse=True)
def in_the_table():
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(registry.MODELS, 'unet', UNetConfig)
        yield


@pytest.fixture(scope='module')
def experiment(tmp_path_factory):
    file = tmp_path_factory.mktemp('experiment') / 'unet.py'
    file.write_text(EXPERIMENT)
    return f'--config={file}'


@pytest.fixture(scope='module')
def training(experiment, tmp_path_factory):
    """(run directory, what was printed) of two steps on a mesh that splits weights."""
    workdir = tmp_path_factory.mktemp('run')
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        assert cli.main(['train', experiment, f'--workdir={workdir}', '--config.mesh.fsdp=2']) == 0
    return workdir, printed.getvalue()


@pytest.fixture
def trained_run(training):
    workdir, _ = training
    return workdir


def run_of(experiment, *assignments):
    return Run(read_experiment(experiment.partition('=')[2], list(assignments)), jax.devices()[:2])


def samples(out, *origin):
    assert cli.main(['sample', *origin, '--num=2', '--format=npy', f'--out={out}']) == 0
    return [np.load(file) for file in sorted(out.rglob('*.npy'))]


def test_it_trains_and_is_sampled_from_its_checkpoint_as_from_its_export(trained_run, tmp_path):
    export = ['export', f'--workdir={trained_run}', '--dtype=float32', f'--out={tmp_path}/unet.safetensors']
    assert cli.main(export) == 0
    videos = samples(tmp_path / 'run', f'--workdir={trained_run}')
    exported = samples(tmp_path / 'file', f'--weights={tmp_path}/unet.safetensors')
    assert videos and videos[0].shape[-4:] == (3, 8, 8, 3)
    for video, other in zip(videos, exported, strict=True):
        np.testing.assert_array_equal(video, other)


def test_its_own_sizes_are_printed(trained_run, capsys):
    assert cli.main(['inspect', f'--workdir={trained_run}']) == 0
    printed = capsys.readouterr().out
    assert re.search(r'up/1/conv1/kernel +3x3x3x32x8\n', printed) and 'GMACs) a forward pass' in printed


def test_parameters_that_fsdp_does_not_split_are_named(experiment):
    run = run_of(experiment, 'config.mesh.fsdp=2')
    (line,) = run.model_config.sharding_notes(run.programs.abstract_state)
    total = len(jax.tree.leaves(run.programs.abstract_state.params))
    assert line.startswith(
        f'sharding: config.mesh.fsdp=2 splits none of the {total} parameters; every device holds all of'
    )
    assert 'up/1/conv1/kernel (3, 3, 3, 32, 8), ' in line and line.endswith(f' and {total - 4} more')
    assert run.model_config.sharding_notes(run_of(experiment).programs.abstract_state) == []


def test_rules_of_its_own_split_it():
    """They are declared where the names of its modules are, and no other network's notes speak of them."""

    class SplitUNetConfig(UNetConfig):
        mesh_axes = ('fsdp',)
        sharding_rules = ((r'/(conv1|conv2|condition|shortcut)/kernel$', (None, 'fsdp')),)

    config = SplitUNetConfig().fit_to((3, 8, 8, 3), 3)
    mesh = make_mesh(MeshConfig(fsdp=4), jax.devices()[:8])
    abstract = abstract_state(config.build, optax.adam(1e-3), EmaConfig(), mesh, config.sharding_rules)
    assert config.sharding_notes(abstract) == []
    state = create_state(config.build, optax.adam(1e-3), EmaConfig(), abstract, seed=0)
    block = state.params['down'][0]
    assert block['conv1']['kernel'].sharding.spec == PartitionSpec(None, None, None, None, 'fsdp')
    assert block['norm1']['scale'].sharding.is_fully_replicated

    graphdef = graphdef_of(config.build)
    x = jax.random.normal(jax.random.key(1), (2, 3, 8, 8, 3))
    output = jax.jit(lambda params: nnx.merge(graphdef, params)(x, jnp.full(2, 0.5)))
    np.testing.assert_allclose(output(state.params), output(jax.device_get(state.params)), atol=1e-5)


def test_training_prints_the_split_at_its_start(training):
    _, printed = training
    assert 'sharding: config.mesh.fsdp=2 splits none of the ' in printed


@pytest.mark.parametrize(
    'assignment, message',
    [
        ('diffusion.per_frame=true', 'config.diffusion.per_frame=true: this network takes one time a video'),
        ('diffusion.context=1', 'config.diffusion.context=1: this network takes one time a video'),
        ('mesh.sequence=2', 'config.mesh.sequence=2: this network is not split on it'),
        ('data.pixels=9', 'config.model.widths: 2 does not divide frames of 9x9'),
        ('diffusion.self_conditioning=0.5', 'needs a network with config.model.self_condition=true'),
        ('model.layout=full', 'config.model.layout'),
    ],
)
def test_what_it_does_not_take_is_refused_before_anything_is_written(experiment, assignment, message, tmp_path, capsys):
    workdir = tmp_path / 'run'
    assert cli.main(['train', experiment, f'--workdir={workdir}', f'--config.{assignment}']) == 2
    assert message in capsys.readouterr().err and not workdir.exists()


def test_images_behind_clips_are_refused():
    clips = {'source': 'synthetic', 'frames': 2, 'pixels': 8}
    groups = {
        'data': {'source': 'joint_images', 'clips': clips, 'images': clips, 'count': 2},
        'model': {'name': 'unet'}, 'train': {'batch_size': 8},
    }  # fmt: skip
    with pytest.raises(UserError, match='config.data.count=2: this network takes no images behind clips; set 0'):
        Run(experiment_from(groups), jax.devices()[:2]).check()
    Run(experiment_from(groups | {'data': groups['data'] | {'count': 0}}), jax.devices()[:2]).check()


def test_it_is_planned_and_searched(experiment, capsys):
    assert cli.main(['plan', experiment, '--topology=cpu:2', '--search']) == 0
    printed = capsys.readouterr().out
    assert 'as it stands: fits' in printed and 'train: 8 videos a step' in printed and 'sample: 2 videos' in printed
