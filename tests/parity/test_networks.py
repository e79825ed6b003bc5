"""Networks and training losses are the official ones, number for number: compared live with the official code."""

import dataclasses
import itertools
from unittest import mock

import jax
import numpy as np
import pytest
from flax import nnx

pytest.importorskip('torch', reason='PyTorch is not installed: make parity')
pytest.importorskip('diffusers', reason='diffusers is not installed: make parity')

import torch

from tests.parity import networks, official, table
from tests.parity.networks import ADAMW, BY_KEY, CASES, FORWARD, GRADIENT, LOSS
from tests.parity.networks_torch import Theirs, trainable
from vdm_jax.models.conditions import without
from vdm_jax.models.dit import VideoDiT
from vdm_jax.train.state import graphdef_of

pytestmark = pytest.mark.parity

LEARNING = [case for case in CASES if case.learns]
STORED_CASES = [case for case in LEARNING if case.kept]


def key(case):
    return case.key


@pytest.fixture(scope='module')
def add_to_table():
    """Rows of the table by case; written when all is done."""
    rows = {}
    yield lambda case, **errors: rows.setdefault(case.key, row_of(case)).update(errors)
    table.write('networks', list(rows.values()))


def row_of(case):
    _, frames, height, width = case.clip
    shape = f'{frames} frames of {height}x{width}' if frames > 1 else f'{height}x{width}'
    return {'source': case.source, 'configuration': f'{case.name}, on {shape}'}


def both(case):
    """(our network, theirs, their state): ours is loaded from their tensors."""
    theirs = Theirs(case)
    return networks.load(case, theirs.tensors), theirs


@pytest.fixture(scope='module')
def pair(request):
    """A case with both of its networks, made once for all tests of it."""
    return request.param, *both(request.param)


@pytest.mark.parametrize('pair', CASES, ids=key, indirect=True)
def test_outputs_are_the_official_ones(pair, add_to_table):
    case, ours, theirs = pair
    inputs = networks.batch(case)
    want = theirs.forward(inputs)
    apart = np.abs(networks.forward(ours, inputs) - want).max()
    add_to_table(case, forward=float(apart))
    assert np.std(want) > 0.2  # gates and head are open
    assert apart < FORWARD


@pytest.mark.parametrize('pair', CASES, ids=key, indirect=True)
def test_a_checkpoint_is_used_completely_gives_its_config_and_round_trips(pair):
    case, ours, theirs = pair
    assert ours.config == case.config
    assert not (ours.report.unused or ours.report.missing or ours.report.differing)
    back = ours.export()
    there = theirs.tensors
    assert back.keys() == there.keys()
    fixed = ours.source.computed_tensors(ours.config)
    for name, array in there.items():
        if name in fixed:  # computed on both sides
            np.testing.assert_allclose(back[name], array, atol=1e-5)
        else:
            np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize('pair', LEARNING, ids=key, indirect=True)
def test_loss_and_gradients_are_the_official_ones(pair, add_to_table):
    case, ours, theirs = pair
    inputs = networks.batch(case)
    mine, grads = networks.loss_and_gradients(case, ours, inputs)
    loss, want = theirs.loss_and_gradients(inputs)
    error = networks.gradient_error(grads, want)
    add_to_table(case, gradient=error)
    assert abs(mine - loss) < LOSS
    assert error < GRADIENT


@pytest.mark.parametrize('case', STORED_CASES, ids=key)
def test_training_ends_at_the_weights_of_the_official_one(case):
    ours, theirs = both(case)
    mine = networks.train_steps(case, ours, 3)
    want, least = theirs.train(3)
    start = networks.weights(case)
    assert mine.keys() == want.keys()
    clear = {name: each > 100 * 1e-8 for name, each in least.items()}  # of AdamW's eps: below, rounding takes the step

    def select_clear(tensors):
        return np.concatenate([tensors[name][clear[name]] for name in want])

    assert select_clear(clear).size > 0.5 * sum(map(np.size, want.values()))
    assert np.abs(select_clear(want) - select_clear(start)).mean() > ADAMW.learning_rate
    assert np.abs(select_clear(mine) - select_clear(want)).max() < 0.01 * ADAMW.learning_rate


