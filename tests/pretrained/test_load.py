"""Loading: what a checkpoint determines of its network, what is refused, and what the loaded network computes."""

import dataclasses
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import networks
from vdm_jax import pretrained
from vdm_jax.diffusion.objective import Objective
from vdm_jax.errors import UserError
from vdm_jax.pretrained import SOURCES
from vdm_jax.pretrained.network import Network
from vdm_jax.pretrained.tensors import write as write_tensors

DIT, SIT, LATTE, PLAIN, TEXT = (case for case in networks.CASES if case.kept)
DENOISERS = [DIT, SIT, LATTE, PLAIN, TEXT]


def key(case):
    return case.key


def tensors(case, **changed):
    """A checkpoint of the case, with positions; None takes a tensor out."""
    arrays = networks.weights(case) | case.module.computed_tensors(case.config) | changed
    return {name: array for name, array in arrays.items() if array is not None}


def equal(a, b):
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name])
        assert array.dtype == b[name].dtype


@pytest.mark.parametrize('name', SOURCES)
def test_every_source_implements_the_interface(name):
    module = SOURCES[name]

    def arguments(function):
        return list(inspect.signature(function).parameters)

    assert arguments(module.infer_config) == ['arrays', 'config_json', 'heads']
    assert arguments(module.rows) == arguments(module.computed_tensors) == arguments(module.MODEL.init) == ['config']
    assert all(isinstance(why, str) for why in module.NOT_STORED.values())
    assert [field.name for field in dataclasses.fields(module.MODEL)] == ['source', 'config', 'params', 'report']
    assert callable(module.MODEL.export)
    assert issubclass(module.MODEL, Network) == hasattr(module, 'objective')
    assert module.__doc__.strip()


@pytest.mark.parametrize('case', DENOISERS, ids=key)
def test_a_checkpoint_determines_its_network_and_round_trips(case, tmp_path):
    arrays = tensors(case)
    model = networks.load(case, arrays)
    assert model.config == case.config
    assert sorted(model.report.used) == sorted(arrays) and not model.report.unused
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(model.params))
    assert isinstance(model.objective, Objective)
    equal(model.export(), arrays)
    write_tensors(tmp_path / 'w.safetensors', model.export())
    again = pretrained.load(case.source, tmp_path / 'w.safetensors', case.about, heads=case.config.heads)
    assert again.config == model.config
    equal(again.export(), arrays)


def test_a_published_size_determines_its_heads():
    case = networks.BY_KEY['dit, S/2']
    arrays = tensors(case)
    for heads in (None, 6):
        model = pretrained.load('dit', arrays, heads=heads)
        assert model.config == case.config and model.config.sizes.heads == 6
    with pytest.raises(UserError, match=r'--heads=3: 12 blocks of width 384 are S, of 6; leave it out'):
        pretrained.load('dit', arrays, heads=3)


@pytest.mark.parametrize('width, hidden', [(28, 61), (44, 49), (48, 128), (1152, 3072)])
def test_a_network_has_the_hidden_units_of_its_checkpoint(width, hidden):
    assert int(width * pretrained.dit.mlp_ratio(hidden, width)) == hidden


@pytest.mark.parametrize('depth, width', [(2, 48), (6, 128)])
def test_of_other_sizes_the_heads_must_be_given(depth, width):
    """Also where the width and depth are those of a preset of ours."""
    config = dataclasses.replace(DIT.config, depth=depth, width=width)
    arrays = tensors(dataclasses.replace(DIT, config=config))
    with pytest.raises(UserError, match=rf'{depth} blocks of width {width} are none of S, B, L, XL: say --heads=N'):
        pretrained.load('dit', arrays)
    with pytest.raises(UserError, match=r'--source=dit: config.model.heads=7 must divide width'):
        pretrained.load('dit', arrays, heads=7)


def test_text_networks_read_their_heads_from_config_json():
    arrays = tensors(TEXT)
    with pytest.raises(UserError, match=r'no config.json .* say --heads=N'):
        pretrained.load('latte_t2v', arrays)
    for changed in ({'norm_type': 'ada_norm'}, {'norm_elementwise_affine': True}, {'activation_fn': 'geglu'}):
        name, value = next(iter(changed.items()))
        with pytest.raises(UserError, match=rf'config.json: {name}={value!r} is not what this network is built for'):
            pretrained.load('latte_t2v', arrays, TEXT.about | changed)
    with pytest.raises(UserError, match='--heads=3: config.json has num_attention_heads=4; leave it out'):
        pretrained.load('latte_t2v', arrays, TEXT.about, heads=3)


