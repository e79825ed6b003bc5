"""Ranges: whatever number a config is given, it works or is refused in one line."""

import dataclasses
import itertools
import math

import jax
import numpy as np
import pytest

from tests.probes import probe
from tests.walk import TINY, Field, ends, get, is_list, is_number, parts, walk
from vdm_jax import cli
from vdm_jax.config.experiment_file import override
from vdm_jax.config.ranges import Between, Ranged
from vdm_jax.data.clip_batches import batch_of
from vdm_jax.data.order.buckets import BucketOrder
from vdm_jax.data.order.order import Order, clips_before
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run
from vdm_jax.prng import stream_key
from vdm_jax.sampling.generate import generate_videos

BALLS = '--config=experiments/bouncing_balls.py'
VALUES = ('-1', '0', 'nan', 'inf', '-inf', '1e9')
FIELDS = walk()
BY_CLASS = {cls: list(group) for cls, group in itertools.groupby(FIELDS, lambda field: field.cls)}
classes = pytest.mark.parametrize('cls', BY_CLASS, ids=lambda cls: cls.__name__)


def works(field: Field, text: str) -> bool:
    """Whether the config takes the value; one that it takes must work, one that it refuses must be named in a line."""
    try:
        experiment = field.read(text)
    except UserError as error:
        assert '\n' not in str(error) and len(str(error)) < 400, error
        assert f'config.{field.key.rpartition(".")[0]}'.rstrip('.') in str(error), error
        return False
    if is_number(field.annotation):
        assert float(field.value(experiment)) == float(text), 'another value than was asked for'
    try:
        probe(experiment, field.key)
    except ValueError as error:  # a UserError, but in diffusion, where config/schema.py makes one of it
        assert str(error).startswith('config.') and '\n' not in str(error), error
        return False
    return True


@classes
def test_every_number_works_or_is_refused_in_one_line(cls):
    for field in BY_CLASS[cls]:
        if is_number(field.annotation):
            valid = [text for text in VALUES if works(field, text)]
            assert not {'nan', 'inf', '-inf'} & {*valid}, field.key


@classes
def test_the_ends_of_every_range_work_too(cls):
    for field in BY_CLASS[cls]:
        if is_number(field.annotation):
            for number in ends(field.annotation):
                works(field, repr(number))


@classes
def test_every_list_works_or_is_refused_in_one_line(cls):
    for field in BY_CLASS[cls]:
        if not is_list(field.annotation):
            continue
        usual = get(experiment_from(field.groups), field.key)
        if usual and dataclasses.is_dataclass(usual[0]):
            continue
        items = [str(item) for item in usual or ('1', '2')]
        lists = [[], items, items * 2]
        if has_numbers := any(kind in (int, float) for kind, _ in parts(field.annotation)):
            lists += [[*items[:place], value, *items[place + 1 :]] for place in range(len(items)) for value in VALUES]
        valid = [each for each in lists if works(field, ','.join(each))]
        assert not has_numbers or not any({*each} & {'nan', 'inf', '-inf'} for each in valid), field.key


@classes
def test_no_number_is_without_a_range(cls):
    for field in BY_CLASS[cls]:
        for kind, rules in parts(field.annotation):
            if kind in (int, float):
                assert any(isinstance(rule, Between) for rule in rules), f'{cls.__name__}.{field.name}: declare a range'
                assert all(math.isfinite(end) for end in ends(field.annotation))


@classes
def test_ranges_hold_in_python_as_well(cls):
    for field in BY_CLASS[cls]:
        if not is_number(field.annotation):
            continue
        usual = get(experiment_from(field.groups), field.key.rpartition('.')[0])
        assert type(usual) is cls and isinstance(usual, Ranged)
        for value in (math.nan, math.inf, 1e300, True, 'text'):
            with pytest.raises(UserError, match=rf'^config\.[\w.]*{field.name}='):
                dataclasses.replace(usual, **{field.name: value})


@pytest.mark.slow
@classes
def test_every_number_that_is_taken_trains_a_step_and_samples(cls):
    for field in BY_CLASS[cls]:
        group = field.key.split('.')[0]
        further = ends(field.annotation) if group in ('diffusion', 'guidance', 'ema', 'reconstruction') else []
        for text in (*VALUES, *map(repr, further)) if is_number(field.annotation) else ():
            if works(field, text):
                run_a_step(field, text)


# What a step of training hangs on, and what samples do.
TRAINS = ('seed', 'data', 'model', 'codec', 'diffusion', 'reconstruction', 'train', 'optim', 'ema', 'mesh')
SAMPLES = ('seed', 'model', 'codec', 'diffusion.process', 'sampler', 'guidance')


