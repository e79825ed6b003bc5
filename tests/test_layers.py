"""House rules of the code itself: which way imports run, no circles, no file over 400 lines."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'vdm_jax'
FILES = sorted(PACKAGE.rglob('*.py'))

# What the modules of a room may import of the package; a room may always import itself, and anyone may import errors,
# files and ranges. Keys are the longest matching prefix of a module's name.
MAY = {
    'diffusion': (),
    'data': ('frame_size',),
    'parallel': (),
    'config': ('frame_size', 'old_configs', 'packaged', 'values'),
    'old_configs': (),
    'packaged': (),
    'values': (),
    'media': (),
    'nn': ('parallel',),
    'models': ('nn', 'parallel'),
    'codecs': ('nn', 'parallel'),
    'text': ('nn', 'parallel'),
    'evals': ('data', 'nn.config', 'parallel'),
    'generate': ('models', 'diffusion', 'parallel', 'codecs', 'streams'),
    'pretrained': ('models', 'codecs', 'diffusion', 'nn', 'old_configs', 'parallel'),
    'train': ('config', 'diffusion', 'parallel', 'models.flops', 'old_configs', 'streams'),
    'train.step': ('parallel', 'streams'),
    'train.denoise': ('diffusion', 'parallel', 'codecs', 'models', 'streams'),
    'train.reconstruct': ('diffusion', 'parallel', 'codecs', 'models', 'streams'),
    'given': ('data',),
    'train.loop': ('data', 'diffusion', 'evals', 'generate', 'given', 'media', 'parallel'),
    'convert': ('build', 'codecs', 'config', 'data', 'diffusion', 'pretrained', 'run', 'train'),
    'benchmark': ('data', 'models', 'parallel', 'train'),
    'checks': ('data', 'given', 'models', 'nn', 'parallel', 'train.best'),
    'build': ('codecs', 'config', 'data', 'diffusion', 'evals', 'models', 'nn.config', 'parallel', 'text', 'train'),
    'asking': ('generate',),
    'sample_files': ('media',),
    'frozen': ('build', 'parallel', 'pretrained', 'train'),
    'run': (
        'build',
        'checks',
        'codecs',
        'config',
        'nn.config',
        'data',
        'frozen',
        'evals',
        'generate',
        'models',
        'parallel',
        'train',
    ),
    'pages': (),
    'places': ('train',),
    'registry': ('packaged', 'pages'),
    'planning': ('build', 'checks', 'config', 'given', 'packaged', 'pages', 'parallel', 'registry', 'run'),
    'cli': (
        'asking',
        'checks',
        'convert',
        'benchmark',
        'build',
        'config',
        'data.source',
        'evals',
        'generate',
        'given',
        'media',
        'origin',
        'packaged',
        'pages',
        'parallel',
        'places',
        'planning',
        'pretrained',
        'registry',
        'run',
        'sample_files',
        'train',
        'versions',
        'warm_start',
    ),
    'warm_start': ('config', 'convert', 'origin', 'parallel', 'pretrained', 'train'),
    'origin': ('build', 'checks', 'config', 'data', 'frame_size', 'parallel', 'pretrained', 'run', 'train'),
    '__main__': ('cli',),
    'errors': (),
    'ranges': (),
    'files': (),
    'frame_size': (),
    'streams': (),
    'versions': (),
    '': (),
}
STRANGERS = {
    'diffusion': {'jax', 'numpy'},
    'data': {'numpy', 'grain', 'av', 'PIL', 'tensorflow_datasets', 'array_record', 'msgpack', 'pyarrow'},
}
FORBIDDEN = {'torch', 'tensorflow'}
READS_TORCH = 'pretrained.files'  # PyTorch's own checkpoints, with the extra that brings it


def name_of(file):
    parts = file.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def imports(file):
    """Every module a file imports, wherever in it: ('vdm_jax.nn.mlp', line)."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{file}:{node.lineno}: relative import'
            for alias in node.names:
                deeper = f'{node.module}.{alias.name}'
                path = ROOT / Path(*deeper.split('.'))
                is_module = path.with_suffix('.py').exists() or path.is_dir()
                yield deeper if is_module else node.module, node.lineno


def allowed(name):
    prefix = max((room for room in MAY if name == room or name.startswith(room + '.') or not room), key=len)
    return MAY[prefix]


@pytest.mark.parametrize('file', FILES, ids=name_of)
def test_imports_run_downwards(file):
    name = name_of(file)
    room = name.split('.')[0]
    for module, line in imports(file):
        where = f'{file.relative_to(ROOT)}:{line} imports {module}'
        top = module.split('.')[0]
        forbidden = FORBIDDEN - {'torch'} if name == READS_TORCH else FORBIDDEN
        assert top not in forbidden | {'experiments', 'data_pipelines', 'tests'}, where
        if top != 'vdm_jax':
            if room in STRANGERS:
                import sys

                assert top in STRANGERS[room] | set(sys.stdlib_module_names), where
            continue
        target = module.removeprefix('vdm_jax').removeprefix('.')
        if room == 'diffusion':
            assert target.startswith('diffusion') or target == 'ranges', where
        if target in ('', 'errors', 'files', 'ranges') or target.split('.')[0] == room:
            continue
        assert any(target == may or target.startswith(may + '.') for may in allowed(name)), where


def test_no_circles():
    graph = {name_of(file): set() for file in FILES}
    for file in FILES:
        for module, _ in imports(file):
            target = module.removeprefix('vdm_jax').removeprefix('.')
            if module.startswith('vdm_jax') and target in graph and target != name_of(file):
                graph[name_of(file)].add(target)
    done, path = set(), []

    def visit(name):
        assert name not in path, ' -> '.join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for target in graph[name]:
                visit(target)
            done.add(path.pop())

    for name in graph:
        visit(name)


@pytest.mark.parametrize('file', FILES, ids=name_of)
def test_files_are_small(file):
    assert len(file.read_text().splitlines()) <= 400


def test_only_checkpoint_knows_orbax():
    users = {name_of(file) for file in FILES for module, _ in imports(file) if module.split('.')[0] == 'orbax'}
    assert users == {'train.checkpoint'}


def test_the_rule_catches_a_breach(tmp_path):
    bad = tmp_path / 'bad.py'
    bad.write_text('from vdm_jax.models.dit import VideoDiT\n')
    assert [module for module, _ in imports(bad)] == ['vdm_jax.models.dit']
    assert not any('models.dit'.startswith(may) for may in allowed('diffusion.process'))
