"""VBench's results as a score: its leaderboard's own totals, what is missing, and files that are none of its."""

import json

import pytest

from vdm_jax import cli
from vdm_jax.errors import UserError
from vdm_jax.evals import runner
from vdm_jax.evals.vbench import IMAGE_TO_VIDEO, TEXT_TO_VIDEO
from vdm_jax.evals.vbench_results import read_vbench

# Sixteen scores in percent, such as a good model has, and what VBench's cal_final_score.py makes of them.
SCORES = {
    'subject_consistency': 97.37, 'background_consistency': 97.76, 'temporal_flickering': 99.44,
    'motion_smoothness': 98.99, 'dynamic_degree': 70.83, 'aesthetic_quality': 60.36, 'imaging_quality': 67.56,
    'object_class': 86.10, 'multiple_objects': 68.55, 'human_action': 94.40, 'color': 91.60,
    'spatial_relationship': 68.68, 'scene': 53.88, 'appearance_style': 19.80, 'temporal_style': 23.89,
    'overall_consistency': 26.44,
}  # fmt: skip
TOTALS = {'quality': 85.09, 'semantic': 75.82, 'total': 83.24}


def entry(name, value):
    """A dimension as VBench writes it: two videos, whose results are of any type."""
    videos = [{'video_path': f'videos/a {name}-{index}.mp4', 'video_results': index == 1} for index in range(2)]
    return [value, videos]


def results(values):
    return {name: entry(name, round(value / 100, 6)) for name, value in values.items()}


def write(path, content):
    path.write_text(json.dumps(content, indent=4))
    return str(path)


def test_the_totals_are_those_of_vbench_s_own_script(tmp_path):
    score = read_vbench(write(tmp_path / 'results_2026-01-01-10:00:00_eval_results.json', results(SCORES)))
    assert score.name == 'vbench_45e79ec' and score.passed and score.settings['missing'] == []
    for name, percent in TOTALS.items():
        assert score.figures[name] == {'score': pytest.approx(percent / 100, abs=5e-5)}
    assert [*score.figures] == [*SCORES, *TOTALS] and score.settings['samples'] == 32
    assert score.figures['scene'] == {'value': 0.5388, 'score': pytest.approx(0.5388 / 0.8222), 'videos': 2}
    assert 'caution' not in runner.format_table(score)


def test_files_of_single_dimensions_make_the_same_score(tmp_path):
    for name, value in SCORES.items():
        write(tmp_path / f'{name}_eval_results.json', results({name: value}))
    write(tmp_path / 'all_full_info.json', [])
    score = read_vbench(str(tmp_path))
    assert score.figures['total']['score'] == pytest.approx(0.8324, abs=5e-5)
    write(tmp_path / 'again_eval_results.json', results({'scene': 50}))
    with pytest.raises(UserError, match=r'scene_eval_results.json: scene is 0.5388 here and 0.5 in .*again_eval'):
        read_vbench(str(tmp_path))


def test_without_a_dimension_there_is_no_total_and_the_score_says_which(tmp_path):
    values = {name: value for name, value in SCORES.items() if name not in ('scene', 'color')}
    content = results(values) | {'human_action': [float('nan'), []], 'temporal_style': [None, []]}
    score = read_vbench(write(tmp_path / 'r.json', content))
    assert score.settings['missing'] == ['human_action', 'color', 'scene', 'temporal_style']
    assert score.figures['total'] == score.figures['semantic'] == {'score': None}
    assert score.figures['quality']['score'] == pytest.approx(0.8509, abs=5e-5)
    assert score.figures['human_action'] == {'value': None, 'score': None, 'videos': 0}
    assert 'caution: without human_action, color, scene, temporal_style there is no total' in runner.format_table(score)
    assert runner.read(runner.write(score, tmp_path, ())).figures == score.figures


