"""Optimizers: Muon on stacked layers is Muon layer by layer; masks go by path."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from tests.models.small import SMALL
from vdm_jax.config.experiment_file import override
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.registry import OPTIMIZERS
from vdm_jax.models.dit import VideoDiT
from vdm_jax.nn.modulation import MODULATIONS
from vdm_jax.parallel.rules import path_name
from vdm_jax.train.gradient_transforms import clip_by_global_norm
from vdm_jax.train.optimizers import (
    RATES,
    AdamW,
    Lion,
    Muon,
    explain_stretch,
    make_learning_rates,
    match_paths,
)
from vdm_jax.train.state import init_params

MUON = Muon(learning_rate=0.1, clip=None)


def params(seed, depth=3):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return {
        'layers': {
            'up': {'kernel': draw(depth, 8, 16), 'bias': draw(depth, 16)},
            'modulation': {'kernel': draw(depth, 8, 48)},
            'q_norm': {'scale': draw(depth, 4)},
        },
        'patch_embed': {'kernel': draw(12, 8), 'bias': draw(8)},
        'label_embed': {'table': draw(5, 8)},
        'head': {'out': {'kernel': draw(8, 12)}},
    }


def run(optimizer, start, steps=3):
    state = optimizer.init(start)
    values = start
    for step in range(steps):
        updates, state = optimizer.update(jax.tree.map(lambda a, s=step: a * (s + 1) + 0.1, start), state, values)
        values = optax.apply_updates(values, updates)
    return values


def test_muon_of_a_stack_is_muon_of_each_layer():
    stacked = params(0)
    by_stack = run(MUON.make(10), stacked)
    for layer in range(3):
        single = {'up': {'kernel': stacked['layers']['up']['kernel'][layer]}}
        by_layer = run(contrib.muon(0.1, beta=MUON.momentum), single)  # 2-D leaves: optax's own idea of a matrix
        np.testing.assert_allclose(by_stack['layers']['up']['kernel'][layer], by_layer['up']['kernel'], atol=1e-5)


def test_without_dimensions_a_stack_would_get_another_update():
    kernel = {'kernel': params(0)['layers']['up']['kernel']}
    with_dimensions, without_dimensions = (
        run(contrib.muon(0.1, beta=MUON.momentum, muon_weight_dimension_numbers=dims), kernel)
        for dims in (MUON.matrix_dimensions, None)
    )
    assert np.abs(with_dimensions['kernel'] - without_dimensions['kernel']).max() > 1e-2


def test_muon_takes_the_matrices_and_adam_the_rest():
    dims = MUON.matrix_dimensions(params(0))
    assert dims['layers']['up']['kernel'] == contrib.MuonDimensionNumbers(1, 2)
    assert dims['layers']['up']['bias'] is None and dims['layers']['q_norm']['scale'] is None
    assert dims['layers']['modulation']['kernel'] is None and dims['patch_embed']['kernel'] is None
    assert dims['head']['out']['kernel'] is None and dims['label_embed']['table'] is None
    more = dataclasses.replace(MUON, adam='(embed|head)').matrix_dimensions(params(0))
    assert more['layers']['modulation']['kernel'] == contrib.MuonDimensionNumbers(1, 2)


def test_what_muon_leaves_is_adamw_s():
    start = params(0)
    by_muon = run(MUON.make(10), start)
    by_adam = run(optax.adamw(MUON.adam_learning_rate, weight_decay=0.0), start)
    for path in (('layers', 'up', 'bias'), ('layers', 'modulation', 'kernel'), ('head', 'out', 'kernel')):
        ours = by_muon
        theirs = by_adam
        for part in path:
            ours, theirs = ours[part], theirs[part]
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize('cls', OPTIMIZERS.values())
def test_weight_decay_goes_by_path(cls):
    config = cls(learning_rate=0.1, weight_decay=0.5)
    start = params(0)
    still = jax.tree.map(jnp.zeros_like, start)
    optimizer = config.make(10)
    updates, _ = optimizer.update(still, optimizer.init(start), start)
    decayed = jax.tree.map(lambda u: bool(np.abs(u).max() > 0), updates)
    assert decayed == match_paths(start, config.decay)
    assert not decayed['layers']['up']['bias'] and decayed['layers']['up']['kernel']


def test_clipping_bounds_what_adam_sees():
    config = AdamW(clip=1.0, learning_rate=1.0)
    grads = {'kernel': jnp.full((4, 4), 100.0)}
    optimizer = config.make(10)
    _, state = optimizer.update(grads, optimizer.init(grads), grads)
    first_moment = optax.tree_utils.tree_get(state, 'mu')['kernel']
    np.testing.assert_allclose(jnp.linalg.norm(first_moment), 0.1, rtol=1e-5)  # (1 - b1) x a gradient of norm 1


def test_schedules():
    cosine = AdamW(schedule='cosine', warmup_steps=10).schedule_to(2.0, 110)
    assert cosine(0) == 0 and cosine(5) == 1.0 and cosine(10) == 2.0
    np.testing.assert_allclose([cosine(60), cosine(110)], [1.0, 0.0], atol=1e-6)
    constant = AdamW().schedule_to(2.0, 100)
    assert constant(0) == constant(99) == 2.0


@pytest.mark.parametrize('kind', MODULATIONS)
def test_muon_leaves_what_conditions_a_network_to_adam(kind):
    """Modulation, shared or not, embeddings and captions; attention and MLP are Muon's."""
    config = dataclasses.replace(SMALL, modulation=kind, scalars=('fps',), text_width=12)
    shapes = jax.eval_shape(lambda: init_params(lambda rngs: VideoDiT(config, rngs=rngs), jax.random.key(0)))
    dimensions = MUON.matrix_dimensions(shapes)

    def is_matrix(leaf):
        return leaf is None or not isinstance(leaf, dict)

    for path, dimension in jax.tree_util.tree_flatten_with_path(dimensions, is_leaf=is_matrix)[0]:
        name = path_name(path)
        matrix = name.endswith('kernel') and re.search('attention|cross|mlp', name)
        assert (dimension is not None) == bool(matrix), name


