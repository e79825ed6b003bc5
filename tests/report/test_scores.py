"""Scores of one protocol stand together, and of two never in one column."""

import json

from etils import epath

from tests.report.small_runs import make_score, write_run, write_score
from vdm_jax.report.charts import chart_frames, chart_scores
from vdm_jax.report.scores import ScoreFile, curves_over_frames, group_scores, read_scores
from vdm_jax.report.tables import tabulate_group


def files_of(*scores, run='run'):
    return [ScoreFile(run, f'{i}.json', score) for i, score in enumerate(scores)]


def test_scores_are_grouped_by_protocol_and_its_parameters():
    other = {'name': 'fvd', 'resize': 'half_pixel'}
    scores = files_of(make_score(step=40), make_score(step=20), make_score(protocol=other), make_score('kvd8_4f'))
    groups = group_scores([*scores, *files_of(make_score(split='train'))])
    assert [(group.name, [file.step for file in group.scores]) for group in groups] == [
        ('fvd8_4f', [20, 40]), ('fvd8_4f', [40]), ('fvd8_4f', [40]), ('kvd8_4f', [40]),
    ]  # fmt: skip
    assert len({json.dumps(group.parameters) for group in groups if group.name == 'fvd8_4f'}) == 3


def test_another_number_of_clips_is_another_protocol_and_another_batch_is_not():
    configs = [{'evaluate': {'samples': 8, 'batch_size': 1}}, {'evaluate': {'samples': 8, 'batch_size': 2}}]
    assert len(group_scores(files_of(*(make_score(config=config) for config in configs)))) == 1
    configs[1]['evaluate']['samples'] = 9
    assert len(group_scores(files_of(*(make_score(config=config) for config in configs)))) == 2


def test_scores_of_other_clips_or_data_are_apart_and_weights_need_not_know_them():
    """A file of weights says nothing of the clips; where only one set of clips is spoken of, it is that one."""
    known = [make_score(clips='abc'), make_score(weights='w.safetensors')]
    assert len(group_scores(files_of(*known))) == 1
    assert len(group_scores(files_of(*known, make_score(clips='other')))) == 3
    datas = [{'source': 'balls', 'pixels': pixels, 'threads': threads} for pixels, threads in ((8, 1), (8, 2), (16, 1))]
    groups = group_scores(files_of(*(make_score(config={'data': data}) for data in datas)))
    assert sorted(len(group.scores) for group in groups) == [1, 2]


def test_a_figure_over_steps_has_no_points_of_another_protocol_or_of_weights_in_a_file():
    foreign = make_score(step=30, weights='starter.safetensors')
    other = [make_score(step=step, protocol={'name': 'fvd', 'resize': 'other'}) for step in (10, 20)]
    scores = files_of(make_score(step=20), make_score(step=40), foreign, *other)
    charts = chart_scores(group_scores(scores), ['run'])
    assert [(chart.title, [line.curve.steps.tolist() for line in chart.lines]) for _, chart in charts] == [
        ('fvd', [[20, 40]]), ('fvd', [[10, 20]]),
    ]  # fmt: skip
    assert len({number for number, _ in charts}) == 2


def test_samplers_are_lines_of_their_own_named_by_what_differs():
    scores = files_of(*(make_score(step=step, sampler=name) for step in (10, 20) for name in ('Euler', 'Heun')))
    ((_, chart),) = chart_scores(group_scores(scores), ['run'])
    assert [line.label for line in chart.lines] == ['sampler Euler', 'sampler Heun']