def test_image_to_video_has_its_own_parts_and_weights(tmp_path):
    values = {name: SCORES.get(name, 90.0) for name in IMAGE_TO_VIDEO.dimensions}
    score = read_vbench(write(tmp_path / 'r.json', results(values)))
    subject = (0.9 - 0.1462) / (1 - 0.1462)
    background = (0.9 - 0.2615) / (1 - 0.2615)
    i2v = (0.1 * 0.9 + subject + background) / 2.1
    assert score.name == 'vbench_i2v_45e79ec' and score.figures['i2v']['score'] == pytest.approx(i2v)
    assert score.figures['total']['score'] == pytest.approx((i2v + score.figures['quality']['score']) / 2)
    both = results(values) | results({'scene': 50})
    with pytest.raises(UserError, match='give the files of one of the two'):
        read_vbench(write(tmp_path / 'r.json', both))


def test_a_dimension_s_greatest_value_is_1_and_its_least_0():
    dimensions = TEXT_TO_VIDEO.dimensions | IMAGE_TO_VIDEO.dimensions
    assert len(TEXT_TO_VIDEO.dimensions) == 16 and len(IMAGE_TO_VIDEO.dimensions) == 9
    for name, dimension in dimensions.items():
        assert (dimension.normalise(dimension.least), dimension.normalise(dimension.greatest)) == (0, 1), name
    everything = dict.fromkeys(TEXT_TO_VIDEO.dimensions, 1.0)
    assert TEXT_TO_VIDEO.total(everything) == pytest.approx({'quality': 1, 'semantic': 1, 'total': 1})


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'is not JSON'),
        ('[' * 100_000, 'is not JSON'),
        ('[]', "want VBench's results"),
        ('{}', "want VBench's results"),
        ('{"scenes": [0.5, []]}', "'scenes' is no dimension of VBench"),
        ('{"scene": 0.5}', r'scene is 0.5; want \[value'),
        ('{"scene": []}', r'scene is \[\]; want'),
        ('{"scene": [0.5]}', r'scene is \[0.5\]; want'),
        ('{"scene": [0.5, [1]]}', 'scene is'),
        ('{"scene": ["a\\nb", []]}', "value of scene is 'a"),
        ('{"scene": [true, []]}', 'value of scene is True'),
        ('{"scene": [53.88, []]}', 'value of scene is 53.88; want a share'),
        ('{"scene": [1e999, []]}', 'value of scene is inf'),
        ('{"scene": [' + '9' * 5000 + ', []]}', 'is not JSON'),
    ],
)
def test_what_is_none_of_its_results_is_named_in_one_line(tmp_path, text, message):
    (tmp_path / 'r.json').write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_vbench(str(tmp_path / 'r.json'))
    assert str(error.value).startswith(str(tmp_path)) and '\n' not in str(error.value)


def test_a_directory_without_results_and_a_path_that_is_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match='no file in it ends with _eval_results.json'):
        read_vbench(str(tmp_path))
    with pytest.raises(UserError, match=r'--vbench=.*nothing: no such file'):
        read_vbench(str(tmp_path / 'nothing'))


def test_the_command_writes_the_score(tmp_path, capsys):
    path = write(tmp_path / 'r.json', results(SCORES))
    assert cli.main(['evaluate', f'--vbench={path}', f'--out={tmp_path}/evals']) == 0
    printed = capsys.readouterr().out
    assert printed.startswith('vbench_45e79ec: 32 samples\n') and '0.832' in printed
    (file,) = (tmp_path / 'evals').iterdir()
    assert str(file) in printed and runner.read(file).figures['total']['score'] == pytest.approx(0.8324, abs=5e-5)
    others = ('--protocol=recall', '--steps=0', '--size=32', '--batch-size=4', '--ema=raw', '--real=x')
    for option in (*others, '--config.evaluate.samples=8'):
        assert cli.main(['evaluate', f'--vbench={path}', option]) == 2
        assert f'is scored already; leave out {option.split("=")[0]}' in capsys.readouterr().err
