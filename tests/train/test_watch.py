"""Compilations, memory and profiler windows, in metrics and in the run directory."""

import json

import jax
import jax.numpy as jnp
import pytest

from vdm_jax.build import experiment_from
from vdm_jax.errors import UserError
from vdm_jax.run import Run
from vdm_jax.train.loop import train
from vdm_jax.train.watch import ProfileConfig, Watch


def run_of(**profile):
    groups = {
        'data': {'source': 'synthetic', 'frames': 2, 'pixels': 8},
        'model': {'depth': 2, 'width': 16, 'heads': 2, 'patch': 4},
        'train': {'steps': 6, 'batch_size': 2, 'log_every': 1}, 'profile': profile, 'sampler': {'steps': 2},
    }  # fmt: skip
    return Run(experiment_from(groups), jax.devices()[:1])


def test_compilations_are_counted():
    program = jax.jit(lambda x: x * 3 + 1)
    with Watch() as watch:
        program(jnp.ones(3))
        once = watch.readings()['compilations']
        program(jnp.zeros(3))
        assert watch.readings()['compilations'] == once > 0
        program(jnp.ones(5))
        assert watch.readings()['compilations'] > once
    jax.jit(lambda x: x - 5)(jnp.ones(3))
    assert watch.readings()['memory_peak'] > 10**6


def test_a_run_compiles_in_its_first_step_and_never_again_and_traces_its_window(tmp_path):
    assert train(run_of(start=3, steps=2), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    found = {line['step']: line for line in lines if 'loss' in line}
    assert sorted(found) == [1, 2, 3, 4, 5, 6] and found[1]['compilations'] > 0
    assert len({found[step]['compilations'] for step in range(2, 7)}) == 1
    assert all(line['memory_peak'] > 10**6 for line in found.values())
    (trace,) = (tmp_path / 'profile').rglob('*.xplane.pb')
    assert trace.stat().st_size > 1000


@pytest.mark.slow
def test_no_window_unless_asked(tmp_path):
    assert train(run_of(), tmp_path) and not (tmp_path / 'profile').exists()


@pytest.mark.slow
def test_a_window_past_the_end_is_closed_with_the_run(tmp_path):
    assert train(run_of(start=5, steps=50), tmp_path)
    assert list((tmp_path / 'profile').rglob('*.xplane.pb'))


def test_a_window_without_steps_is_refused():
    with pytest.raises(UserError, match='config.profile'):
        ProfileConfig(5, 0)