@pytest.mark.parametrize(
    'name, value',
    [('sample_size', None), ('video_length', None), ('video_length', 0), ('video_length', True)]
    + [('num_attention_heads', value) for value in (None, '4', 4.0, [4])],
)
def test_text_networks_need_sizes_that_are_integers(name, value):
    with pytest.raises(UserError, match=rf'config.json: {name}={re.escape(repr(value))}: want an integer above 0'):
        pretrained.load('latte_t2v', tensors(TEXT), TEXT.about | {name: value})


@pytest.mark.parametrize(
    'case, name, shape',
    [
        (DIT, 'pos_embed', (16,)),
        (DIT, 'x_embedder.proj.weight', (48, 16)),
        (DIT, 'x_embedder.proj.weight', (48, 0, 2, 2)),
        (DIT, 'blocks.0.mlp.fc1.weight', ()),
        (DIT, 'y_embedder.embedding_table.weight', (0, 48)),
        (LATTE, 'temp_embed', (5,)),
        (TEXT, 'pos_embed.proj.weight', (48, 16)),
        (TEXT, 'caption_projection.linear_1.weight', (48,)),
    ],
)
def test_a_tensor_of_another_rank_is_named(case, name, shape):
    arrays = tensors(case, **{name: np.zeros(shape, np.float32)})
    with pytest.raises(UserError, match=rf'{name} has the shape {re.escape(str(shape))}: want \d dimensions'):
        networks.load(case, arrays)


@pytest.mark.parametrize(
    'source, case, pattern',
    [
        ('latte', DIT, 'has no temp_embed: it is of another network; has blocks.0'),
        ('dit', LATTE, 'has temp_embed, positions in time: say --source=latte'),
        ('sit', LATTE, 'has temp_embed'),
        ('dit', TEXT, 'has no pos_embed'),
        ('latte_t2v', LATTE, 'has no pos_embed.proj.weight'),
    ],
)
def test_another_sources_checkpoint_is_refused(source, case, pattern):
    with pytest.raises(UserError, match=pattern):
        pretrained.load(source, tensors(case))


def test_what_is_no_source_is_refused():
    with pytest.raises(UserError, match=r'--source=imagen: want one of c3d, dit, i3d, inception_fid, latte, latte_t2v'):
        pretrained.load('imagen', {})
    text = {'text_embedding_projection.1.weight': np.zeros((1, 1), np.float32)}
    with pytest.raises(UserError, match='Latte with pooled text'):
        pretrained.load('latte', tensors(LATTE, **text), heads=4)


@pytest.mark.parametrize(
    'arguments, more, pattern',
    [
        ((None,), {}, 'checkpoint=None: want a file'),
        ((3,), {}, 'checkpoint=3: want a file'),
        (({},), {}, '--source=dit: the checkpoint holds no tensors'),
        (({'x': np.zeros(1)}, [1]), {}, r'config_json=\[1\]: want what a config.json holds'),
        (({'x': np.zeros(1)},), {'heads': '4'}, "heads='4': want an integer"),
    ],
)
def test_an_argument_that_is_of_no_use_is_refused(arguments, more, pattern):
    with pytest.raises(UserError, match=pattern):
        pretrained.load('dit', *arguments, **more)


def test_more_tensors_are_reported_and_harmless():
    model = networks.load(DIT, tensors(DIT, extra=np.zeros(3, np.float32)))
    assert model.report.unused == ('extra',)


def test_what_is_missing_is_refused_or_starts_fresh_and_always_the_same():
    bias = 'blocks.1.mlp.fc1.bias'
    kernel = 'final_layer.linear.weight'
    arrays = tensors(DIT, **{bias: None, kernel: np.zeros((5, 5), np.float32)})
    with pytest.raises(UserError, match=rf'differs: {kernel} is|missing: {bias}; .*--allow-missing'):
        pretrained.load('dit', arrays, heads=4)
    arrays = tensors(DIT, **{bias: None, 't_embedder.mlp.0.weight': None})
    with pytest.raises(UserError, match=rf'missing: t_embedder.mlp.0.weight; missing: {bias}; with --allow-missing'):
        pretrained.load('dit', arrays, heads=4)
    model, again = (pretrained.load('dit', arrays, heads=4, allow_missing=True) for _ in range(2))
    assert model.report.missing == ('t_embedder.mlp.0.weight', bias)
    equal(model.export(), again.export())
    fresh = Network.init(model.config)
    complete = networks.load(DIT).params
    np.testing.assert_array_equal(model.params['time_embed']['up']['kernel'], fresh['time_embed']['up']['kernel'])
    np.testing.assert_array_equal(model.params['layers']['block']['mlp']['up']['bias'], 0)  # of all layers: stacked
    down = model.params['time_embed']['down']['kernel']
    np.testing.assert_array_equal(down, complete['time_embed']['down']['kernel'])