def updates_of(config, gradients):
    """What the optimizer makes of a list of gradients of one number, step by step."""
    optimizer = config.make(10)
    params = {'w': jnp.float32(0)}
    state = optimizer.init(params)
    updates = []
    for gradient in gradients:
        update, state = jax.jit(optimizer.update)({'w': jnp.float32(gradient)}, state, params)
        updates.append(float(update['w']))
    return updates


def updates_exactly(*arguments):
    """`updates_of`, each operation by itself: two programs may be rounded otherwise."""
    with jax.disable_jit():
        return updates_of(*arguments)


def test_clipping_begins_at_its_configured_step():
    late = clip_by_global_norm(0.1, 2)
    seen = []
    state = late.init({'w': jnp.float32(0)})
    for _ in range(4):
        update, state = late.update({'w': jnp.float32(5)}, state)
        seen.append(float(update['w']))
    np.testing.assert_allclose(seen, [5, 5, 0.1, 0.1], rtol=1e-6)

    def clip_from(start):
        return updates_exactly(AdamW(clip=0.1, clip_from=start), [0.05, 5.0, 5.0])

    never = updates_exactly(AdamW(clip=None), [0.05, 5.0, 5.0])
    assert clip_from(3) == never and clip_from(1) != never  # Adam sees the bound where gradients differ in size


def test_the_first_update_may_wait_for_the_second_step():
    config = AdamW(learning_rate=0.1, clip=None)
    joined = dataclasses.replace(config, join_first=True)
    waited = updates_of(joined, [1.0, 2.0, -1.0])
    assert waited[0] == 0
    np.testing.assert_allclose(waited[1:], updates_of(config, [3.0, -1.0]), rtol=1e-6)


def test_muon_takes_a_convolution_for_one_matrix():
    kernel, grad = (np.random.default_rng(i).normal(size=(3, 2, 2, 4, 6)).astype(np.float32) for i in range(2))
    updates_of_shapes = []
    for shape in ((3, 2, 2, 4, 6), (48, 6)):
        params, grads = ({'conv': {'kernel': jnp.asarray(each.reshape(shape))}} for each in (kernel, grad))
        optimizer = MUON.make(10)
        updates, _ = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
        updates_of_shapes.append(np.asarray(updates['conv']['kernel']).reshape(48, 6))
    np.testing.assert_allclose(*updates_of_shapes, atol=1e-6)
    assert np.linalg.matrix_rank(updates_of_shapes[0], tol=1e-3) == 6