def test_rows_of_one_step_are_told_apart_by_how_they_were_drawn():
    """Sampler and guidance are of the samples, wherever the config has them."""
    configs = [{'evaluate': {'samples': 8, 'sampler': sampler}} for sampler in (None, {'name': 'heun'})]
    scores = [make_score(sampler=name, config=each) for name, each in zip(('Euler', 'Heun'), configs, strict=True)]
    (group,) = group_scores(files_of(*scores))
    assert 'evaluate.sampler' not in group.parameters and group.parameters['evaluate.samples'] == 8
    assert [row['label'] for row in tabulate_group(group, 100)['rows']] == ['sampler Euler', 'sampler Heun']
    (group,) = group_scores(files_of(make_score(step=20), make_score(step=40)))
    assert [row['label'] for row in tabulate_group(group, 100)['rows']] == ['', '']


def test_floor_stands_below_each_score_and_controls_below_all():
    (group,) = group_scores(files_of(make_score(step=20), make_score(step=40, interval={'fvd': [1.5, 2.75]})))
    table = tabulate_group(group, 1000)
    assert table['columns'] == ['fvd', 'clips']
    assert [row['cells'] for row in table['rows']] == [['5.025', '8'], ['2.513', '8']]
    assert [row['name'] for row in table['controls']] == ['frozen']
    extra = [[(row['name'], row['cells'][0]) for row in row['extra']] for row in table['rows']]
    assert extra == [[('floor', '2.500')], [('floor', '2.500'), ('interval', '1.500 … 2.750')]]


def test_curves_over_frames_are_drawn_and_what_is_none_is_left_out():
    score = make_score()
    ((_, chart),) = chart_frames(group_scores(files_of(score)), ['run'])
    assert chart.lines[0].label == 'step 40, slope 0.5' and chart.lines[0].curve.steps.tolist() == [0, 1, 2]
    assert chart.lines[0].curve.is_finite().tolist() == [True, True, False]
    assert [line.label for line in chart.lines] == ['step 40, slope 0.5', 'real'], 'controls are in the table alone'
    ((_, two),) = chart_frames(group_scores(files_of(score, make_score(step=80))), ['run'])
    assert [line.label for line in two.lines] == ['step 40, slope 0.5', 'real', 'step 80, slope 0.5']
    bad = {
        'a': 1,
        'b': {'frames': [1]},
        'c': {'frames': [1], 'mean': ['x']},
        'd': {'frames': [], 'mean': []},
        'e': None,
    }
    empty = {'samples': {}, 'real': {}}
    for curves in ({'samples': bad, 'real': 7}, bad, [1], None):
        assert curves_over_frames(make_score(curves=curves)) == empty


def test_a_config_that_is_none_is_no_obstacle():
    for config in ([1], 'text', None, {'evaluate': 7, 'data': [{'path': 1}]}):
        (group,) = group_scores(files_of(make_score(config=config)))
        assert len(group.scores) == 1


def test_damaged_scores_are_named_and_the_others_read(tmp_path):
    directory = write_run(tmp_path / 'run', scores=[make_score()])
    for name, text in {
        'a': '{',
        'b': '[]',
        'c': '{"name": 5}',
        'd': '{"name": "x", "figures": {}, "verdict": {}, "sha256": "0"}',
    }.items():
        (directory / 'evals' / f'{name}.json').write_text(text)
    changed = write_score(directory, make_score(step=10))
    changed.write_text(changed.read_text().replace('10.05', '1.005'))
    scores, problems = read_scores(epath.Path(directory / 'evals'), 'run')
    assert [file.step for file in scores] == [40] and len(problems) == 5
    assert all('evals/' in problem and '\n' not in problem for problem in problems)


def test_odd_figures_do_no_harm():
    scores = files_of(make_score(), make_score(step=10))
    for file, value in zip(scores, (10**400, float('nan')), strict=True):
        file.score.figures['samples']['fvd'] = value
    scores.append(ScoreFile('run', 'x', make_score('empty')))
    scores[-1].score.settings['step'] = 'many'
    scores[-1].score.figures.clear()
    groups = group_scores(scores)
    chart_scores(groups, ['run'])
    assert [tabulate_group(group, 100)['rows'][0]['cells'] for group in groups] == [[], ['nan', '8']]
