"""Files of weights: what is read, in which precision, and that nothing else is read or run."""

import argparse
import json
import pickle
import sys
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from vdm_jax.errors import UserError
from vdm_jax.pretrained import files
from vdm_jax.pretrained.tensors import write as write_tensors

ARRAYS = {'a.weight': np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4), 'b': np.float32([1, 2])}
NAME = 'diffusion_pytorch_model.safetensors'


def same(actual, expected=ARRAYS):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array)


def test_what_is_written_is_read_bit_for_bit(tmp_path):
    size = write_tensors(tmp_path / 'deep' / 'w.safetensors', ARRAYS | {'a.weight': ARRAYS['a.weight'].T})
    assert size == (tmp_path / 'deep' / 'w.safetensors').stat().st_size
    arrays, about = files.read(tmp_path / 'deep' / 'w.safetensors')
    same(arrays, ARRAYS | {'a.weight': ARRAYS['a.weight'].T})
    assert about == {}


@pytest.mark.parametrize('dtype', [np.float32, np.float16, np.float64, jnp.bfloat16, np.int32])
def test_precisions_are_read_exactly(tmp_path, dtype):
    stored = {name: array.astype(dtype) for name, array in ARRAYS.items()}
    save_file(stored, tmp_path / 'w.safetensors')
    arrays, _ = files.read(str(tmp_path / 'w.safetensors'))
    same(
        {name: array.astype(np.float32) for name, array in arrays.items()},
        {name: array.astype(np.float32) for name, array in stored.items()},
    )


def test_a_config_is_read_where_it_lies_beside(tmp_path):
    write_tensors(tmp_path / NAME, ARRAYS)
    (tmp_path / 'config.json').write_text('{"num_attention_heads": 4}')
    for path in (tmp_path, tmp_path / NAME):
        arrays, about = files.read(path)
        same(arrays)
        assert about == {'num_attention_heads': 4}
    (tmp_path / 'config.json').write_text('no')
    with pytest.raises(UserError, match=r'config.json is not JSON'):
        files.read(tmp_path)
    (tmp_path / 'config.json').write_text('[1]')
    with pytest.raises(UserError, match=r'config.json holds no values by their names'):
        files.read(tmp_path)


def write_shards(folder, places):
    for i, name in enumerate(ARRAYS):
        write_tensors(folder / f'part-{i}.safetensors', {name: ARRAYS[name]})
    (folder / f'{NAME}.index.json').write_text(json.dumps(places))
    return folder


def test_shards_are_put_together(tmp_path):
    places = {'weight_map': {name: f'part-{i}.safetensors' for i, name in enumerate(ARRAYS)}}
    same(files.read(write_shards(tmp_path, places))[0])


@pytest.mark.parametrize('place', ['../part-0.safetensors', '/etc/passwd', 'x/part-0.safetensors', '..', '.', '', 'no'])
def test_an_index_names_nothing_but_files_beside_it(tmp_path, place):
    write_tensors(tmp_path / 'part-0.safetensors', ARRAYS)  # where ../ would find it
    (tmp_path / 'here').mkdir()
    folder = write_shards(tmp_path / 'here', {'weight_map': {'a.weight': 'part-0.safetensors', 'b': place}})
    with pytest.raises(UserError, match=r'index.json: names .*, which is no file beside it'):
        files.read(folder)


@pytest.mark.parametrize(
    'text, pattern', [('{}', 'no weight_map'), ('{"weight_map": 3}', 'no weight_map'), ('(', 'JSON')]
)
def test_an_invalid_index_is_refused(tmp_path, text, pattern):
    (tmp_path / f'{NAME}.index.json').write_text(text)
    with pytest.raises(UserError, match=pattern):
        files.read(tmp_path)


@pytest.mark.parametrize('wrapper', ['module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.'])
def test_what_a_trainer_wrapped_around_is_taken_off(tmp_path, wrapper):
    write_tensors(tmp_path / 'w.safetensors', {f'{wrapper}{name}': array for name, array in ARRAYS.items()})
    same(files.read(tmp_path / 'w.safetensors')[0])
    mixed = {'module.a': ARRAYS['b'], 'b': ARRAYS['b']}  # not of all: a name like others
    write_tensors(tmp_path / 'w.safetensors', mixed)
    same(files.read(tmp_path / 'w.safetensors')[0], mixed)


def test_what_is_no_file_of_weights_is_named(tmp_path):
    (tmp_path / 'w.safetensors').write_bytes(b'\x80\x04}q\x00.' * 20)
    for path, pattern in (
        (tmp_path / 'none', r'none: no such file'),
        (tmp_path, r'a directory without diffusion_pytorch_model.safetensors or model.safetensors'),
        (tmp_path / 'w.safetensors', r'w.safetensors: not a safetensors file'),
    ):
        with pytest.raises(UserError, match=pattern):
            files.read(path)
    write_tensors(tmp_path / 'w.safetensors', ARRAYS)
    with pytest.raises(UserError, match='--entry=ema: .* holds tensors alone'):
        files.read(tmp_path / 'w.safetensors', entry='ema')


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.mark.parametrize('ending', ['.pkl', '.pickle', '.npy', '.h5', '.onnx', '.msgpack', ''])
def test_other_formats_are_refused_by_name_and_not_opened(tmp_path, ending):
    path = tmp_path / f'w{ending}'
    path.write_bytes(pickle.dumps(Trap(tmp_path / 'sprung')))
    pattern = ending.replace('.', r'\.') or 'a file without an ending'
    with pytest.raises(UserError, match=rf'{pattern} is not read; want .safetensors, .npz, or .pt, .*convert'):
        files.read(path)
    assert not (tmp_path / 'sprung').exists()