def test_a_block_that_is_missing_is_named():
    arrays = {name: array for name, array in tensors(DIT).items() if not name.startswith('blocks.1.')}
    with pytest.raises(UserError, match=r'missing: blocks\.1\.'):
        pretrained.load('dit', arrays, heads=4)


@pytest.mark.parametrize('case, name', [(DIT, 'pos_embed'), (LATTE, 'pos_embed'), (LATTE, 'temp_embed')])
def test_positions_that_are_others_are_refused(case, name):
    other = case.module.computed_tensors(case.config)[name].copy()
    other[0, 1] += 0.01
    with pytest.raises(UserError, match=f'differs: {name} is not what this network computes'):
        networks.load(case, tensors(case, **{name: other}))
    model = pretrained.load(case.source, tensors(case, **{name: other}), heads=4, allow_missing=True)
    assert len(model.report.differing) == 1
    np.testing.assert_array_equal(model.export()[name], case.module.computed_tensors(case.config)[name])


@pytest.mark.parametrize('dtype', [np.float16, jnp.bfloat16])
def test_a_checkpoint_in_half_precision_is_loaded_in_float32(dtype):
    arrays = {name: array.astype(dtype) for name, array in tensors(LATTE).items()}
    back = networks.load(LATTE, arrays).export()
    for name, array in arrays.items():
        if name not in LATTE.module.computed_tensors(LATTE.config):
            np.testing.assert_array_equal(back[name], array.astype(np.float32))


@pytest.fixture(scope='module')
def models():
    return {case.key: networks.load(case) for case in DENOISERS}


def test_no_label_is_the_class_after_the_last(models):
    model = models[LATTE.key]
    inputs = networks.batch(LATTE)
    none = np.full(3, LATTE.config.classes)
    with_none, unlabelled = (model(inputs.x, inputs.times, label=label) for label in (none, None))
    np.testing.assert_array_equal(with_none, unlabelled)
    assert np.abs(with_none - model(inputs.x, inputs.times, label=inputs.conditions['label'])).max() > 0.01


def test_the_output_is_float32_with_the_learned_variance_where_there_is_one(models):
    for case, channels in ((DIT, 8), (LATTE, 8), (SIT, 4)):
        inputs = networks.batch(case)
        output = models[case.key](inputs.x, inputs.times, **inputs.conditions)
        assert output.shape == (*case.clip, channels) and output.dtype == jnp.float32


def test_unknown_conditions_are_refused(models):
    inputs = networks.batch(DIT)
    with pytest.raises(TypeError, match='labels'):
        models[DIT.key](inputs.x, inputs.times, labels=inputs.conditions['label'])


WRONG = [
    (DIT, {'x': np.zeros((1, 8, 8, 4))}, r'x: want \(B, T, H, W, 4\), H and W multiples of 2, found \(1, 8, 8, 4\)'),
    (DIT, {'x': np.zeros((3, 1, 8, 8, 3))}, r'x: want .* found \(3, 1, 8, 8, 3\)'),
    (DIT, {'x': np.zeros((3, 1, 8, 7, 4))}, r'x: want .* found \(3, 1, 8, 7, 4\)'),
    (DIT, {'t': 0.5}, r't: want one for each of 3 videos, \(3,\), found \(\)'),
    (SIT, {'t': np.full(2, 0.5)}, r't: want .*found \(2,\)'),
    (DIT, {'label': 1}, r'label: want integer \(3,\), found int\d* \(\)'),
    (DIT, {'label': np.zeros(3)}, r'label: want integer \(3,\), found float64 \(3,\)'),
    (DIT, {'label': np.zeros(2, int)}, r'label: want integer \(3,\), found int\d* \(2,\)'),
    (DIT, {'label': [0, 8, 1]}, 'label: want 0 to 7, the last for none, found 0 to 8'),
    (LATTE, {'label': jnp.array([0, -1, 1])}, 'label: want 0 to 5, the last for none, found -1 to 1'),
    (PLAIN, {'label': np.zeros(3, int)}, 'label: leave it out, this network is conditioned on the time alone'),
    (LATTE, {'text': np.zeros((3, 6, 20))}, 'text: leave it out, this network is conditioned on label'),
    (LATTE, {'text_mask': np.ones((3, 6), bool)}, 'text_mask: leave it out'),
    (TEXT, {'text': np.zeros((3, 6, 21))}, r'text: want floating \(3, 6, 20\), found float64 \(3, 6, 21\)'),
    (TEXT, {'text': np.zeros((6, 20))}, r'text: want floating \(3, .*, 20\), found float64 \(6, 20\)'),
    (TEXT, {'text_mask': np.ones((3, 5), bool)}, r'text_mask: want bool.* \(3, \d\), found bool \(3, 5\)'),
]


