"""Official code to compare with, imported from checkouts that environment variables name; none of it is in this
repository."""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

CHECKOUTS = {  # variable: repository, and the commit that was compared with
    'DIT_CHECKOUT': ('facebookresearch/DiT', 'ed81ce2229091fd4ecc9a223645f95cf379d582b'),
    'SIT_CHECKOUT': ('willisma/SiT', '947f95bd3a510e9af441d38c1e9f72e0eee873c5'),
    'LATTE_CHECKOUT': ('Vchitect/Latte', 'b27c24a17487e3c33ae4e92364521303d0f14845'),
}


def checkout(variable: str) -> Path:
    """The checkout that the variable names; the test is skipped where it is unset."""
    repository, commit = CHECKOUTS[variable]
    if not os.environ.get(variable):
        pytest.skip(
            f'{variable} is not set: git clone https://github.com/{repository}, at {commit[:7]}, and name it there'
        )
    return Path(os.environ[variable])


def commit_of(path: Path) -> str:
    """The commit of a checkout, or 'unknown'."""
    process = subprocess.run(['git', '-C', path, 'rev-parse', 'HEAD'], capture_output=True, text=True, check=False)
    return process.stdout.strip() or 'unknown'


def module(variable: str, file: str) -> types.ModuleType:
    """One file of a checkout as a module."""
    complete_timm()
    return _load(checkout(variable) / file, f'{variable.lower()}_{Path(file).stem}')


def package(variable: str, folder: str) -> types.ModuleType:
    """A folder of a checkout as a package, under a name of its own."""
    name = f'{variable.lower()}_{folder}'
    if name in sys.modules:
        return sys.modules[name]
    path = checkout(variable) / folder
    spec = importlib.util.spec_from_file_location(name, path / '__init__.py', submodule_search_locations=[str(path)])
    new_module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(new_module)
    return new_module


def _load(path: Path, name: str) -> types.ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def complete_timm() -> None:
    """Imports timm, without torchvision where that is missing: timm wants it for transforms and detection that nothing
    here uses, and each of its builds goes with only one build of torch."""
    if 'timm' in sys.modules:
        return
    try:
        import torchvision.ops  # noqa: F401
    except (ImportError, RuntimeError):
        _forget('torchvision')
        sys.meta_path.insert(0, empty := _Empty())
        import timm.models.vision_transformer  # noqa: F401

        sys.meta_path.remove(empty)
        _forget('torchvision')


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name.split('.')[0] == package]:
        del sys.modules[name]


class _Nothing(type):
    def __getattr__(cls, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return _Nothing(name, (), {})


class _Module(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return _Nothing(name, (), {})


class _Empty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules called torchvision… in which every name is an empty class."""

    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'torchvision':
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        module.__path__ = []