@pytest.mark.parametrize('name', ['dit, patch 2, 3 blocks', 'latte, classes'])
def test_a_dropped_label_gives_the_official_loss(name):
    """Their trainer puts the null class in place of a label at random; here in the first example, by force."""
    case = BY_KEY[name]
    ours, theirs = both(case)
    inputs = networks.batch(case, turn=1)
    dropped = np.arange(len(inputs.x)) == 1
    embedder = theirs.net.train().y_embedder
    embed = embedder.forward
    train_flags = []

    def drop_forced(labels, train):
        train_flags.append(train)
        return embed(labels, train, force_drop_ids=torch.from_numpy(dropped.astype(int)))

    embedder.forward = drop_forced
    conditions = without(inputs.conditions, case.config.classes, dropped)
    assert np.asarray(conditions['label'])[1] == case.config.classes != inputs.conditions['label'][1]
    mine, grads = networks.loss_and_gradients(
        case, ours, networks.Batch(inputs.x, inputs.eps, inputs.times, {'label': np.asarray(conditions['label'])})
    )
    loss, want = theirs.loss_and_gradients(inputs)
    assert train_flags == [True]
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
        assert networks.parameter_count(networks.make_published_config(size, patch, frames)) == count


@pytest.mark.parametrize('classes', [0, 5])
def test_images_behind_a_clip_are_those_of_the_official_joint_training(classes, add_to_table):
    """Latte's LatteIMG: images, each with a label of its own, do not enter the blocks over time."""
    frames = 4
    images = 3
    kind = official.module('LATTE_CHECKOUT', 'models/latte_img.py').Latte
    config = dataclasses.replace(BY_KEY['latte, classes'].config, grid=(frames, 4, 4), classes=classes)
    name = f'{images} images behind, classes {classes}'
    case = networks.Case('latte', name, config, (2, frames, 8, 8))
    ours = networks.load(case)
    net = kind(
        input_size=8, patch_size=2, hidden_size=48, depth=2, num_heads=4, num_frames=frames,
        extras=2 if classes else 1, num_classes=classes or 1,
    )  # fmt: skip
    state = net.state_dict()
    tensors = networks.weights(case)
    net.load_state_dict(state | {name: torch.from_numpy(array) for name, array in tensors.items()})
    net.train(bool(classes))  # labels of images are only looked at in training, and none is dropped here
    if classes:
        net.y_embedder.token_drop = lambda labels, force_drop_ids=None: labels
    x = networks.drawn((2, frames + images, 8, 8, 4), case.key)
    times = np.array([0, 999])
    label = np.array([1, 4])
    image_label = np.array([[0, 2, 3], [4, 1, 1]])
    their_conditions = {'y': torch.from_numpy(label), 'y_image': torch.from_numpy(image_label)} if classes else {}
    with torch.no_grad():
        inputs = torch.from_numpy(x).movedim(-1, 2), torch.from_numpy(times)
        want = net(*inputs, use_image_num=images, **their_conditions)
    want = want.movedim(2, -1).numpy()
    labels = np.concatenate([np.repeat(label[:, None], frames, 1), image_label], 1)
    our_conditions = {'label': labels} if classes else {}
    graphdef = graphdef_of(lambda rngs: VideoDiT(ours.config, rngs=rngs))
    output = jax.jit(lambda x, t: nnx.merge(graphdef, ours.params)(x, t, our_conditions, images))(x, np.float32(times))
    apart = np.abs(output - want).max()
    add_to_table(case, forward=float(apart))
    assert np.std(want) > 0.2
    assert apart < FORWARD
