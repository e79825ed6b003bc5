"""Pickles of arrays are read without numpy or anything else being called by them; all else is refused by name."""

import hashlib
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest

from tests.pretrained.small_packages import NAMES, TREE, dump_tree
from vdm_jax.errors import UserError
from vdm_jax.pretrained import numpy_pickle


def load(content):
    return numpy_pickle.load(content, hashlib.sha256(content).hexdigest(), 'FILE')


def refusal(content):
    with pytest.raises(UserError, match='^FILE: ') as caught:
        load(content)
    message = str(caught.value)
    assert 'nothing of it has run' in message and '\n' not in message
    return message


@pytest.mark.parametrize('protocol', [3, 4])
def test_nested_dicts_become_joined_names(protocol):
    arrays = load(dump_tree(protocol=protocol))
    assert arrays.keys() == NAMES
    np.testing.assert_array_equal(arrays['params/Conv_0/kernel'], TREE['params']['Conv_0']['kernel'])
    np.testing.assert_array_equal(arrays['batch_stats/Branch_0/Conv_0/mean'], [1.5, -2])
    assert arrays['batch_stats/Branch_0/Conv_0/mean'].dtype == np.float64  # in this machine's order of bytes
    assert arrays['params/Conv_0/bias'].shape == (0,) and arrays['batch_stats/Branch_0/Conv_0/count'] == 7


@pytest.mark.parametrize('dtype', ['?', 'i1', 'u2', '<i4', '>i8', 'f2', '>f4', 'f8'])
@pytest.mark.parametrize('order', ['C', 'F'])
def test_each_array_comes_back(dtype, order):
    array = np.asarray(np.arange(24).reshape(2, 3, 4) % 3, dtype, order=order)
    loaded = load(dump_tree({'a': array}))['a']
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype.newbyteorder('=')


def test_names_of_both_numpys_are_known():
    old = dump_tree(protocol=3).replace(b'cnumpy._core.multiarray\n', b'cnumpy.core.multiarray\n')
    assert load(old).keys() == load(dump_tree(protocol=3)).keys() == NAMES


def test_the_hash_comes_first():
    with pytest.raises(UserError, match='FILE: is not the file that is known: its sha256 is [0-9a-f]{64}, want 0{64}'):
        numpy_pickle.load(b'cos\nsystem\n', '0' * 64, 'FILE')
    with pytest.raises(UserError, match=r'its sha256 is [0-9a-f]{8}, want 00000000'):
        numpy_pickle.load(dump_tree(), '0' * 8, 'FILE')