SLOW_START = {'schedule': 'cosine', 'warmup_steps': 2, 'clip': None}


@pytest.mark.parametrize(
    'config', [AdamW(0.1, **SLOW_START), Muon(0.1, adam_learning_rate=0.03, **SLOW_START)], ids=['adamw', 'muon']
)
def test_logged_rates_are_those_of_the_updates(config):
    """A gradient that stays the same moves Adam's parameters by the rate itself, Muon's in proportion to it."""
    is_muon = isinstance(config, Muon)
    optimizer = config.make(6)
    rates = make_learning_rates(config, 6)
    values = {'up': {'kernel': params(0)['layers']['up']['kernel'][:1]}, 'head': {'bias': jnp.ones(4)}}
    state = optimizer.init(values)
    moved = []
    for step in range(4):
        learning_rates = rates(state)
        assert learning_rates.keys() == ({*RATES} if is_muon else {'learning_rate'})
        updates, state = optimizer.update(values, state, values)
        moved.append((learning_rates, updates))
        expected = config.schedule_to(0.1, 6)(step)
        np.testing.assert_allclose(learning_rates['learning_rate'], expected, rtol=1e-6)
        np.testing.assert_allclose(-updates['head']['bias'], learning_rates[RATES[is_muon]], rtol=1e-4)
    slow, before = moved[1]
    fast, after = moved[2]
    ratio = fast['learning_rate'] / slow['learning_rate']
    np.testing.assert_allclose(after['up']['kernel'], ratio * before['up']['kernel'], rtol=2e-2, atol=1e-4)


def test_an_update_that_is_left_out_leaves_the_rate_where_it_is():
    """The rate follows the optimizer's own count, which a nonfinite update leaves where it is."""
    config = AdamW(schedule='cosine', warmup_steps=2, join_first=True)
    optimizer = config.make(6)
    rates = make_learning_rates(config, 6)
    values = {'bias': jnp.ones(2)}
    state = optimizer.init(values)
    for expected in (0, 0, 1):  # of the first two steps there is one update
        np.testing.assert_allclose(rates(state)['learning_rate'], config.schedule_to(config.learning_rate, 6)(expected))
        _, state = optimizer.update(values, state, values)
    assert rates(state) == rates(state)


@pytest.mark.parametrize('warmup', [0, 10])
def test_a_stretched_schedule_reports_the_rates_before_and_after(warmup):
    config = Muon(learning_rate=0.02, schedule='cosine', warmup_steps=warmup)
    line = explain_stretch(config, 60, 120, 60)
    for peak, label in ((0.02, 'learning_rate'), (1e-3, 'learning_rate_adam')):
        now = float(config.schedule_to(peak, 120)(60))
        assert f'{label} is {now:.3g} and would have been 0' in line
    assert ('warm-up of 10 steps' in line) == bool(warmup)
    assert not explain_stretch(config, 60, 60, 30) and not explain_stretch(
        dataclasses.replace(config, schedule='constant'), 6, 9, 3
    )


def test_lion_is_optax_s_on_the_schedule():
    start = params(0)
    ours = run(Lion(learning_rate=0.1, weight_decay=0.2, decay='.', clip=None).make(10), start)
    expected = run(optax.lion(0.1, 0.9, 0.99, weight_decay=0.2), start)
    jax.tree.map(np.testing.assert_array_equal, ours, expected)


@pytest.mark.parametrize('assignment', ['momentum=0.9', 'adam=x', 'adam_learning_rate=1'])
def test_keys_of_another_optimizer_are_refused(assignment):
    with pytest.raises(UserError, match=f'config.optim.{assignment.partition("=")[0]}: no such key'):
        experiment_from(override({'optim': 'adamw'}, [f'config.optim.{assignment}']))
