"""House rules of the code itself: which way imports run, no circles, no file over 400 lines."""

import functools
import sys

import pytest

from tests.imports import ROOT, imports

PACKAGE = ROOT / 'vdm_jax'
TESTS = ROOT / 'tests'
FILES = sorted(PACKAGE.rglob('*.py'))

# What the modules of a room may import of the package; a room may always import itself, and anyone may import what is
# in OPEN. Keys are the longest matching prefix of a module's name.
OPEN = ('errors', 'files', 'config.ranges')
MAY = {
    'config': (),
    'parallel': (),
    'media': (),
    'prng': (),
    'diffusion': (),
    'data': ('config.frame_size',),
    'nn': ('parallel',),
    'models': ('nn', 'parallel'),
    'codecs': ('nn', 'parallel'),
    'text': ('nn', 'parallel'),
    'pretrained': ('codecs', 'config.old_configs', 'diffusion', 'evals.features', 'models', 'nn', 'parallel'),
    'evals': ('codecs', 'data', 'diffusion.guidance', 'diffusion.samplers', 'nn.config', 'parallel'),
    'evals.features': ('codecs.lpips', 'nn', 'parallel'),
    'sampling.video_sampler': ('codecs', 'diffusion', 'models'),
    'sampling.generate': ('parallel', 'prng'),
    'sampling.conditioning': ('data',),
    'train': ('config', 'diffusion', 'models.flops', 'parallel', 'prng'),
    'train.step': ('parallel', 'prng'),
    'train.diffusion_loss': ('codecs', 'diffusion', 'models', 'parallel', 'prng'),
    'train.autoencoder_loss': ('codecs', 'diffusion', 'models', 'parallel', 'prng'),
    'train.loop': ('data', 'parallel'),
    'train.run_log': ('evals.score', 'media', 'parallel'),
    'train.evaluation': ('evals', 'parallel'),
    'train.validation': ('data', 'diffusion', 'sampling'),
    'experiment': (
        'codecs',
        'config',
        'data',
        'diffusion',
        'evals',
        'models',
        'nn',
        'parallel',
        'pretrained',
        'sampling',
        'text',
        'train',
    ),
    'report': ('evals.columns', 'evals.score', 'media', 'train.best_metric', 'train.manifest'),
    'benchmark': ('data', 'models', 'parallel', 'train'),
    'planning': ('config', 'experiment', 'parallel', 'sampling'),
    'cli': (
        'benchmark',
        'config',
        'data',
        'evals',
        'experiment',
        'media',
        'parallel',
        'planning',
        'pretrained',
        'report',
        'sampling',
        'train',
    ),
    '__main__': ('cli',),
    'errors': (),
    'files': (),
    '': (),
}
STRANGERS = {
    'diffusion': {'jax', 'numpy'},
    'data': {'numpy', 'grain', 'av', 'PIL', 'tensorflow_datasets', 'array_record', 'msgpack', 'pyarrow', 'safetensors'},
}
FORBIDDEN = {'torch', 'tensorflow'}
READS_TORCH = 'pretrained.files'  # PyTorch's own checkpoints, with the extra that brings it


def name_of(file):
    parts = file.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def allowed_imports(name):
    prefix = max((room for room in MAY if name == room or name.startswith(room + '.') or not room), key=len)
    return MAY[prefix]


def may_import(name, module):
    """Whether the package's module of that name may import another module."""
    room = name.split('.')[0]
    top = module.split('.')[0]
    forbidden = FORBIDDEN - {'torch'} if name == READS_TORCH else FORBIDDEN

    # What stands above the package, and relative imports, of which the first part is empty.
    if top in forbidden | {'experiments', 'data_pipelines', 'tests', ''}:
        return False
    if top != 'vdm_jax':
        return room not in STRANGERS or top in STRANGERS[room] | set(sys.stdlib_module_names)

    target = module.removeprefix('vdm_jax').removeprefix('.')
    if room == 'diffusion' and not target.startswith('diffusion') and target != 'config.ranges':
        return False
    if not name:  # the package itself: its public names, only for their types
        return True
    if target in ('', *OPEN) or target.split('.')[0] == room:
        return True
    return any(target == may or target.startswith(may + '.') for may in allowed_imports(name))


def breaches(file, may):
    """'file:line imports module', once, for each module that the file may not import."""
    path = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
    at_run_time = set(imports(file, types=False))
    breaches_found = []
    for module, line in imports(file):
        # What takes a run, or a part of one, has it in its types.
        is_type_of_composer = module.startswith('vdm_jax.experiment') and (module, line) not in at_run_time
        if not may(module) and not is_type_of_composer:
            breaches_found.append(f'{path}:{line} imports {module}')
    return list(dict.fromkeys(breaches_found))