class Calls:
    """Calls something when it is unpickled."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Subclass(np.ndarray):
    pass


@pytest.mark.parametrize(
    'value, name',
    [
        (Calls(os.system, 'touch TRACE'), 'posix.system'),
        (Calls(eval, '1'), 'builtins.eval'),
        (Calls(np.load, 'TRACE'), 'numpy.load'),
        (np.float32(1), 'numpy'),
        (np.zeros(2).view(Subclass), 'test_numpy_pickle.Subclass'),
        (Calls(np.dtype, 'O'), "dtype 'O'"),
        (np.array(['a', None], object), 'EMPTY_LIST'),
        (np.zeros(2, [('a', 'f4')]), "dtype 'V4'"),
        (np.array(['text']), "dtype 'U4'"),
        (np.zeros(2, 'c8'), "dtype 'c8'"),
        (np.zeros(2, 'M8[s]'), "dtype 'M8'"),
        (np.dtype('f4'), 'a Dtype at a'),
        ('text', 'a str at a'),
        (1.5, 'BINFLOAT'),
        ([np.zeros(2)], 'EMPTY_LIST'),
        ({1: np.zeros(2)}, 'the key 1'),
        ({'': np.zeros(2)}, "the key ''"),
        (3, 'a int at a'),
    ],
)
def test_anything_else_is_refused_by_name(value, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert name in refusal(pickle.dumps({'a': value}, 4))
    assert not list(tmp_path.iterdir())


def test_arrays_of_one_name_are_refused():
    assert 'several times (a/b' in refusal(dump_tree({'a': {'b': np.ones(3)}, 'a/b': np.ones(3)}))


def test_dicts_without_end_are_refused():
    values = {}
    values['a'] = values
    assert 'more than 32 deep' in refusal(dump_tree(values))
    shared = {'x': np.ones(100)}
    for _ in range(20):  # a million arrays in a small file
        shared = {'a': shared, 'b': shared}
    assert 'several times' in refusal(dump_tree(shared))


def text(value):
    return b'X' + struct.pack('<I', len(value)) + value.encode()


RECONSTRUCT = b'cnumpy._core.multiarray\n_reconstruct\n'
NDARRAY = b'cnumpy\nndarray\n'
DTYPE = b'cnumpy\ndtype\n'
BYTES_8 = b'C\x08' + bytes(8)
EMPTY_ARRAY = RECONSTRUCT + NDARRAY + b'K\x00\x85C\x01b\x87R'  # _reconstruct(ndarray, (0,), b'b')
F4 = DTYPE + text('f4') + b'\x85R'  # dtype('f4')


def state(shape=b'K\x02\x85', dtype=F4, data=BYTES_8):
    """The state of an array: (1, shape, dtype, False, data)."""
    return b'(K\x01' + shape + dtype + b'\x89' + data + b't'


def dtype_state(order, size=-1, flags=0):
    """The instructions that set the state of a dtype: (3, order, None, None, None, size, alignment, flags)."""
    return b'(K\x03' + text(order) + b'NNNJ' + struct.pack('<i', size) + b'J\xff\xff\xff\xffK' + bytes([flags]) + b'tb'


def in_dict(value):
    return b'\x80\x03}' + text('a') + value + b's.'


def test_the_hand_made_pickles_below_are_else_good():
    for dtype in (F4, F4 + dtype_state('<')):
        content = in_dict(EMPTY_ARRAY + state(dtype=dtype) + b'b')
        np.testing.assert_array_equal(load(content)['a'], np.zeros(2, np.float32))


@pytest.mark.parametrize(
    'value, what',
    [
        # An object dtype by a state of its own: to numpy the bytes would be pointers.
        (EMPTY_ARRAY + state(dtype=DTYPE + text('O') + b'\x85R') + b'b', "dtype 'O'"),
        (EMPTY_ARRAY + state(dtype=F4 + dtype_state('<', size=2**31 - 1, flags=0x3F)) + b'b', 'dtype of its own'),
        (EMPTY_ARRAY + state(dtype=F4 + dtype_state('!')) + b'b', 'dtype of its own'),
        (EMPTY_ARRAY + state(dtype=text('f4')) + b'b', 'not of the bytes of numbers'),
        (EMPTY_ARRAY + state(data=b'}') + b'b', 'an array of dict'),
        (EMPTY_ARRAY + state(shape=b'J\xff\xff\xff\x7f\x85') + b'b', 'with 8 bytes'),
        (EMPTY_ARRAY + state(shape=b'J\xfe\xff\xff\xff\x85') + b'b', 'shape (-2,)'),
        (EMPTY_ARRAY + state(shape=text('ab')) + b'b', "shape 'ab'"),
        (EMPTY_ARRAY + state(shape=b'(' + b'K\x01' * 40 + b't') + b'b', 'shape (1, 1'),
        (EMPTY_ARRAY, 'an empty array'),
        (EMPTY_ARRAY + b'}b', 'state of its own'),
        (RECONSTRUCT + DTYPE + b'K\x00\x85C\x01b\x87R', 'makes an array of'),
        (NDARRAY + b'}b', 'changes numpy.ndarray'),
        (DTYPE + b'}b', 'changes numpy.dtype'),
        (RECONSTRUCT + b'N}\x86b', 'changes numpy.core.multiarray._reconstruct'),
        (NDARRAY + b')\x81', 'NEWOBJ'),
        (NDARRAY + b')R', 'no pickle of arrays'),
        (b'\x82\x01', 'EXT1'),
        (b'Pouter\n', 'PERSID'),
        (b'K\x01Q', 'BINPERSID'),
        (b'(iposix\nsystem\n', 'INST'),
        (b'(cposix\nsystem\no', 'OBJ'),
        (b'\x97', 'NEXT_BUFFER'),
        (b'Nr\xff\xff\xff\x7f', 'at place 2,147,483,647'),
        (b'0' * 9, 'no pickle of arrays'),
    ],
)  # fmt: skip
def test_tricks_of_a_pickles_machine_are_refused(value, what):
    assert what in refusal(in_dict(value))


def test_a_name_on_the_stack_is_refused_as_well():
    assert 'calls os.system' in refusal(in_dict(text('os') + text('system') + b'\x93' + text('true') + b'\x85R'))


def test_a_pickle_that_is_cut_short_or_none_at_all():
    content = dump_tree()
    for end in range(0, len(content) - 1, 7):
        refusal(content[:end])
    for other in (b'', b'PK\x03\x04', b'text', bytes(100), b'\x80\x04N.', b'\x80\xff}.'):
        refusal(other)


def test_every_flipped_bit_gives_arrays_or_a_refusal():
    """Whatever a damaged pickle says, it ends in one of the two."""
    content = dump_tree({'a': np.ones(2, np.float32), 'b': {'c': np.zeros((1, 2), np.int8)}})
    opcodes = {position for _, _, position in pickletools.genops(content)}
    for position in range(len(content)):
        for bit in range(8) if position in opcodes else (0, 7):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            try:
                arrays = load(bytes(damaged))
            except UserError:
                continue
            assert all(type(array) is np.ndarray and array.dtype.kind in 'fiub' for array in arrays.values())
