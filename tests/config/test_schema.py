"""Configs: what overrides mean, and the message for a mistyped one."""

import dataclasses
import json
from typing import Annotated, Literal

import pytest

from vdm_jax.config import ConfigDict, parse_arg
from vdm_jax.config.experiment_file import load_experiment, override
from vdm_jax.config.ranges import AtLeast, OneOf, Ranged
from vdm_jax.config.schema import Choice, Text, find_differences, to_dataclass, to_dict
from vdm_jax.data.video_folder import VideoFolder
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.samplers import DDIM, Euler
from vdm_jax.diffusion.spacing import Shifted
from vdm_jax.diffusion.training_times import LogitNormal
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import Experiment, experiment_dict, experiment_from, read_experiment
from vdm_jax.experiment.registry import CHOICES
from vdm_jax.models.layouts import LAYOUTS
from vdm_jax.train.optimizers import AdamW, Muon

BALLS = 'experiments/bouncing_balls.py'


def read(*assignments):
    return experiment_from(override({}, [f'--config.{item}' for item in assignments]))


def test_command_line_beats_file_beats_default():
    from_file = read_experiment(BALLS)
    assert isinstance(from_file.optim, Muon) and isinstance(Experiment().optim, AdamW)  # the file's, not the default
    assert isinstance(read_experiment(BALLS, ['--config.optim.name=adamw']).optim, AdamW)


@pytest.mark.parametrize(
    'assignment, holds',
    [
        ('train.steps=1_000', lambda e: e.train.steps == 1000),
        ('train.steps=1e3', lambda e: e.train.steps == 1000 and type(e.train.steps) is int),
        ('optim.learning_rate=1', lambda e: e.optim.learning_rate == 1.0 and type(e.optim.learning_rate) is float),
        ('optim.clip=none', lambda e: e.optim.clip is None),
        ('model.scan=true', lambda e: e.model.scan is True),
        ('model.width=64', lambda e: e.model.width == 64),
        ('ema.decays=0.9,0.99', lambda e: e.ema.decays == (0.9, 0.99)),
        ('data.balls=(1, 1)', lambda e: e.data.balls == (1, 1)),
        ('diffusion.process=ddpm', lambda e: e.diffusion.process == DDPM()),
        ('diffusion.process.name=ddpm', lambda e: e.diffusion.process == DDPM()),
        ('sampler.name=ddim', lambda e: e.sampler == DDIM()),
        ('data.source=synthetic', lambda e: e.data == Synthetic()),
        ('diffusion.process.path=gvp', lambda e: e.diffusion.process.path == 'gvp'),
        ('diffusion.time=logit_normal', lambda e: e.diffusion.time == LogitNormal()),
        ('sampler.spacing=shifted', lambda e: e.sampler.spacing == Shifted()),
        ('guidance.interval=0.2,0.8', lambda e: e.guidance.interval == (0.2, 0.8)),
    ],
)
def test_overrides_are_read_by_annotation(assignment, holds):
    assert holds(read(assignment))


@pytest.mark.parametrize('text, expected', [('4', 4), ('4.0', 4), ('auto', 'auto'), ('true', True)])
def test_each_option_of_a_literal_is_read_by_its_own_type(text, expected):
    @dataclasses.dataclass(frozen=True)
    class Patched:
        patch: Literal[1, 2, 4, 'auto', True] = 2

    def build(value):
        return to_dataclass(Patched, {'patch': value}, {})

    read_back = build(Text(text)).patch
    assert read_back == expected and type(read_back) is type(expected)
    assert build(expected) == build(Text(text))  # of a file, and of the command line
    for wrong in (Text('3'), '4', 4.0):
        with pytest.raises(UserError, match='patch=.*: want one of 1, 2, 4, auto, True'):
            build(wrong)


TABLE = {'full': 1, 'causal': 2, 'none': 3}


@pytest.mark.parametrize(
    'by_table, written_out',
    [
        (Annotated[str, OneOf(TABLE)], Literal['full', 'causal', 'none']),
        (Annotated[str, OneOf(TABLE)] | None, Literal['full', 'causal', 'none'] | None),
        (Annotated[int, AtLeast(1)] | Annotated[str, OneOf(['all'])], Annotated[int, AtLeast(1)] | Literal['all']),
        (tuple[Annotated[str, OneOf(TABLE)], ...], tuple[Literal['full', 'causal', 'none'], ...]),
    ],
)
@pytest.mark.parametrize('value', ['full', 'none', 'casual', 'al', 'all', 3, 0, None, '', 'full,causal', 'full,casual'])
def test_the_names_of_a_table_are_read_and_refused_like_a_literal(by_table, written_out, value):
    def outcome(annotation, value):
        group = dataclasses.make_dataclass('Group', [('key', annotation)], frozen=True, bases=(Ranged,))
        outcomes = []
        for make in (lambda: to_dataclass(group, {'key': value}, {}), lambda: group(value)):
            try:
                outcomes.append(make().key)
            except UserError as error:
                outcomes.append(str(error))
        return outcomes

    for form in (value, Text(str(value))):
        assert outcome(by_table, form) == outcome(written_out, form)