IDS_OF_WRONG = [f'{key(case)}, {[*conditions]}' for case, conditions, _ in WRONG]


@pytest.mark.parametrize('case, changed, pattern', WRONG, ids=IDS_OF_WRONG)
def test_arrays_that_a_network_does_not_take_are_named(models, case, changed, pattern):
    inputs = networks.batch(case)
    model = models[case.key]
    arguments = {'x': inputs.x, 't': np.full(3, 0.5)} | inputs.conditions | changed
    x = arguments.pop('x')
    t = arguments.pop('t')
    for call in (model, model.denoise):
        with pytest.raises(UserError, match=pattern):
            call(x, t, **arguments)


def test_of_traced_labels_only_the_shape_is_checked(models):
    inputs = networks.batch(DIT)
    model = models[DIT.key]
    label = inputs.conditions['label']
    traced = jax.jit(lambda label: model(inputs.x, inputs.times, label=label))
    np.testing.assert_allclose(traced(label), model(inputs.x, inputs.times, label=label), atol=1e-5)
    with pytest.raises(UserError, match='label: want integer'):
        traced(label[:2])


def test_text_networks_want_text_and_clips(models):
    model = models[TEXT.key]
    inputs = networks.batch(TEXT)
    with pytest.raises(UserError, match='wants text'):
        model(inputs.x, inputs.times)
    with pytest.raises(UserError, match='found one frame'):
        model(inputs.x[:, :1], inputs.times, **inputs.conditions)


@pytest.mark.parametrize('case', [DIT, LATTE], ids=key)
def test_the_adapter_solves_eps_for_x0_at_the_timestep_below(case, models):
    """Timestep i is t = (i + 1) / 1000; x0 = (x_t - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar)."""
    model = models[case.key]
    inputs = networks.batch(case)
    timesteps = np.array([0, 500, 999])
    output = np.asarray(model(inputs.x, timesteps, **inputs.conditions))
    denoised = model.denoise(inputs.x, (timesteps + 1) / 1000, **inputs.conditions)
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[timesteps].reshape(-1, 1, 1, 1, 1)
    eps = output[..., :4]
    variance = output[..., 4:]
    x0 = (inputs.x - np.sqrt(1 - alpha_bar) * eps) / np.sqrt(alpha_bar)
    np.testing.assert_allclose(denoised.eps, eps, atol=2e-5)
    np.testing.assert_array_equal(denoised.variance, variance)
    np.testing.assert_allclose(denoised.x0, x0, atol=1e-5, rtol=1e-3)


def test_the_adapter_solves_sits_velocity_for_x0_and_eps(models):
    """SiT's time is s = 1 - t and x_s = s x0 + (1 - s) eps, v = x0 - eps: x0 = x + t v, eps = x - (1 - t) v."""
    model = models[SIT.key]
    inputs = networks.batch(SIT)
    t = np.float32([0.25, 0.5, 1.0])
    v = np.asarray(model(inputs.x, 1 - t, **inputs.conditions))
    denoised = model.denoise(inputs.x, t, **inputs.conditions)
    assert denoised.variance is None
    t = t.reshape(-1, 1, 1, 1, 1)
    np.testing.assert_allclose(denoised.x0, inputs.x + t * v, atol=1e-5)
    np.testing.assert_allclose(denoised.eps, inputs.x - (1 - t) * v, atol=1e-5)
