"""Compilations, memory and profiler windows, in metrics and in the run directory."""

import dataclasses
import json
import sys
import types

import jax
import jax.numpy as jnp
import pytest

from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run
from vdm_jax.parallel import host
from vdm_jax.train.loop import train_run
from vdm_jax.train.profiling import ProfileConfig, ProfilerWindow, ResourceMonitor


def run_of(**profile):
    groups = {
        'data': {'source': 'synthetic', 'frames': 2, 'pixels': 8},
        'model': {'depth': 2, 'width': 16, 'heads': 2, 'patch': 4},
        'train': {'steps': 6, 'batch_size': 2, 'log_every': 1}, 'profile': profile, 'sampler': {'steps': 2},
    }  # fmt: skip
    return Run(experiment_from(groups), jax.devices()[:1])


def compilations(place):
    """{step: programs compiled so far} of a run."""
    lines = [json.loads(line) for line in (place / 'metrics.jsonl').read_text().splitlines()]
    return {line['step']: line['compilations'] for line in lines if 'loss' in line}


def test_compilations_are_counted():
    program = jax.jit(lambda x: x * 3 + 1)
    with ResourceMonitor() as watch:
        program(jnp.ones(3))
        once = watch.read()['compilations']
        program(jnp.zeros(3))
        assert watch.read()['compilations'] == once > 0
        program(jnp.ones(5))
        assert watch.read()['compilations'] > once
    jax.jit(lambda x: x - 5)(jnp.ones(3))
    assert watch.read()['memory_peak'] > 10**6


def test_a_run_compiles_in_its_first_step_and_never_again_and_traces_its_window(tmp_path):
    assert train_run(run_of(start=3, steps=2), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    entries = {line['step']: line for line in lines if 'loss' in line}
    assert sorted(entries) == [1, 2, 3, 4, 5, 6] and entries[1]['compilations'] > 0
    assert len({entries[step]['compilations'] for step in range(2, 7)}) == 1
    assert all(line['memory_peak'] > 10**6 for line in entries.values())
    (trace,) = (tmp_path / 'profile').rglob('*.xplane.pb')
    lines = [line for plane in jax.profiler.ProfileData.from_file(str(trace)).planes for line in plane.lines]
    marked = [dict(event.stats)['step_num'] for line in lines for event in line.events if event.name == 'train']
    assert marked == [3, 4], 'by these xprof tells the time of a step'


def test_nothing_compiles_after_the_first_validation_samples_and_save(tmp_path):
    often = {'validate_every': 3, 'validate_batches': 2, 'sample_every': 3, 'sample_count': 3, 'checkpoint_every': 3}
    run = run_of()
    run = Run(
        dataclasses.replace(run.experiment, train=dataclasses.replace(run.experiment.train, steps=9, **often)),
        jax.devices()[:1],
    )
    assert train_run(run, tmp_path)
    counts = compilations(tmp_path)
    assert counts[2] < counts[4] == counts[9]


def test_a_run_resumed_within_a_window_traces_the_rest_of_it(tmp_path, capsys):
    with ProfilerWindow(ProfileConfig(start=5, steps=3), tmp_path / 'left') as window:
        for step in range(7, 10):
            window.begin_step(step, None)
    assert list((tmp_path / 'left' / 'profile').rglob('*.xplane.pb')) and 'past' not in capsys.readouterr().err
    with ProfilerWindow(ProfileConfig(start=5, steps=3), tmp_path / 'past') as window:
        for step in range(8, 10):
            window.begin_step(step, None)
    assert not (tmp_path / 'past').exists() and capsys.readouterr().err.count('steps 5 to 7 are past') == 1


@pytest.mark.slow
def test_no_trace_by_default(tmp_path):
    assert train_run(run_of(), tmp_path) and not (tmp_path / 'profile').exists()


@pytest.mark.slow
def test_a_window_past_the_end_is_closed_with_the_run(tmp_path):
    assert train_run(run_of(start=5, steps=50), tmp_path)
    assert list((tmp_path / 'profile').rglob('*.xplane.pb'))


def test_a_window_without_steps_is_refused():
    with pytest.raises(UserError, match='config.profile'):
        ProfileConfig(5, 0)


@pytest.mark.parametrize('platform, unit', [('linux', 1024), ('darwin', 1)])
def test_memory_is_in_bytes_on_every_system(platform, unit, monkeypatch):
    monkeypatch.setattr(sys, 'platform', platform)
    monkeypatch.setattr(host.resource, 'getrusage', lambda _: types.SimpleNamespace(ru_maxrss=7))
    assert host.peak_memory() == 7 * unit
