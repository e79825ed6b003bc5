"""Which numbers of a run stand in which chart."""

import numpy as np

from tests.report.small_runs import line_of, write_run
from vdm_jax.report.charts import MOST_OTHERS, chart_runs
from vdm_jax.report.run import read_run


def charts_of(*directories):
    runs = [read_run(str(directory), directory.name, 10**6) for directory in directories]
    return {chart.title: chart for chart in chart_runs(runs)}


def labels_of(chart):
    return [line.label for line in chart.lines]


def test_what_training_and_validation_both_have_is_in_one_chart(tmp_path):
    lines = [
        line_of(50, kl=0.5, other=1.0),
        {'step': 50, 'validation_loss': 1.0, 'validation_kl': 2.0, 'validation_psnr': 30.0},
    ]
    charts = charts_of(write_run(tmp_path / 'run', lines=lines))
    assert labels_of(charts['Loss']) == ['training', 'validation'] == labels_of(charts['kl'])
    assert labels_of(charts['psnr']) == ['validation'] and charts['psnr'].section == 'main'
    assert charts['other'].section == 'more'


def test_parts_of_validation_are_in_the_order_of_their_numbers(tmp_path):
    lines = [{'step': 50, **{f'validation_loss_t/{t}': 1.0 for t in ('1.0', '0.2', '0.1', '10')}}]
    charts = charts_of(write_run(tmp_path / 'run', lines=lines))
    assert labels_of(charts['Validation, by part']) == ['t/0.1', 't/0.2', 't/1.0', 't/10']


def test_every_number_is_in_a_chart_or_known_to_be_none(tmp_path):
    names = [f'thing{i}/part{j}' for i in range(3) for j in range(12)] + ['alone']
    charts = charts_of(write_run(tmp_path / 'run', lines=[line_of(50, **dict.fromkeys(names, 1.0))]))
    assert labels_of(charts['thing0']) == [f'part{j}' for j in range(12)] and 'alone' in charts
    many = dict.fromkeys((f'number{i}' for i in range(200)), 1.0)
    charts = charts_of(write_run(tmp_path / 'many', lines=[line_of(50, **many)]))
    assert sum(chart.section == 'more' for chart in charts.values()) == MOST_OTHERS


def test_throughput_is_in_videos_where_the_batch_is_known(tmp_path):
    directory = write_run(tmp_path / 'run')
    assert charts_of(directory)['Throughput'].lines[0].curve.values.tolist() == [40.0] * 4
    (directory / 'config.json').unlink()
    chart = charts_of(directory)['Throughput']
    assert chart.unit == 'steps/s' and chart.lines[0].curve.values.tolist() == [5.0] * 4


def test_restarts_are_in_every_chart_of_steps(tmp_path):
    charts = charts_of(write_run(tmp_path / 'a', lines=[{'step': 30, 'resumed': 'now'}]), write_run(tmp_path / 'b'))
    assert {tuple(chart.restarts) for chart in charts.values()} == {((0, 30),)}
    assert all(len({line.run for line in chart.lines}) == 2 for chart in charts.values())
    assert np.isclose(charts['Waiting for data'].lines[1].curve.values, 25).all()