def test_a_name_that_no_table_has_is_refused_with_the_nearest():
    with pytest.raises(UserError) as error:
        read('model.layout=interlaved')
    assert str(error.value) == (
        f"config.model.layout=interlaved: want one of {', '.join(LAYOUTS)}; did you mean 'interleaved'?"
    )


def test_an_integer_choice_is_set_on_the_command_line():
    experiment = read_experiment('experiments/video_vae.py', ['--config.model.patch=2', '--config.model.space=8'])
    assert (experiment.model.patch, experiment.model.space) == (2, 8)


@pytest.mark.parametrize('assignment, option', [('model.size=middle', 'tiny'), ('sampler.name=rk45', 'euler')])
def test_choices_are_named_once(assignment, option):
    with pytest.raises(UserError) as error:
        read(assignment)
    assert str(error.value).count(option) == 1


def test_choices_take_keys_of_their_own():
    e = read('diffusion.process=ddpm', 'diffusion.process.schedule=cosine', 'sampler.name=ddim', 'sampler.eta=0.5')
    assert e.diffusion.process == DDPM(schedule='cosine') and e.sampler == DDIM(eta=0.5)


def test_another_source_on_the_command_line_drops_the_file_s_keys():
    e = read_experiment(BALLS, ['--config.data.source=video_folder', '--config.data.path=x'])
    assert isinstance(e.data, VideoFolder) and e.data.path == 'x'
    with pytest.raises(UserError, match='config.data.gravity'):
        read_experiment(BALLS, ['--config.data.source=video_folder', '--config.data.gravity=1'])


@pytest.mark.parametrize(
    'assignment, parts',
    [
        ('train.stepz=3', ('config.train.stepz', "'steps'")),
        ('trian.steps=3', ('config.trian', "'train'")),
        ('train.steps=many', ('config.train.steps=many', 'a whole number')),
        ('train.steps=1.5', ('config.train.steps=1.5', 'a whole number')),
        ('model.width=wide', ('config.model.width=wide', 'a whole number or none')),  # its default is None
        ('model.widht=64', ('config.model.widht', "'width'")),
        ('model.layout=interlaved', ('config.model.layout=interlaved', "'interleaved'")),
        ('model.scan=maybe', ('config.model.scan=maybe', 'true or false')),
        ('diffusion.process=ddpn', ('config.diffusion.process', "'ddpm'")),
        ('diffusion.process.pth=gvp', ('config.diffusion.process.pth', "'path'")),
        ('sampler.clip=-1', ('config.sampler.clip', 'above 0')),
        ('model.windows=5x8', ('config.model.windows=5x8', 'FRAMESxROWSxCOLUMNS')),
        ('diffusion.variance=learned_range', ('config.diffusion.variance', 'discrete steps')),
        ('ema.decays=0.9,x', ('config.ema.decays', 'a number')),
        ('ema.decays=1.5', ('config.ema.decays', 'from 0 to 0.9999999')),
        ('train=3', ('config.train=3', 'is a group')),
        ('data.balls=1,2,3', ('config.data.balls', 'want')),
        ('model.heads=3', ('config.model.heads=3',)),
        ('train.batch_size=0', ('config.train.batch_size=0',)),
        ('optim.learning_rate=0', ('config.optim',)),
        ('data.source=joint_images', ('config.data.clips: not set',)),
        ('evaluate.protocol=fvd', ('config.evaluate.protocol.name=fvd', 'ball_physics', 'usual')),
        ('evaluate.protocol.bar=1', ('config.evaluate.protocol.bar', 'name=usual has none', 'frame_prediction')),
        ('evaluate.protocol.bars=1', ('config.evaluate.protocol.bars: no such key; name=usual has none',)),
    ],
)
def test_mistakes_name_the_key_what_was_found_and_what_to_do(assignment, parts):
    with pytest.raises(UserError) as error:
        read(assignment)
    message = str(error.value)
    assert all(part in message for part in parts), message
    assert '\n' not in message


def test_resolved_config_is_the_experiment():
    e = read_experiment(
        BALLS, ['--config.diffusion.process=ddpm', '--config.sampler.name=ddim', '--config.sampler.eta=1']
    )
    resolved = json.loads(json.dumps(experiment_dict(e)))
    assert experiment_from(resolved) == e
    assert resolved['diffusion']['process']['name'] == 'ddpm' and resolved['data']['source'] == 'bouncing_balls'
    assert experiment_from(experiment_dict(Experiment())) == Experiment()


def test_differences_are_dotted_keys():
    a = experiment_dict(Experiment())
    b = experiment_dict(read('train.steps=7', 'diffusion.process=ddpm'))
    changes = find_differences(a, b)
    assert changes['config.train.steps'] == (1000, 7)
    assert changes['config.diffusion.process.name'] == ('rectified_flow', 'ddpm')