def run_a_step(field: Field, text: str) -> None:
    """One step of training and two samples of a tiny network; a mistake that a run's check finds is one line."""

    def hangs_on(groups):
        return any(f'{field.key}.'.startswith(f'{group}.') for group in groups)

    run = Run(field.read(text), jax.devices()[:1])
    with jax.set_mesh(run.mesh):
        try:
            run.check()
        except UserError as error:
            assert '\n' not in str(error), error
            return
        state = run.programs.init_state()
        if hangs_on(TRAINS):
            batch = run.batch_layout.to_global(
                batch_of(run.data.reader, run.batch_layout.local_rows[0], run.model_config.scalars)
            )
            state, scalars = run.programs.train_step(state, batch, run.frozen)
            for array in (*scalars.values(), *jax.tree.leaves(state.params), *jax.tree.leaves(state.ema)):
                assert np.isfinite(array).all(), f'{field.key}={text}'
        if hangs_on(SAMPLES) and not run.experiment.diffusion.context and not run.model_config.autoencodes:
            params = next(iter(state.ema.values()))
            videos = generate_videos(run.generate, params, {'label': [0, 0]}, run.experiment.seed, 2)
            assert videos.shape == (2, *run.data.source.shape)


def test_the_walk_reaches_every_field_of_a_config():
    keys = {field.key for field in FIELDS}
    assert {'seed', 'data.limits.frames', 'diffusion.process.logsnr_min', 'model.attention.block_q'} <= keys
    assert {'sampler.churn', 'sampler.spacing.offset', 'model.norm_num_groups', 'profile.steps'} <= keys
    assert {'evaluate.protocol.threshold_db', 'evaluate.protocol.per_clip', 'evaluate.protocol.bar'} <= keys
    assert len(BY_CLASS) > 60


WITH_MUON = TINY | {'optim': 'muon'}


def refusal_of(*assignments, groups=TINY) -> str:
    """Return the line that a user sees who sets this."""
    with pytest.raises(UserError) as error:
        experiment_from(override(groups, [f'--config.{each}' for each in assignments]))
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    'assignment, message',
    [
        ('optim.clip=-1', 'config.optim.clip=-1.0: want 0 or more'),
        ('optim.b1=1.5', 'config.optim.b1=1.5: want a number from 0 to 0.9999999'),
        ('optim.weight_decay=-10', 'config.optim.weight_decay=-10.0: want 0 or more'),
        ('optim.adam_learning_rate=-4e-3', 'config.optim.adam_learning_rate=-0.004: want a number above 0'),
        ('optim.warmup_steps=1e12', 'config.optim.warmup_steps=1000000000000: want 2147483647 or less'),
        ('data.size=1e308', 'characters): want a number from 1 to 100000000'),
        ('train.validate_batches=1e9', 'config.train.validate_batches=1000000000: want a number from 1 to 1000000'),
        ('train.accumulate=3', 'config.train.accumulate=3: want no more microbatches'),
        ('ema.decays=0.9,0.9', 'config.ema.decays=0.9,0.9: 0.9 is there twice'),
        ('ema.decays=', 'config.ema.decays=(): it is empty'),
        ('ema.decays=0.9,1', 'config.ema.decays=0.9,1.0: 1.0 is among them; want a number from 0 to 0.9999999'),
        ('guidance.interval=0.8,0.2', 'config.guidance.interval=0.8,0.2: want the lower number first'),
        ('mesh.fsdp=0', 'config.mesh.fsdp=0: want -1, or a number from 1 to 1048576'),
        ('model.width=50', 'config.model.width=50: want a multiple of 4'),
        ('model.attention.block_q=130', 'config.model.attention.block_q=130: want a multiple of 128'),
        ('seed=4294967296', 'config.seed=4294967296: want a number from 0 to 4294967295'),
        ('evaluate.seed=18446744073709551616', 'config.evaluate.seed=18446744073709551616: want a number from 0'),
        ('data.seed=9223372036854775808', 'config.data.seed=9223372036854775808: want a number from 0'),
        (
            'evaluate.protocol.threshold_db=-1',
            'config.evaluate.protocol.threshold_db=-1.0: want a number from 0 to 200',
        ),
    ],
)
def test_a_number_out_of_range_names_key_value_and_what_is_wanted(assignment, message):
    groups = WITH_MUON | {'evaluate': {'protocol': 'recall'}}
    assert message in refusal_of(assignment, groups=groups)


@pytest.mark.parametrize('key', ['optim.adam', 'optim.decay'])
@pytest.mark.parametrize('pattern', ['(', '[', '*', '(?P<a>', 'a{99999999999999999999}', '(' * 4000, '\\'])
def test_a_pattern_that_is_no_regular_expression_is_refused(key, pattern):
    assert (
        f'config.{key}=' in (line := refusal_of(f'{key}={pattern}', groups=WITH_MUON)) and 'regular expression' in line
    )
    assert len(line) < 300


@pytest.mark.parametrize('text', ['nan', 'NaN', '-inf', 'infinity', '1e400', '9' * 400, '9' * 5000, '0x10', '', '1,2'])
@pytest.mark.parametrize('key', ['train.steps', 'optim.learning_rate', 'seed', 'model.mlp_ratio', 'optim.clip'])
def test_what_no_finite_number_is_written_like_is_refused(key, text):
    if key == 'optim.clip' and not text:  # none: no bound
        return
    assert f'config.{key}=' in refusal_of(f'{key}={text}')


