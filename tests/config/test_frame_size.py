"""config.data.pixels: every way to say it means one size, squares are numbers as ever, and mistakes name the key."""

import json

import pytest

from vdm_jax.config import parse_arg
from vdm_jax.config.experiment_file import override
from vdm_jax.config.frame_size import LARGEST, FrameSize, height_width, read_pixels
from vdm_jax.config.schema import flatten
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_dict, experiment_from
from vdm_jax.experiment.registry import SOURCES

SIZES = {
    64: (64, '64', '64x64', (64, 64), [64, 64], '64,64', ' 64 '),
    '64x96': ('64x96', (64, 96), [64, 96], '64,96', '(64, 96)', '64 x 96'),
}
NO_SIZES = (0, -1, 1.5, True, None, LARGEST + 1, 10**9, 'big', '', '64x', 'x64', '64x96x3', '1e3', '-4x4', '0x8', '4x0')
NO_SIZES += ((64,), (64, 96, 3), (64, 0), (True, 8), (1.5, 8), {}, '9' * 5000, '64x96@2', '²x4')
TREES = {
    'bouncing_balls': ({}, 'config.data.pixels'),
    'mixture': ({'sources': [{'source': 'synthetic'}]}, 'config.data.sources.0.pixels'),
    'joint_images': ({'clips': {'source': 'synthetic'}, 'images': {'source': 'synthetic'}}, 'config.data.clips.pixels'),
}


def resolve_data(data, *assignments):
    """config.data as config.json has it."""
    groups = override({'data': data}, [f'--config.data.{each}' for each in assignments])
    return json.loads(json.dumps(experiment_dict(experiment_from(groups))))['data']


@pytest.mark.parametrize('size', SIZES)
def test_all_spellings_of_a_size_are_normalised_and_read_back(size):
    for value in SIZES[size]:
        from_file = resolve_data({'source': 'synthetic', 'pixels': value})
        assert from_file['pixels'] == size and type(from_file['pixels']) is type(size)
        assert resolve_data(from_file) == from_file
        if isinstance(value, str):
            assert resolve_data({'source': 'synthetic'}, f'pixels={value}') == from_file
        if isinstance(value, str) and ',' not in value:  # arguments are separated by commas
            assert parse_arg(f'pixels={value}', {'pixels': FrameSize}, pixels=0).pixels == size
    assert height_width(size) == (64, 64 if size == 64 else 96)


@pytest.mark.parametrize('value', NO_SIZES, ids=lambda value: str(value)[:12])
def test_what_is_no_size_names_the_key(value):
    for source, (data, key) in TREES.items():
        data = json.loads(json.dumps(data))
        (data.get('sources', [data.get('clips', data)])[0])['pixels'] = value
        with pytest.raises(UserError) as error:
            resolve_data({'source': source} | data)
        assert str(error.value).startswith(key) and '\n' not in str(error.value), error.value


def test_an_annotated_argument_of_an_experiment_is_a_size():
    with pytest.raises(UserError, match='^--config=FILE:pixels=64by96: want a whole number .* or HEIGHTxWIDTH'):
        parse_arg('pixels=64by96', {'pixels': FrameSize}, pixels=64)
    with pytest.raises(UserError, match='^--config=FILE:pixels=64x96: want a whole number'):
        parse_arg('pixels=64x96', pixels=64)


# Made of other sources, or of square pictures alone.
OTHERS = ('bucketed', 'joint_images', 'mixture', 'phyworld')


@pytest.mark.parametrize('name', [name for name in SOURCES if name not in OTHERS])
def test_every_source_of_its_own_keeps_a_square_as_a_number(name):
    """What stands in the config.json of old runs, and in the identity of their clips, is what is read and kept."""
    usual = SOURCES[name]()
    assert type(usual.pixels) is int and usual.shape[1:3] == (usual.pixels, usual.pixels)
    for size in ('48x64', (48, 64)):
        wide = SOURCES[name](pixels=size)
        assert wide.pixels == '48x64' and wide.shape[1:3] == (48, 64) and wide.shape[3] == usual.shape[3]
        assert wide.with_pixels(usual.pixels) == usual and usual.with_pixels('48x64') == wide


def test_the_config_of_a_square_experiment_is_that_of_before():
    """Byte for byte as runs of before there were rectangles have it: they go on, and their latents fit."""
    data = (
        '{"source": "bouncing_balls", "frames": 8, "pixels": 16, "size": 20000, "seed": 0, "split": "train", '
        '"balls": [1, 2], "radius": 0.12, "gravity": 0.02, "speed": 0.08, "bar": 0.2, "colours": 6, "label": "count", '
        '"threads": 0, "prefetch": 16}'
    )
    assert json.dumps(experiment_dict(experiment_from({}))['data']) == data
    assert json.dumps(experiment_dict(experiment_from({'data': json.loads(data)}))['data']) == data
    assert flatten(experiment_from({}).data, 'data')['data.pixels'] == 16


def test_sources_within_others_are_resized_with_them():
    noise = {'source': 'synthetic', 'frames': 2, 'pixels': '8x12'}
    mixture = experiment_from({'data': {'source': 'mixture', 'sources': [noise, noise]}}).data
    beside = experiment_from({'data': {'source': 'joint_images', 'clips': noise, 'images': noise | {'frames': 1}}}).data
    buckets = {'clips': {'source': 'video_folder', 'path': 'gone'}, 'buckets': ('4x8x16@3', '4x16x8', '2x8x8')}
    bucketed = experiment_from({'data': {'source': 'bucketed'} | buckets}).data
    assert mixture.pixels == beside.pixels == '8x12' and bucketed.pixels == '8x16'
    for source in (mixture, beside, bucketed):
        other = source.with_pixels('16x8')
        assert other.shape[1:3] == (16, 8) and other.shape[0] == source.shape[0] and other.pixels == '16x8'
    assert beside.with_pixels(16).images.shape == (1, 16, 16, 3)
    assert bucketed.with_pixels('16x8').buckets == ('4x16x8@3',)
    with pytest.raises(UserError, match='config.data.buckets=4x8x99999: its size=8x99999'):
        experiment_from({'data': {'source': 'bucketed'} | buckets | {'buckets': ('4x8x99999',)}})


def test_a_size_is_read_once():
    assert read_pixels(read_pixels((8, 12))) == '8x12'
