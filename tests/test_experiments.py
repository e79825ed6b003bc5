"""Every experiment file builds: config and network (shapes only) are right, and its docstring tells how to run it."""

import ast
from pathlib import Path

import jax
import numpy as np
import pytest

from vdm_jax import media
from vdm_jax.build import read_experiment
from vdm_jax.errors import UserError
from vdm_jax.parallel import hardware
from vdm_jax.planning import ask, docs
from vdm_jax.run import Run

ROOT = Path(__file__).parents[1]
FILES = sorted(path for path in (ROOT / 'experiments').glob('*.py') if path.name != '__init__.py')
LARGER = ':size=S,pixels=64,frames=16'
LARGER_OF = {'moving_mnist': ':size=S,patch=4', 'latte': ':size=S'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('videos')
    media.write_gif(folder / 'a.gif', np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8))
    return folder


@pytest.mark.parametrize('arg', ['', 'larger'])
@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_builds(file, arg, folder):
    more = [f'--config.data.path={folder}'] if file.stem == 'video_folder' else []
    arg = arg and LARGER_OF.get(file.stem, LARGER)
    run = Run(read_experiment(f'{file}{arg}', more), jax.devices()[:1])
    params = run.abstract.params
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert count > (3e7 if arg else 1e5)
    assert run.latent_shape == ((16, 64, 64, 3) if arg == LARGER else run.source.shape)


def test_moving_mnist_has_its_stochastic_form():
    run = Run(read_experiment(f'{ROOT}/experiments/moving_mnist.py:stochastic'), jax.devices()[:1])
    assert run.latent_shape == (15, 64, 64, 1) and run.source.motion == 'stochastic'
    assert run.experiment.diffusion.context == run.experiment.evaluate.context == 5


@pytest.mark.parametrize('world', ['collide', 'shadow', 'pan'])
def test_the_bouncing_balls_have_harder_worlds(world):
    run = Run(read_experiment(f'{ROOT}/experiments/bouncing_balls.py:world={world}'), jax.devices()[:1])
    assert run.latent_shape == (16, 32, 32, 3) and run.protocol().world == f'_{world}'
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(run.abstract.params)) > 1e5
    assert run.held_out.split == 'test' and run.source[0]['video'].shape == run.source.shape


def test_a_world_that_is_not_there_is_named():
    with pytest.raises(UserError, match='world=tilt: want plain or one of collide, shadow, pan'):
        read_experiment(f'{ROOT}/experiments/bouncing_balls.py:world=tilt')


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_names_a_machine_and_has_its_row_in_the_plans(file, monkeypatch):
    """The row is that of the experiment as it is now: its machine and its batch."""
    monkeypatch.setattr(hardware.importlib.util, 'find_spec', lambda name: name)  # nothing is compiled
    name, assignments = ask.target_of(str(file))
    hardware.read_topology(name)
    batch = read_experiment(str(file), assignments).train.batch_size
    text = (ROOT / 'docs' / 'plans.md').read_text()
    rows = text[text.index(docs.BEGIN) : text.index(docs.END)].splitlines()
    assert sum(row.startswith(f'| `{file.name}` | {name} | {batch} | ') for row in rows) == 1


@pytest.mark.parametrize('dataset', ['ucf101', 'sky', 'taichi', 'ffs'])
def test_latte_sees_sixteen_frames_of_latents_and_the_data_sets_classes(dataset):
    run = Run(read_experiment(f'{ROOT}/experiments/latte.py:dataset={dataset}'), jax.devices()[:1])
    assert run.latent_shape == (16, 32, 32, 4) == run.source[0]['video'].shape
    assert run.model.classes == (101 if dataset == 'ucf101' else 0)
    assert (run.experiment.guidance.scale == 1) == (run.model.classes == 0)
    run.check()


@pytest.mark.parametrize(('size', 'millions'), [('S', 32.48), ('XL', 673.68)])
def test_latte_has_as_many_parameters_as_published(size, millions):
    run = Run(read_experiment(f'{ROOT}/experiments/latte.py:size={size},dataset=ffs'), jax.devices()[:1])
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(run.abstract.params))
    assert count / 1e6 == pytest.approx(millions, rel=0.005)


@pytest.mark.parametrize('arg', ['dataset=kinetics', 'size=tiny'])
def test_latte_names_what_it_has(arg):
    with pytest.raises(UserError, match=arg.partition('=')[0]):
        read_experiment(f'{ROOT}/experiments/latte.py:{arg}')


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_docstring_says_how(file):
    text = ast.get_docstring(ast.parse(file.read_text()))
    assert all(word in text for word in (f'experiments/{file.name}', 'Hardware', 'Status')), text