def test_imports_run_downwards():
    all_breaches = []
    for file in FILES:
        all_breaches += breaches(file, functools.partial(may_import, name_of(file)))
    assert not all_breaches, '\n' + '\n'.join(all_breaches)


def open_to_tests(module):
    """Whether a file of the tests may: no test module, and none by a name that hides whether it is one."""
    parts = module.split('.')
    return parts[0] != '' and not (parts[0] == 'tests' and parts[-1].startswith('test_'))


def test_no_test_module_is_imported():
    """What tests share has a module of its own: a test module may change with what it tests, and is collected once."""
    all_breaches = []
    for file in sorted(TESTS.rglob('*.py')):
        all_breaches += breaches(file, open_to_tests)
    assert not all_breaches, '\n' + '\n'.join(all_breaches)


def test_no_circles():
    graph = {name_of(file): set() for file in FILES}
    for file in FILES:
        for module, _ in imports(file, types=False):
            target = module.removeprefix('vdm_jax').removeprefix('.')
            if module.startswith('vdm_jax') and target in graph and target != name_of(file):
                graph[name_of(file)].add(target)
    done = set()
    path = []

    def visit(name):
        assert name not in path, ' -> '.join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for target in graph[name]:
                visit(target)
            done.add(path.pop())

    for name in graph:
        visit(name)


def test_files_are_small():
    lines = {name_of(file): len(file.read_text().splitlines()) for file in FILES}
    too_long = [f'{name} has {count} lines' for name, count in lines.items() if count > 400]
    assert not too_long, '\n' + '\n'.join(too_long)


def test_only_checkpoint_imports_orbax():
    users = {name_of(file) for file in FILES for module, _ in imports(file) if module.split('.')[0] == 'orbax'}
    assert users == {'train.checkpoint'}


@pytest.mark.parametrize(
    'name, line, module',
    [
        ('diffusion.process', 'from vdm_jax.models.dit import VideoDiT', 'vdm_jax.models.dit'),
        ('diffusion.process', 'from vdm_jax.models import dit', 'vdm_jax.models.dit'),
        ('diffusion.process', 'import flax', 'flax'),
        ('data.order.order', 'import jax.numpy as jnp', 'jax.numpy'),
        ('data.order.order', 'from vdm_jax.train.loop import train_run', 'vdm_jax.train.loop'),
        ('train.loop', 'from vdm_jax.experiment import run', 'vdm_jax.experiment.run'),
        ('train.loop', 'import torch', 'torch'),
        ('pretrained.files', 'import tensorflow', 'tensorflow'),
        ('experiment.run', 'from experiments import bouncing_balls', 'experiments.bouncing_balls'),
        ('experiment.run', 'from data_pipelines.build.recipe import read_recipe', 'data_pipelines.build.recipe'),
        ('experiment.run', 'from tests.marks import rest_slow', 'tests.marks'),
        ('experiment.run', 'from .train import loop', '.train'),
        ('experiment.run', 'def later():\n    import torch', 'torch'),
    ],
)
def test_a_breach_is_named(name, line, module, tmp_path):
    file = tmp_path / 'bad.py'
    file.write_text(f'import numpy\nfrom vdm_jax.config.ranges import Ranged\n{line}\n')
    number = 3 + line.count('\n')
    assert breaches(file, functools.partial(may_import, name)) == [f'{file}:{number} imports {module}']


@pytest.mark.parametrize(
    'line, module',
    [
        ('from tests.test_layers import breaches', 'tests.test_layers'),
        ('from tests import test_layers', 'tests.test_layers'),
        ('import tests.train.test_loop as loop', 'tests.train.test_loop'),
        ('from .test_layers import breaches', '.test_layers'),
    ],
)
def test_an_import_of_a_test_module_is_named(line, module, tmp_path):
    file = tmp_path / 'test_bad.py'
    file.write_text(f'from tests.marks import rest_slow\nimport pytest\n{line}\n')
    assert breaches(file, open_to_tests) == [f'{file}:3 imports {module}']


def test_imports_for_types_run_downwards_and_may_be_circular(tmp_path):
    file = tmp_path / 'blocks.py'
    file.write_text(
        'from typing import TYPE_CHECKING\n'
        'if TYPE_CHECKING:\n    from vdm_jax.models.dit import VideoDiTConfig\n'
        'else:\n    from vdm_jax.nn.mlp import MLP\n'
        'if True:\n    import vdm_jax.media\n'
    )
    run = ['typing', 'vdm_jax.nn.mlp', 'vdm_jax.media']
    assert sorted(module for module, _ in imports(file)) == sorted(['vdm_jax.models.dit', *run])
    assert sorted(module for module, _ in imports(file, types=False)) == sorted(run)
