"""What scores are drawn with: config.evaluate's own sampler and guidance, whose other keys are those of the config."""

import pytest

from vdm_jax.config.experiment_file import override
from vdm_jax.diffusion.guidance import Guidance
from vdm_jax.diffusion.samplers import DDIM, Euler, Heun
from vdm_jax.diffusion.spacing import LogSNR, Shifted, Trailing
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_dict, experiment_from
from vdm_jax.experiment.run import Run

SPACING = Shifted(shift=2.0)
FILE = {
    'sampler': {'name': 'ddim', 'steps': 50, 'eta': 0.5, 'spacing': {'name': 'shifted', 'shift': 2.0}},
    'guidance': {'scale': 3.0, 'rescale': 0.7},
}


def read(*assignments, file=FILE):
    return experiment_from(override(file, [f'config.{each}' for each in assignments]))


@pytest.mark.parametrize(
    'assignments, expected',
    [
        ((), None),
        (('evaluate.sampler.steps=20',), DDIM(steps=20, spacing=SPACING, eta=0.5)),
        (('evaluate.sampler.steps=20', 'sampler.eta=0'), DDIM(steps=20, spacing=SPACING, eta=0.0)),
        (('sampler=euler', 'evaluate.sampler.steps=20'), Euler(steps=20, spacing=SPACING)),
        (('evaluate.sampler=heun',), Heun()),
        (('evaluate.sampler=heun', 'evaluate.sampler.steps=20'), Heun(steps=20)),
        (('evaluate.sampler.name=heun',), Heun()),
        (
            ('evaluate.sampler.spacing.shift=4', 'evaluate.sampler.clip=1'),
            DDIM(steps=50, spacing=Shifted(shift=4.0), clip=1.0, eta=0.5),
        ),
        (('evaluate.sampler.spacing=logsnr',), DDIM(steps=50, spacing=LogSNR(), eta=0.5)),
        (('evaluate.sampler=none',), None),
        (('evaluate.sampler.steps=20', 'evaluate.sampler=none'), None),
    ],
)
def test_a_sampler_without_a_name_is_that_of_the_config_with_other_keys(assignments, expected):
    experiment = read(*assignments)
    assert experiment.evaluate.sampler == expected
    assert experiment_from(experiment_dict(experiment)) == experiment


@pytest.mark.parametrize('file', [{}, {'sampler': 'euler'}, {'sampler': {'name': 'euler'}}])
def test_a_file_may_say_its_sampler_in_any_way(file):
    default = read(file=file).sampler
    experiment = read('evaluate.sampler.steps=7', file=file)
    assert experiment.evaluate.sampler == type(default)(steps=7, spacing=Trailing())
    assert experiment.sampler == default
    in_file = experiment_from(file | {'evaluate': {'sampler': {'steps': 7}}})
    assert in_file == experiment


def test_a_resolved_config_can_be_cleared_and_changed():
    resolved = experiment_dict(read('evaluate.sampler.steps=20', 'evaluate.guidance.scale=1'))
    assert read('evaluate.sampler=none', 'evaluate.guidance=none', file=resolved).evaluate == read().evaluate
    assert read('evaluate.sampler.steps=5', file=resolved).evaluate.sampler == DDIM(steps=5, spacing=SPACING, eta=0.5)
    # What an experiment has become stays so, whatever its own sampler turns into.
    assert read('sampler.steps=5', file=resolved).evaluate.sampler.steps == 20


@pytest.mark.parametrize('file', [FILE, FILE | {'evaluate': {'sampler': {'name': 'heun', 'steps': 20}}}])
def test_a_key_after_its_group_was_cleared_is_refused(file):
    with pytest.raises(UserError, match='sampler.steps: config.evaluate.sampler=none before it leaves no group'):
        read('evaluate.sampler=none', 'evaluate.sampler.steps=5', file=file)
    assert read('evaluate.sampler=none', 'evaluate.sampler=heun', file=file).evaluate.sampler is not None


def test_guidance_has_the_other_keys_of_the_config():
    assert read('evaluate.guidance.scale=1').evaluate.guidance == Guidance(scale=1.0, rescale=0.7)
    assert read().evaluate.guidance is None


@pytest.mark.parametrize(
    'assignment, mistake',
    [
        ('evaluate.sampler=ddmi', r"config\.evaluate\.sampler\.name=ddmi: want one of .*did you mean 'ddim'"),
        ('evaluate.sampler.steps=0', r'config\.evaluate\.sampler\.steps=0: want'),
        ('evaluate.sampler.step=20', r'config\.evaluate\.sampler\.step: no such key.*steps'),
        ('evaluate.guidance.scale=nan', r'config\.evaluate\.guidance\.scale=nan: want'),
        ('evaluate.guidance=2', r'config\.evaluate\.guidance=2 is a group; set its keys: scale'),
    ],
)
def test_mistakes_name_the_key_where_it_stands(assignment, mistake):
    with pytest.raises(UserError, match=f'^{mistake}'):
        read(assignment)


def test_a_score_names_what_it_was_drawn_with_wherever_that_was_set():
    balls = {'data': {'source': 'bouncing_balls'}, 'sampler': {'name': 'ddim', 'steps': 50}}
    run = Run(read('evaluate.sampler.steps=20', file=balls))
    drawn = run.evaluation_run.experiment
    assert drawn == Run(read('sampler.steps=20', file=balls)).experiment
    assert run.experiment.sampler.steps == 50 and run.evaluation_run.data is run.data
    plain = Run(read(file=balls))
    assert plain.evaluation_run is plain
