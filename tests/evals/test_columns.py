"""Scores in one table are of one protocol, one setting and one set of real clips."""

import dataclasses

import pytest

from vdm_jax.errors import UserError
from vdm_jax.evals.columns import find_difference, tabulate
from vdm_jax.evals.rows import format_rows
from vdm_jax.evals.score import Score

DISTANCE = {'features': 'i3d', 'resize': 'half_pixel', 'divisor': 'n', 'stride': 1}
ABOUT = {
    'step': 1, 'samples': 2048, 'seed': 0, 'real_sha256': 'a' * 64, 'real_clips': 2048, 'split': 'train',
    'distance': DISTANCE, 'network': {'name': 'i3d', 'weights': 'i3d', 'sha256': 'b' * 64, 'precision': 'highest'},
    'protocol': {'name': 'fvd2048_16f_styleganv', 'weights': None, 'rounds': 100}, 'sampler': 'Euler(steps=2)',
    'config': {'data': {'path': 'here', 'frames': 16}, 'train': {'steps': 3}}, 'environment': {'jax': '0.7'},
    'samples_sha256': 'c' * 64, 'workdir': 'runs/a',
}  # fmt: skip


def make(name='fvd', figures=None, **about):
    return Score(name, figures or {'samples': {'clips': 2048, 'frechet': 3.0}}, {}, ABOUT | about)


def test_scores_of_one_protocol_are_rows_of_one_table():
    other = make(
        figures={'samples': {'clips': 2048, 'frechet': 2.0}, 'frozen': {'frechet': 9.0}},
        step=2,
        sampler='Heun(steps=9)',
        seed=7,
        workdir='runs/b',
        codec='f',
        codec_of_training='g',
        text='of another encoder',
        environment={},
        samples_sha256='d',
        real_features_sha256='e',
        cautions=['few'],
        network=ABOUT['network'] | {'weights': '/home/of/another/i3d.safetensors'},
        protocol=ABOUT['protocol'] | {'weights': '/home/of/another/i3d.safetensors'},
        config={'data': {'path': 'there', 'frames': 16}, 'train': {'steps': 9}},
    )
    table = tabulate({'step 1': make(), 'step 2': other})
    assert table == {'step 1': {'clips': 2048, 'frechet': 3.0}, 'step 2': {'clips': 2048, 'frechet': 2.0}}
    assert format_rows(table) == '        clips  frechet\nstep 1   2048    3.000\nstep 2   2048    2.000'
    assert tabulate({}) == {}
    assert tabulate({'step 2': other}, row='frozen') == {'step 2': {'frechet': 9.0}}


@pytest.mark.parametrize('about, message', [
    ({'real_sha256': 'x' * 64}, 'real_sha256 is aaaa.* and xxxx'),
    ({'real_clips': 256}, 'real_clips is 2048 and 256'),
    ({'samples': 128}, 'samples is 2048 and 128'),
    ({'split': 'test'}, 'split is train and test'),
    ({'distance': DISTANCE | {'resize': 'tf_legacy'}}, 'distance.resize is half_pixel and tf_legacy'),
    ({'distance': DISTANCE | {'divisor': 'n-1'}}, 'distance.divisor is n and n-1'),
    ({'distance': DISTANCE | {'other': 3}}, 'distance.other is not set and 3'),
    ({'network': {'name': 'i3d', 'sha256': 'x', 'precision': 'highest'}}, 'network.sha256'),
    ({'network': {'name': 'i3d', 'sha256': 'b' * 64, 'precision': 'default'}}, 'network.precision'),
    ({'protocol': {'name': 'fvd2048_16f_tf', 'rounds': 100}}, 'protocol.name is fvd2048_16f_styleganv and fvd2048'),
    ({'size': '64x64'}, 'size is not set and 64x64'),
])  # fmt: skip
def test_what_hangs_on_other_settings_is_refused_by_the_first_difference(about, message):
    with pytest.raises(UserError, match=f'step 1 and step 3 are not of one column: {message}') as caught:
        tabulate({'step 1': make(), 'step 2': make(step=2), 'step 3': make(step=3, **about)})
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 300


def test_names_and_rows_have_to_be_there():
    with pytest.raises(UserError, match='a and b are not of one column: the name is fvd and kvd'):
        tabulate({'a': make(), 'b': make('kvd')})
    with pytest.raises(UserError, match='a: fvd has no row frozen; it has samples'):
        tabulate({'a': make()}, row='frozen')


def test_without_a_hash_of_real_clips_their_data_and_path_count():
    """A protocol of worlds has none: there the data of the config say which clips these are."""
    balls = {name: value for name, value in ABOUT.items() if name != 'real_sha256'}
    one = Score('balls', {'samples': {}}, {}, balls)
    moved = dataclasses.replace(one, settings=balls | {'config': {'data': {'path': 'there', 'frames': 16}}})
    assert find_difference(one, moved) is None
    longer = dataclasses.replace(one, settings=balls | {'config': {'data': {'path': 'here', 'frames': 32}}})
    assert find_difference(one, longer) == ('config.data.frames', 16, 32)
    videos = dataclasses.replace(one, settings=balls | {'real': 'clips'})
    assert find_difference(one, videos) == ('real', None, 'clips')


def test_a_table_is_no_wider_than_a_terminal():
    names = [f'figure_{i}' for i in range(20)]
    rows = {'samples': dict.fromkeys(names, 1.0), 'real halves': {'figure_3': 2, 'figure_19': None}}
    text = format_rows(rows)
    assert all(len(line) <= 120 for line in text.splitlines())
    blocks = text.split('\n\n')
    assert len(blocks) > 1 and all(block.splitlines()[2].startswith('real halves') for block in blocks)
    assert ' '.join(block.splitlines()[0] for block in blocks).split() == names
    assert blocks[-1].splitlines()[2].endswith('-')
    # A name that is wider than all has a line to itself, and is not cut.
    assert f'{"x" * 200}' in format_rows({'samples': {'a': 1, 'x' * 200: 2}})
    assert format_rows({}) == ''
