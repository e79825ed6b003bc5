"""The weights that are shipped: made by the experiment file beside them, small, and fit for the network they name."""

from pathlib import Path

import jax

from vdm_jax.cli import restore
from vdm_jax.config.schema import find_differences
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.pretrained import weights
from vdm_jax.train.workdir import FREE_KEYS

ROOT = Path(__file__).parents[1]
STARTER = ROOT / 'experiments' / 'bouncing_balls.safetensors'


def test_the_starter_weights_are_those_of_the_experiment_file():
    assert STARTER.stat().st_size <= 5_000_000
    about = weights.read_provenance(STARTER)
    resolved = Run(read_experiment(str(ROOT / 'experiments' / 'bouncing_balls.py'))).resolved
    assert {
        key
        for key in find_differences(restore.make_run(about['config'], []).resolved, resolved)
        if not key.startswith(FREE_KEYS)
    } == set()
    run = restore.make_run(about['config'], [])
    with jax.set_mesh(run.mesh):
        params = weights.load(STARTER, run.programs.abstract_state.params)
    assert jax.tree.structure(params) == jax.tree.structure(run.programs.abstract_state.params)
