"""What a metrics.jsonl says, whoever wrote it."""

import json

import numpy as np
from etils import epath

from tests.report.small_runs import line_of, write_metrics
from vdm_jax.report.metrics import read_metrics


def read(directory):
    return read_metrics(epath.Path(directory) / 'metrics.jsonl')


def test_curves_and_rates(tmp_path):
    write_metrics(tmp_path, [line_of(10), {'step': 10, 'validation_loss': 0.5}, line_of(20)])
    metrics = read(tmp_path)
    assert metrics.curves['loss'].steps.tolist() == [10, 20] and metrics.curves['loss'].values.tolist() == [1, 0.5]
    assert metrics.curves['steps_per_second'].values.tolist() == [5, 5]
    assert metrics.curves['waiting_share'].values.tolist() == [25, 25]
    assert metrics.last_step == 20 and not metrics.restarts and not metrics.broken_lines


def test_figures_of_scores_that_could_not_be_measured_are_no_events(tmp_path):
    write_metrics(tmp_path, [{'step': 10, 'evaluate/arcs': None, 'not_finite': {'evaluate/arcs': 'nan'}}])
    metrics = read(tmp_path)
    assert metrics.not_finite_count == 0 and metrics.not_finite == []
    assert np.isnan(metrics.curves['evaluate/arcs'].values).tolist() == [True]


def test_numbers_that_are_not_finite_are_events_and_points(tmp_path):
    lines = [
        line_of(10, loss=None, not_finite={'loss': 'nan'}),
        line_of(20, grad_norm=None, not_finite={'grad_norm': 'inf'}),
    ]
    write_metrics(tmp_path, lines)
    metrics = read(tmp_path)
    assert metrics.not_finite == [(10, 'loss', 'nan'), (20, 'grad_norm', 'inf')] and metrics.not_finite_count == 2
    assert np.isnan(metrics.curves['loss'].values[0]) and metrics.curves['grad_norm'].values[1] == np.inf


def test_a_run_that_went_on_says_where(tmp_path):
    """Seconds after it count from there, and not from the last line before."""
    write_metrics(tmp_path, [line_of(10), {'step': 15, 'resumed': '2026-11-30T10:00:00+00:00'}, line_of(20)])
    metrics = read(tmp_path)
    assert [(each.step, each.is_inferred) for each in metrics.restarts] == [(15, False)]
    assert metrics.curves['steps_per_second'].values.tolist() == [5, 2.5]


def test_restarts_of_older_runs_are_concluded_from_their_processes(tmp_path):
    write_metrics(tmp_path, [line_of(10), line_of(20), line_of(30, memory_peak=2**29), line_of(40, memory_peak=2**29)])
    metrics = read(tmp_path)
    assert [(each.step, each.is_inferred) for each in metrics.restarts] == [(20, True)]
    assert metrics.curves['steps_per_second'].steps.tolist() == [10, 20, 40]


def test_files_and_samples_that_are_bad_are_named(tmp_path):
    lines = [{'step': 0, 'data/broken': ['a.mp4', 'b.mp4']}, {'step': 5, 'data/broken': ['b.mp4', 'c.mp4']}]
    write_metrics(tmp_path, [*lines, {'step': 9, 'samples_not_finite': [0, 3]}, {'step': 9, 'schedule': 'stretched'}])
    metrics = read(tmp_path)
    assert metrics.problem_files == {'broken': ['a.mp4', 'b.mp4', 'c.mp4']}
    assert metrics.bad_samples == [(9, 2)] and metrics.notes == [(9, 'stretched')]


def test_damage_is_counted_and_the_rest_is_read(tmp_path):
    bad = [
        b'{"step": 3, "loss"', b'\0\0\0', b'\xff{}', b'[1]', b'{"loss": 1}', b'{"step": -1}', b'{"step": 1.5}',
        b'{"step": true}', b'{"step": 1e999}', b'[' * 100_000, b'{"step": 1, "x": "' + b'y' * 2**21 + b'"}',
    ]  # fmt: skip
    good = [json.dumps(line_of(10)).encode(), b'', json.dumps(line_of(20)).encode()]
    (tmp_path / 'metrics.jsonl').write_bytes(b'\n'.join([good[0], *bad, *good[1:], b'{"step": 30, "lo']))
    metrics = read(tmp_path)
    assert metrics.curves['loss'].steps.tolist() == [10, 20]
    assert metrics.broken_lines == [*range(2, 2 + len(bad))] and metrics.has_torn_end


def test_odd_values_of_good_lines_do_no_harm(tmp_path):
    huge = 10**400
    odd = {
        'step': 10,
        'seconds': huge,
        'loss': huge,
        'x': [1],
        'y': {'z': 1},
        'flag': True,
        'data/broken': 5,
        'not_finite': [1],
    }
    write_metrics(tmp_path, [odd, {'step': 20, 'not_finite': {'loss': 'maybe', 'w': 'nan'}, 'resumed': None}])
    metrics = read(tmp_path)
    assert metrics.curves['loss'].values.tolist() == [np.inf] and set(metrics.curves) == {
        'loss',
        'seconds',
        'data/broken',
        'w',
    }


def test_steps_out_of_order_are_sorted(tmp_path):
    write_metrics(tmp_path, [line_of(20), line_of(10), line_of(30)])
    assert read(tmp_path).curves['loss'].steps.tolist() == [10, 20, 30]


def test_an_empty_file_is_an_empty_run(tmp_path):
    (tmp_path / 'metrics.jsonl').write_bytes(b'')
    assert read(tmp_path).last_step is None and not read(tmp_path).curves