@pytest.mark.parametrize(
    'value', [math.nan, math.inf, 10**400, -(10**400), pytest.param(10**5000, id='long'), True, None, [1], '3']
)
def test_a_file_s_value_that_is_no_number_is_refused(value):
    for group, key in (('train', 'steps'), ('optim', 'learning_rate')):
        assert f'config.{group}.{key}=' in refusal_of(groups={group: {key: value}})


def test_a_group_inside_a_list_is_named_where_it_stands():
    sources = [{'source': 'synthetic'}, {'source': 'synthetic', 'frames': 0}]
    assert 'config.data.sources.1.frames=0: ' in refusal_of(groups={'data': {'source': 'mixture', 'sources': sources}})
    codec = {'name': 'video_vae', 'model': {'groups': 7}}
    assert 'config.codec.model.groups=7: it must divide' in refusal_of(groups={'codec': codec})
    assert 'config.model.groups=7: it must divide' in refusal_of(
        groups={'model': codec['model'] | {'name': 'video_vae'}}
    )
    process = {'name': 'edm', 'rho': 0}
    assert 'config.diffusion.process.rho=0' in refusal_of(groups={'diffusion': {'process': process}})
    buckets = {'source': 'bucketed', 'clips': {'source': 'video_folder'}, 'buckets': ['16x64x64', '99999999x8x8']}
    assert 'config.data.buckets=99999999x8x8: frames=99999999: want' in refusal_of(groups={'data': buckets})
    assert 'config.data.only=2: ' in refusal_of(groups={'data': buckets | {'buckets': ['4x8x8', '8x8x8'], 'only': 2}})


def test_every_seed_that_is_taken_is_another_stream():
    keys = [stream_key(seed, 'samples') for seed in (0, 1, 2**31 - 1, 2**31, 2**32 - 1)]
    assert len({tuple(np.asarray(jax.random.key_data(key))) for key in keys}) == len(keys)
    for seed in (-1, 2**32, 2**63, 2**64):
        with pytest.raises(UserError, match=f'seed={seed}: want'):
            stream_key(seed, 'samples')


@pytest.mark.parametrize(
    'argv, message',
    [
        (['inspect', BALLS, '--config.optim.learning_rate=nan'], 'config.optim.learning_rate=nan: want a number'),
        (['inspect', BALLS, '--config.train.steps=inf'], 'config.train.steps=inf: want a whole number'),
        (['inspect', BALLS, '--config.diffusion.time.mean=-inf'], 'config.diffusion.time.mean=-inf: want a number'),
        (['inspect', BALLS, '--config.seed=18446744073709551616'], 'config.seed=18446744073709551616: want'),
        (['inspect', BALLS, '--config.optim.adam=('], 'config.optim.adam=(: want a regular expression'),
        (['inspect', BALLS, '--config.ema.decays=0.9,0.9'], 'config.ema.decays=0.9,0.9: 0.9 is there twice'),
        (['sample', '--workdir=W', '--seed=4294967296'], '--seed: want a number from 0 to 4294967295'),
        (['sample', '--workdir=W', '--seed=-1'], '--seed: want a number from 0 to 4294967295'),
        (['train', BALLS, '--workdir=W', '--config.train.steps', '20'], 'write it with =, --config.train.steps=20'),
    ],
)
def test_the_command_line_ends_with_one_line_and_code_2(argv, message, capsys):
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count('\n') == 1 and not captured.out, captured


@pytest.mark.parametrize('shares', [(1.0,), (3.0, 1.0), (1.0, 0.0, 5.0)])
def test_batches_of_a_validation_are_counted_without_being_listed(shares):
    batches = [Order(20, 2 + number) if share else None for number, share in enumerate(shares)]
    order = BucketOrder(tuple(batches), tuple(np.arange(20 * bool(share)) for share in shares), shares)
    for steps in (0, 1, 7, 1000, 1003, 2500):
        assert clips_before(order, steps) == sum(order.batch_sizes[order.bucket(step)] for step in range(steps))
    assert clips_before(Order(5, 4), 10**9) == 4 * 10**9


def test_useful_experiments_are_not_refused():
    """The extremes that papers and users have."""
    for assignments in (
        ('optim.clip=none',), ('optim.clip=0',), ('optim.b1=0',), ('optim.b2=0.99999',), ('optim.learning_rate=1e6',),
        ('ema.decays=0,0.99999,0.9999',), ('sampler.steps=1000',), ('guidance.scale=0',), ('guidance.scale=15',),
        ('train.batch_size=65536',), ('train.steps=1_000_000_000',), ('data.size=100_000_000',), ('data.frames=1024',),
        ('seed=4294967295',), ('model.width=4096', 'model.heads=32'), ('mesh.data=-1', 'mesh.fsdp=256'),
        ('diffusion.process=edm', 'diffusion.process.sigma_max=1000'), ('diffusion.process=ddpm',
        'diffusion.process.steps=4000'), ('diffusion.process=logsnr_cosine', 'diffusion.process.shift=0.03125'),
    ):  # fmt: skip
        experiment_from(override(TINY, [f'--config.{each}' for each in assignments]))