def test_npz_files_are_read_without_running_anything(tmp_path):
    np.savez(tmp_path / 'w.npz', **ARRAYS)
    arrays, config_json = files.read(tmp_path / 'w.npz')
    assert arrays.keys() == ARRAYS.keys() and config_json == {}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)

    refusal = 'w.npz: is damaged, or no .npz file of plain arrays$'
    (tmp_path / 'w.npz').write_bytes(pickle.dumps(Trap(tmp_path / 'sprung')))
    with pytest.raises(UserError, match=refusal):
        files.read(tmp_path / 'w.npz')
    np.savez(tmp_path / 'w.npz', w=np.array([Trap(tmp_path / 'sprung')], object))
    with pytest.raises(UserError, match=refusal):
        files.read(tmp_path / 'w.npz')
    assert not (tmp_path / 'sprung').exists()


def test_without_pytorch_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / 'w.pt').write_bytes(b'')
    monkeypatch.setitem(sys.modules, 'torch', None)
    with pytest.raises(UserError, match=r"w.pt: PyTorch reads it; pip install 'vdm_jax\[convert\]'"):
        files.read(tmp_path / 'w.pt')


def test_torch_script_is_refused_by_its_name(tmp_path):
    with zipfile.ZipFile(tmp_path / 'w.pt', 'w') as archive:
        for member in ('w/data.pkl', 'w/constants.pkl', 'w/code/__torch__/network.py'):
            archive.writestr(member, b'')
    with pytest.raises(UserError, match=r'w.pt: is TorchScript, a program, and is not read; save .* state_dict\(\)$'):
        files.read(tmp_path / 'w.pt')


@pytest.fixture
def torch():
    return pytest.importorskip('torch', reason='PyTorch is not installed: make parity')


@pytest.fixture
def tensors(torch):
    return {name: torch.from_numpy(array) for name, array in ARRAYS.items()}


@pytest.mark.parity
@pytest.mark.parametrize('ending', files.TORCH)
def test_a_checkpoint_of_pytorch_is_read(tmp_path, torch, tensors, ending):
    (tmp_path / 'config.json').write_text('{"x": 1}')
    torch.save(tensors, tmp_path / f'w{ending}')
    arrays, about = files.read(tmp_path / f'w{ending}')
    same(arrays)
    assert about == {'x': 1}
    torch.save({name: torch.nn.Parameter(value.bfloat16()) for name, value in tensors.items()}, tmp_path / f'w{ending}')
    same(files.read(tmp_path / f'w{ending}')[0], {name: value.bfloat16().float() for name, value in tensors.items()})


@pytest.mark.parity
def test_of_a_trainers_checkpoint_the_average_is_taken_by_default(tmp_path, torch, tensors):
    """As train.py of DiT saves: with the optimizer's state, and its options as a Namespace."""
    half = {f'module.{name}': value / 2 for name, value in tensors.items()}
    optimizer = {'state': {0: {'step': torch.tensor(1)}}, 'param_groups': [{'lr': 1e-4}]}
    options = argparse.Namespace(model='DiT-XL/2', epochs=1)
    torch.save({'model': half, 'ema': tensors, 'opt': optimizer, 'args': options}, tmp_path / 'w.pt')
    same(files.read(tmp_path / 'w.pt')[0])
    same(files.read(tmp_path / 'w.pt', entry='model')[0], {name: array / 2 for name, array in ARRAYS.items()})
    with pytest.raises(UserError, match=r'--entry=args: .*w.pt has model, ema, opt'):
        files.read(tmp_path / 'w.pt', entry='args')
    with pytest.raises(UserError, match=r'no tensors in it; --entry takes one of model, ema, opt'):
        files.read(tmp_path / 'w.pt', entry='opt')
    torch.save(tensors, tmp_path / 'w.pt')
    with pytest.raises(UserError, match=r'--entry=ema: .*w.pt holds tensors alone'):
        files.read(tmp_path / 'w.pt', entry='ema')
    torch.save([1, 2], tmp_path / 'w.pt')
    with pytest.raises(UserError, match='holds a list, not tensors'):
        files.read(tmp_path / 'w.pt')


@pytest.mark.parity
@pytest.mark.parametrize('protocol', ['zip', 'old', 'plain pickle'])
def test_a_checkpoint_that_would_run_something_is_refused_and_not_run(tmp_path, torch, tensors, protocol):
    held = {'ema': tensors, 'trap': Trap(tmp_path / 'sprung')}
    if protocol == 'plain pickle':
        (tmp_path / 'w.pt').write_bytes(pickle.dumps(held['trap']))
    else:
        torch.save(held, tmp_path / 'w.pt', _use_new_zipfile_serialization=protocol == 'zip')
    # of PyTorch's message only the name, where there is one: for a plain pickle there is none
    why = r', or is damaged,' if protocol == 'plain pickle' else r' \(\w*io\.open\)'
    with pytest.raises(UserError, match=rf'w.pt: holds more than weights{why} and is not read$'):
        files.read(tmp_path / 'w.pt')
    assert not (tmp_path / 'sprung').exists()


@pytest.mark.parity
def test_what_torch_script_itself_writes_is_refused(tmp_path, torch):
    torch.jit.script(torch.nn.Linear(2, 3)).save(tmp_path / 'w.pt')
    with pytest.raises(UserError, match='is TorchScript'):
        files.read(tmp_path / 'w.pt')


@pytest.mark.parity
@pytest.mark.parametrize('data', [b'', b'PK\x03\x04', b'\x80\x02', b'anything at all'])
def test_a_damaged_checkpoint_is_refused(tmp_path, torch, data):
    (tmp_path / 'w.pt').write_bytes(data)
    with pytest.raises(UserError, match='w.pt: holds more than weights, or is damaged, and is not read$'):
        files.read(tmp_path / 'w.pt')
