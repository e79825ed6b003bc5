"""Names that trainers wrap around a network's come off, in any mix and anywhere; a network's own names stay."""

import itertools

import numpy as np
import pytest

from tests.parity import networks
from vdm_jax import pretrained
from vdm_jax.errors import UserError
from vdm_jax.pretrained import files, names
from vdm_jax.pretrained.tensors import write as write_tensors

CASE = next(case for case in networks.CASES if case.kept)
PLAIN = {f'blocks.{i}.{part}': np.float32([i, j]) for i in range(2) for j, part in enumerate(('mlp.weight', 'norm'))}
PLAIN |= {'x_embedder.weight': np.ones((2, 2), np.float32), 'pos_embed': np.zeros(3, np.float32)}
COUNTERS = {'n_averaged': np.int64(7), 'initted': np.array([True]), 'step': np.array(3)}
WRAPPERS = ('module', '_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module', 'model', 'ema_model')


def in_front(front, arrays=PLAIN):
    return {f'{front}.{name}': array for name, array in arrays.items()}


def inside(wrapper, arrays=PLAIN):
    """As a wrapper around each block leaves them."""
    return {name.replace('blocks.1.', f'blocks.1.{wrapper}.'): array for name, array in arrays.items()}


def same(actual, expected=PLAIN):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array)


def read(tmp_path, arrays, entry=None):
    write_tensors(tmp_path / 'w.safetensors', arrays)
    return files.read(tmp_path / 'w.safetensors', entry)[0]


FRONTS = [*WRAPPERS, 'online_model', *map('.'.join, itertools.permutations(WRAPPERS, 2)), 'ema_model.module._orig_mod']


@pytest.mark.parametrize('front', FRONTS)
def test_any_mix_in_front_of_every_name_comes_off(front):
    same(names.unwrap(in_front(front)))
    same(names.unwrap(in_front(front) | COUNTERS))  # of an average


@pytest.mark.parametrize('wrapper', ['_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module', 'module'])
def test_wrappers_of_a_single_part_come_off(wrapper, tmp_path):
    same(read(tmp_path, inside(wrapper)))
    same(names.unwrap(in_front('module', inside(wrapper))))
    same(names.unwrap(inside(f'{wrapper}._orig_mod', in_front('_fsdp_wrapped_module'))))


@pytest.mark.parametrize('front', ['', 'module', '_orig_mod.module'])
def test_of_an_average_and_its_weights_the_average_is_taken_by_default(front, tmp_path):
    doubled = {name: array * 2 for name, array in PLAIN.items()}
    arrays = in_front('online_model', PLAIN) | in_front('ema_model', doubled) | COUNTERS
    arrays = in_front(front, arrays) if front else arrays
    same(read(tmp_path, arrays), doubled)
    same(read(tmp_path, arrays, 'ema'), doubled)
    same(read(tmp_path, arrays, 'model'))
    same(read(tmp_path, arrays, 'online_model'))
    with pytest.raises(UserError, match='--entry=other: .* holds tensors alone, and no name begins so'):
        read(tmp_path, arrays, 'other')


OWN = [
    {'model.0.weight': 1, 'head.weight': 2},  # not before every name
    {'module.a': 1, 'b': 2},
    {'model.model.a': 1, 'model.b': 2, 'c': 3},
    {'a._orig_mod.b': 1, 'a.b': 2},  # two would become one
    {'a.module.b': 1, 'a.b': 2},
    {'module': 1, 'model': 2, '_orig_mod': 3},  # nothing would be left
    {'a.model': 1, 'a.module': 2, 'a._orig_mod': 3},
    {'step': 1, 'n_averaged': 2, 'a.b': 3},  # counters of nothing
]


@pytest.mark.parametrize('own', OWN)
def test_names_of_a_networks_own_stay(own, tmp_path):
    own = {name: np.float32([value]) for name, value in own.items()}
    same(read(tmp_path, own), own)


@pytest.fixture(scope='module')
def checkpoint():
    return networks.weights(CASE) | CASE.module.computed_tensors(CASE.config)


@pytest.mark.parametrize(
    'wrap',
    [
        lambda arrays: arrays,
        lambda arrays: in_front('module', arrays) | COUNTERS,
        lambda arrays: in_front('model._orig_mod', inside('_checkpoint_wrapped_module', arrays)),
        lambda arrays: in_front('ema_model', arrays) | in_front('online_model', inside('module', arrays)) | COUNTERS,
        lambda arrays: inside('model', arrays),  # such as files.read leaves, as a part may be called so
        lambda arrays: inside('module.ema_model', arrays),
    ],
)
def test_a_network_is_found_whatever_is_around_it_or_its_parts(wrap, checkpoint):
    model = networks.load(CASE, wrap(checkpoint))
    assert model.config == CASE.config and not (model.report.missing or model.report.unused)
    same(model.export(), checkpoint)


def test_a_refusal_guesses_what_stands_before_the_names(checkpoint):
    arrays = in_front('net.inner', checkpoint) | {'optimizer.rate': np.ones(1)}
    with pytest.raises(UserError, match=r'has net.inner.\S+: --entry=net.inner takes what is called so'):
        networks.load(CASE, arrays)
    model = pretrained.load(CASE.source, arrays, CASE.about, entry='net.inner', heads=CASE.config.heads)
    same(model.export(), checkpoint)


@pytest.mark.parity
def test_averages_of_torch_and_its_wrappers_are_understood(tmp_path, checkpoint):
    torch = pytest.importorskip('torch', reason='PyTorch is not installed: make parity')
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    plain = {name: value.numpy() for name, value in model.state_dict().items()}
    average = torch.optim.swa_utils.AveragedModel(torch.nn.DataParallel(model))
    assert 'n_averaged' in average.state_dict()
    torch.save(average.state_dict(), tmp_path / 'w.pt')
    same(files.read(tmp_path / 'w.pt')[0], plain)
