"""Every experiment file builds: config and network (shapes only) are right, and its docstring tells how to run it."""

import ast
from pathlib import Path

import jax
import numpy as np
import pytest

from vdm_jax import media
from vdm_jax.build import Run, read_experiment
from vdm_jax.errors import UserError

ROOT = Path(__file__).parents[1]
FILES = sorted(path for path in (ROOT / 'experiments').glob('*.py') if path.name != '__init__.py')
LARGER = ':size=S,pixels=64,frames=16'
LARGER_OF = {'moving_mnist': ':size=S,patch=4'}


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
def test_docstring_says_how(file):
    text = ast.get_docstring(ast.parse(file.read_text()))
    assert all(word in text for word in (f'experiments/{file.name}', 'Hardware', 'Status')), text
