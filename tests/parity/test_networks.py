"""Networks and training losses are the official ones, number for number: compared live with the official code."""

import itertools
from unittest import mock

import numpy as np
import pytest

pytest.importorskip('torch', reason='PyTorch is not installed: make parity')
pytest.importorskip('diffusers', reason='diffusers is not installed: make parity')

import torch

from tests.parity import networks, official, table
from tests.parity.networks import ADAMW, BY_KEY, CASES, FORWARD, GRADIENT, LOSS
from tests.parity.networks_torch import Theirs, trainable
from vdm_jax.models.conditions import without

pytestmark = pytest.mark.parity

LEARNING = [case for case in CASES if case.learns]
KEPT = [case for case in LEARNING if case.kept]
key = lambda case: case.key


@pytest.fixture(scope='module')
def measured():
    """Rows of the table by case; written when all is done."""
    rows = {}
    yield lambda case, **found: rows.setdefault(case.key, row_of(case)).update(found)
    table.write('networks', list(rows.values()))


def row_of(case):
    _, frames, height, width = case.clip
    shape = f'{frames} frames of {height}x{width}' if frames > 1 else f'{height}x{width}'
    return {'source': case.source, 'configuration': f'{case.name}, on {shape}'}


def both(case):
    """(our network, theirs, their state): ours is loaded from what theirs says of itself."""
    theirs = Theirs(case)
    return networks.load(case, theirs.tensors), theirs


@pytest.fixture(scope='module')
def pair(request):
    """A case with both of its networks, made once for all tests of it."""
    return request.param, *both(request.param)


@pytest.mark.parametrize('pair', CASES, ids=key, indirect=True)
def test_outputs_are_the_official_ones(pair, measured):
    case, ours, theirs = pair
    shown = networks.batch(case)
    want = theirs.forward(shown)
    apart = np.abs(networks.forward(ours, shown) - want).max()
    measured(case, forward=float(apart))
    assert np.std(want) > 0.2  # gates and head are open
    assert apart < FORWARD


@pytest.mark.parametrize('pair', CASES, ids=key, indirect=True)
def test_a_checkpoint_is_all_used_tells_its_config_and_goes_back_bit_for_bit(pair):
    case, ours, theirs = pair
    assert ours.config == case.config
    assert not (ours.report.unused or ours.report.missing or ours.report.differing)
    back, there = ours.export(), theirs.tensors
    assert back.keys() == there.keys()
    fixed = ours.source.fixed(ours.config)
    for name, array in there.items():
        if name in fixed:  # computed on both sides
            np.testing.assert_allclose(back[name], array, atol=1e-5)
        else:
            np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize('pair', LEARNING, ids=key, indirect=True)
def test_loss_and_gradients_are_the_official_ones(pair, measured):
    case, ours, theirs = pair
    shown = networks.batch(case)
    mine, grads = networks.loss_and_gradients(case, ours, shown)
    loss, want = theirs.loss_and_gradients(shown)
    error = networks.gradient_error(grads, want)
    measured(case, gradient=error)
    assert abs(mine - loss) < LOSS
    assert error < GRADIENT


@pytest.mark.parametrize('case', KEPT, ids=key)
def test_training_goes_where_the_official_one_goes(case):
    ours, theirs = both(case)
    mine, (want, least) = networks.trained(case, ours, 3), theirs.trained(3)
    start = networks.weights(case)
    assert mine.keys() == want.keys()
    clear = {name: each > 100 * 1e-8 for name, each in least.items()}  # of AdamW's eps: below, rounding takes the step
    joined = lambda tensors: np.concatenate([tensors[name][clear[name]] for name in want])
    assert joined(clear).size > 0.5 * sum(map(np.size, want.values()))
    assert np.abs(joined(want) - joined(start)).mean() > ADAMW.learning_rate
    assert np.abs(joined(mine) - joined(want)).max() < 0.01 * ADAMW.learning_rate


@pytest.mark.parametrize('name', ['dit, patch 2, 3 blocks', 'latte, classes'])
def test_a_label_that_is_left_out_is_the_official_one(name):
    """Their trainer puts the null class in place of a label at random; here in the first example, by force."""
    case = BY_KEY[name]
    ours, theirs = both(case)
    shown = networks.batch(case, turn=1)
    dropped = np.arange(len(shown.x)) == 1
    embedder = theirs.net.train().y_embedder
    embed, asked = embedder.forward, []

    def forced(labels, train):
        asked.append(train)
        return embed(labels, train, force_drop_ids=torch.from_numpy(dropped.astype(int)))

    embedder.forward = forced
    told = without(shown.conditions, case.config.classes, dropped)
    assert np.asarray(told['label'])[1] == case.config.classes != shown.conditions['label'][1]
    mine, grads = networks.loss_and_gradients(
        case, ours, networks.Batch(shown.x, shown.eps, shown.times, {'label': np.asarray(told['label'])})
    )
    loss, want = theirs.loss_and_gradients(shown)
    assert asked == [True]
    assert abs(mine - loss) < LOSS
    assert networks.gradient_error(grads, want) < GRADIENT


@pytest.mark.parametrize(
    'variable, file, kind, frames',
    [('DIT_CHECKOUT', 'models.py', 'DiT', None), ('LATTE_CHECKOUT', 'models/latte.py', 'Latte', 16)],
    ids=['dit', 'latte'],
)
def test_every_published_size_has_as_many_parameters(variable, file, kind, frames):
    module = official.module(variable, file)
    for size, patch in itertools.product(('S', 'B', 'L', 'XL'), (2, 4, 8)):
        unset = mock.patch.object(getattr(module, kind), 'initialize_weights', lambda self: None)
        with torch.device('meta'), unset:
            net = getattr(module, f'{kind}_{size}_{patch}')()
        count = sum(each.numel() for _, each in trainable(net))
        assert networks.parameter_count(networks.published(size, patch, frames)) == count
