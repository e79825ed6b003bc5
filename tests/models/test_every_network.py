"""Every network of the index implements what a run needs of it, as its config declares."""

import jax
import pytest

from tests.models.every_network import NETWORKS, groups_of
from vdm_jax.errors import UserError
from vdm_jax.experiment import registry
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run
from vdm_jax.nn.config import NetworkInputs
from vdm_jax.parallel.mesh import MeshConfig, make_mesh
from vdm_jax.parallel.rules import axes_for, path_name

each_network = pytest.mark.parametrize('name', NETWORKS)


def run_of(name, mesh=None):
    groups = groups_of(name) | {'train': {'batch_size': 8}, 'mesh': mesh or {}}
    return Run(experiment_from(groups), jax.devices()[:2])


def test_every_network_of_the_index_is_here():
    assert NETWORKS.keys() == registry.MODELS.keys()


@each_network
def test_it_takes_its_own_experiment(name):
    run = run_of(name)
    run.check()
    assert run.model_config.flops(run.network.latent_shape[:3], per_frame=run.network.inputs.has_frame_times) > 0
    shapes = jax.tree.map(lambda leaf: leaf.shape, run.model_config.abstract_params())
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, run.programs.abstract_state.params)


@each_network
def test_mesh_axes_are_those_that_split_it(name):
    """What a config declares is what its rules and the checks of the mesh say."""
    model = run_of(name).model_config
    shapes = jax.tree_util.tree_flatten_with_path(model.abstract_params())[0]
    rules = model.sharding_rules
    axes = {axis for path, leaf in shapes for axis in axes_for(path_name(path), len(leaf.shape), rules) if axis}
    assert axes == {*model.mesh_axes} - {'sequence'} and ('fsdp' in axes) == (model.fsdp_width > 1)
    inputs = NetworkInputs(shapes=((4, 8, 8, 3),))
    for axis in ('sequence', 'tensor'):
        mesh = make_mesh(MeshConfig(**{axis: 2}), jax.devices()[:2])
        if axis in model.mesh_axes:
            model.check_mesh(mesh, inputs)
        else:
            with pytest.raises(UserError, match=f'config.mesh.{axis}=2: this network is not split on it; set 1'):
                model.check_mesh(mesh, inputs)


@each_network
def test_a_mesh_that_does_not_split_its_weights_is_noted(name):
    """Of VideoDiT only large arrays are, of which a small one has none."""
    run = run_of(name, {'fsdp': 2})
    notes = [note for note in run.model_config.sharding_notes(run.programs.abstract_state) if 'rule' not in note]
    if 'fsdp' in run.model_config.mesh_axes:
        assert notes == []
    else:
        count = len(jax.tree.leaves(run.programs.abstract_state.params))
        (line,) = notes
        assert line.startswith(
            f'sharding: config.mesh.fsdp=2 splits none of the {count} parameters; every device holds'
        )
    assert all('rule' in note for note in run.model_config.sharding_notes(run_of(name).programs.abstract_state))


@pytest.mark.parametrize(
    'name, inputs, message',
    [
        ('conv_lstm', {}, 'config.model.name=conv_lstm: it continues context frames; set config.diffusion.context'),
        ('conv_lstm', {'context': 1, 'images': 2}, 'config.model.name=conv_lstm: it continues context frames'),
        ('conv_lstm', {'context': 1}, None),
        ('conv_lstm', {'per_frame': True}, None),
        ('image_vae', {'images': 2}, None),
        ('video_vae', {'images': 2}, None),
        ('video_vae', {'per_frame': True}, 'config.diffusion.per_frame=true: this network takes one time a video'),
        ('video_dit', {'context': 1, 'images': 2}, None),
        ('video_dit', {'per_frame': True}, None),
    ],
)
def test_times_and_images_that_it_does_not_take_are_refused(name, inputs, message):
    model = run_of(name).model_config
    network_inputs = NetworkInputs(shapes=((3, 8, 8, 3),), **inputs)
    if message is None:
        model.check_inputs(network_inputs)
    else:
        with pytest.raises(UserError) as error:
            model.check_inputs(network_inputs)
        assert str(error.value).startswith(message)


def test_a_regressor_without_context_is_refused_before_it_runs():
    groups = groups_of('conv_lstm') | {'train': {'batch_size': 8}}
    groups['diffusion'] = groups['diffusion'] | {'context': 0}
    with pytest.raises(UserError, match='config.model.name=conv_lstm: it continues context frames'):
        Run(experiment_from(groups), jax.devices()[:2]).check()


def test_names_of_sizes_and_their_numbers_are_one_network():
    dit = registry.MODELS['video_dit']
    named = dit(size='S')
    spelt = dit(size='L', depth=12, width=384, heads=6)
    assert named != spelt and named.with_explicit_sizes() == spelt.with_explicit_sizes()
    assert named.with_explicit_sizes().sizes == named.sizes
    assert dit(size='S').with_explicit_sizes() != dit(size='S128').with_explicit_sizes()