def test_arguments_of_an_experiment_file():
    arg = parse_arg('size=S,pixels=64,debug', size='tiny', pixels=16, debug=False)
    assert (arg.size, arg.pixels, arg.debug) == ('S', 64, True)
    with pytest.raises(UserError, match="'pixels'"):
        parse_arg('pixel=3', size='tiny', pixels=16)
    with pytest.raises(UserError, match='pixels=big'):
        parse_arg('pixels=big', pixels=16)


def test_arguments_of_an_experiment_file_may_have_a_list_to_choose_from():
    known = {'size': ('XL', 'S'), 'patch': (2, 4)}
    assert vars(parse_arg(None, **known)) == {'size': 'XL', 'patch': 2}
    assert vars(parse_arg('patch=4,size=S', **known)) == {'size': 'S', 'patch': 4}
    with pytest.raises(UserError, match='patch=3: want one of 2, 4'):
        parse_arg('patch=3', **known)
    with pytest.raises(UserError, match='patch=two: want a whole number'):
        parse_arg('patch=two', **known)


@pytest.mark.parametrize('text', ['', 'nothing = 1\n'])
def test_files_that_are_no_experiments(tmp_path, text):
    path = tmp_path / 'x.py'
    if text:
        path.write_text(text)
    with pytest.raises(UserError, match=str(path)):
        read_experiment(str(path))


def test_config_dict_is_a_tree_of_attributes():
    config = ConfigDict()
    config.train = ConfigDict({'steps': 3})
    assert config.train.steps == 3


@dataclasses.dataclass(frozen=True)
class Fleet:
    """A group that holds a list of choices."""

    samplers: tuple[DDIM, ...] = ()
    shares: tuple[float, ...] = ()


FLEET = CHOICES | {DDIM: Choice('name', {'ddim': DDIM, 'euler': Euler})}


def fleet(groups, *assignments):
    return to_dataclass(Fleet, override({'fleet': groups}, list(assignments))['fleet'], FLEET, 'config.fleet')


def test_a_list_may_hold_groups():
    two = {'samplers': [{'name': 'ddim', 'eta': 0.5}, 'euler'], 'shares': [1, 2]}
    parsed_fleet = fleet(two)
    assert parsed_fleet == Fleet((DDIM(eta=0.5), Euler()), (1.0, 2.0))
    resolved = json.loads(json.dumps(to_dict(parsed_fleet, FLEET)))
    assert resolved['samplers'][1]['name'] == 'euler' and fleet(resolved) == parsed_fleet


def test_items_of_a_list_are_changed_by_number():
    two = {'samplers': [{'name': 'ddim', 'eta': 0.5}, 'euler']}
    changed_fleet = fleet(two, 'config.fleet.samplers.0.steps=7', 'config.fleet.samplers.1.name=ddim')
    assert changed_fleet.samplers == (DDIM(eta=0.5, steps=7), DDIM())
    assert fleet(two, 'config.fleet.samplers.0=euler').samplers == (Euler(), Euler())
    assert two == {'samplers': [{'name': 'ddim', 'eta': 0.5}, 'euler']}  # a new tree
    old = to_dict(fleet(two), FLEET)
    new = to_dict(fleet(two, 'config.fleet.samplers.0.steps=7'), FLEET)
    assert list(find_differences(old, new, 'config.fleet')) == ['config.fleet.samplers.0.steps']


@pytest.mark.parametrize(
    'assignment, parts',
    [
        ('samplers.2.steps=7', ('samplers is a list of 2', "not '2'")),
        ('samplers.steps=7', ('samplers is a list of 2', "not 'steps'")),
        ('samplers.0.stepz=7', ('config.fleet.samplers.0.stepz', "'steps'")),
        ('samplers.1=eulr', ('config.fleet.samplers.1', "'euler'")),
        ('samplers.0.eta=-1', ('config.fleet.samplers.0.eta=', 'from 0 to 1')),
        ('shares.0=1', ('config.fleet.shares is a list', 'experiment file')),
    ],
)
def test_mistakes_in_a_list_name_the_item(assignment, parts):
    with pytest.raises(UserError) as error:
        fleet({'samplers': [{'name': 'ddim'}, 'euler']}, f'config.fleet.{assignment}')
    assert all(part in str(error.value) for part in parts) and '\n' not in str(error.value), error.value


def test_lists_of_groups_come_out_of_an_experiment_file(tmp_path):
    path = tmp_path / 'x.py'
    path.write_text(
        'from vdm_jax.config import ConfigDict\n'
        'def get_config(arg):\n'
        "    return ConfigDict({'a': {'b': (ConfigDict({'c': (1, 2)}), {'d': 3})}})\n"
    )
    assert load_experiment(str(path)) == {'a': {'b': [{'c': [1, 2]}, {'d': 3}]}}
