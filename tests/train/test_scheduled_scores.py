"""Scores of a run that trains are those of evaluate, whatever is sampled, wherever, and however often it is killed."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import jax
import pytest

from tests import one_device
from tests.imports import ROOT
from tests.train.fake_store import FakeStore
from tests.train.metrics_file import curve, lines_in
from tests.train.processes import ENDURANCE, Processes
from tests.train.small_run import prints
from vdm_jax import cli
from vdm_jax.errors import UserError
from vdm_jax.evals import partial, runner
from vdm_jax.experiment.experiment import experiment_from, read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.train import loop
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.checkpoint_config import CheckpointConfig

BALLS = 'experiments/bouncing_balls.py'
SMALL = [
    f'--config.{item}'
    for item in (
        'model.depth=1', 'model.layout=full', 'model.width=16', 'model.heads=2', 'model.patch=4', 'model.time_patch=1',
        'data.frames=3', 'data.pixels=8', 'data.size=64', 'train.steps=4', 'train.batch_size=8', 'train.log_every=1',
        'train.checkpoint_every=2', 'sampler.steps=2', 'optim.name=adamw', 'optim.warmup_steps=1', 'ema.decays=0.9',
        'checkpoint.keep_last=4', 'log.tensorboard=false',
    )
]  # fmt: skip
SCORED = [
    f'--config.{item}'
    for item in (
        'train.evaluate_every=2', 'evaluate.samples=20', 'evaluate.real=8', 'evaluate.train=16',
        'evaluate.batch_size=8', 'evaluate.sampler.steps=3', 'evaluate.protocol=ball_physics', 'evaluate.seed=5',
    )
]  # fmt: skip
CIRCUMSTANCES = ('environment', 'config', 'overrides', 'workdir')


def make_run(*assignments, devices=8, file=BALLS):
    return Run(read_experiment(file, [*SMALL, *assignments]), jax.devices()[:devices])


def scores_in(place):
    """{name of the file: its bytes}."""
    assert not list((place / 'evals').glob('.partial*'))
    return {path.name: path.read_bytes() for path in sorted((place / 'evals').iterdir())}


def answers_in(place):
    """What the scores say, without where and how they were asked."""
    answers = []
    for content in scores_in(place).values():
        score = json.loads(content)
        answers.append({name: value for name, value in score.items() if name not in (*CIRCUMSTANCES, 'sha256')})
    return answers


@pytest.fixture(scope='module')
def scored_run(tmp_path_factory):
    run = make_run(*SCORED)
    run.check()
    place = tmp_path_factory.mktemp('scored')
    assert loop.train_run(run, place)
    return run, place


def test_scores_change_no_bit_of_what_is_learned(scored_run, tmp_path):
    run, place = scored_run
    assert [line['step'] for line in lines_in(place) if 'evaluate/flicker' in line] == [2, 4]
    assert len(scores_in(place)) == 2
    train = dataclasses.replace(run.experiment.train, evaluate_every=0)
    plain = run.with_experiment(dataclasses.replace(run.experiment, train=train)).with_parts(programs=run.programs)
    assert loop.train_run(plain, tmp_path)
    assert not (tmp_path / 'evals').exists()
    assert prints(plain, tmp_path) == prints(run, place)


def test_evaluate_writes_the_very_files_that_the_run_wrote(scored_run):
    """The run and the command share the samples out over the same eight devices."""
    _, place = scored_run
    before = scores_in(place)
    for step in (2, 4):
        assert cli.main(['evaluate', f'--workdir={place}/', f'--step={step}']) == 0
    assert scores_in(place) == before
    # As many steps of the same sampler, said otherwise, are the same question.
    said_otherwise = ['--config.evaluate.sampler=none', '--config.sampler.steps=3']
    assert cli.main(['evaluate', f'--workdir={place}', *said_otherwise]) == 0
    assert scores_in(place).keys() == before.keys()
    (score,) = (json.loads(content) for name, content in before.items() if '_step4_' in name)
    assert 'steps=3' in score['sampler'] and score['config']['sampler']['steps'] == 3 and score['seed'] == 5


@pytest.mark.slow
def test_options_of_evaluate_go_before_the_config(scored_run, tmp_path, capsys):
    _, place = scored_run
    ask = ['evaluate', f'--workdir={place}', f'--out={tmp_path}', '--json', '--config.evaluate.samples=2']
    assert cli.main([*ask, '--steps=1']) == 0
    assert 'steps=1,' in json.loads(capsys.readouterr().out)['sampler']
    assert cli.main([*ask, '--config.evaluate.sampler=euler']) == 0
    assert json.loads(capsys.readouterr().out)['sampler'].startswith('Euler(steps=3')
    assert cli.main([*ask, '--config.sampler.steps=5']) == 2
    assert 'config.sampler.steps=5: samples are scored with config.evaluate.sampler=DDIM' in capsys.readouterr().err


class Killed(BaseException):
    """Stands for kill -9, as far as what is on the disk goes."""


@pytest.mark.parametrize('batch', [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_run_killed_amid_a_score_ends_in_the_same_bits_and_figures(batch, scored_run, tmp_path, monkeypatch):
    run, place = scored_run
    monkeypatch.setattr(partial, 'SECONDS', 0.0)
    evaluate = runner.evaluate
    drawn = []

    def evaluate_and_kill(protocol, draw, *others, after_batch):

        def counting(labels, conditions_of, first):
            drawn.append(first)
            yield from draw(labels, conditions_of, first)

        def killing(done, count):
            after_batch(done, count)
            if len(drawn) == 2 and done == 8 * batch:
                raise Killed

        return evaluate(protocol, counting, *others, after_batch=killing)

    monkeypatch.setattr(runner, 'evaluate', evaluate_and_kill)
    with pytest.raises(Killed):
        loop.train_run(run, tmp_path)
    assert len(list((tmp_path / 'evals').glob('.partial*/rows_*.npz'))) == batch
    monkeypatch.setattr(loop, 'batches', only_from(2))
    assert loop.train_run(run, tmp_path)
    # The first score was complete; the second goes on where it was.
    assert drawn == [0, 0, 8 * batch]
    assert answers_in(tmp_path) == answers_in(place)
    assert prints(run, tmp_path) == prints(run, place)


def only_from(step):
    """loop.batches, which must not begin before a step."""
    inner = loop.batches

    def check_start(reader, order, start, *args):
        assert start == step
        return inner(reader, order, start, *args)

    return check_start


def score_once(run, place):
    """The score of a run's last step, when evaluate has written the same file over it."""
    run.check()
    assert loop.train_run(run, place)
    (before,) = scores_in(place).items()
    assert cli.main(['evaluate', f'--workdir={place}']) == 0
    assert [*scores_in(place).items()] == [before]
    return json.loads(before[1])


@pytest.mark.slow
def test_an_autoencoder_is_scored_by_what_it_reconstructs(tmp_path):
    vae = {'channels': (8, 16), 'patch': 2, 'blocks': 1, 'groups': 4, 'latent': 4, 'space': 4, 'time': 2}
    groups = {
        'data': {'source': 'bouncing_balls', 'frames': 5, 'pixels': 16, 'size': 32},
        'model': {'name': 'video_vae', **vae},
        'train': {'steps': 2, 'batch_size': 8, 'evaluate_every': 2, 'checkpoint_every': 0},
        'evaluate': {'real': 10, 'sampler': {'steps': 3}},
        'checkpoint': {'best': 'evaluate/psnr:max'},
        'ema': {'decays': (0.5,)},
    }
    score = score_once(Run(experiment_from(groups)), tmp_path)
    assert score['name'] == 'reconstruction10_5f' and 'sampler' not in score
    figures = score['figures']['reconstructed']
    assert {name: curve(tmp_path, f'evaluate/{name}') for name in figures} == {
        name: {2: value} for name, value in figures.items()
    }
    with Checkpoints(tmp_path / 'checkpoints', CheckpointConfig(best='evaluate/psnr:max')) as checkpoints:
        assert checkpoints.best() == (2, figures['psnr'])


@pytest.mark.slow
def test_a_network_of_context_frames_goes_on_from_those_of_held_out_clips(tmp_path):
    predicts = (
        'diffusion.context=1', 'diffusion.per_frame=true', 'evaluate.protocol=frame_prediction',
        'evaluate.protocol.context=1', 'evaluate.protocol.per_clip=2', 'train.evaluate_every=100',
    )  # fmt: skip
    score = score_once(make_run(*SCORED, *[f'--config.{each}' for each in predicts]), tmp_path)
    assert score['samples'] == 16 and score['context'] == 1
    assert curve(tmp_path, 'evaluate/mse') == {4: score['figures']['one sample']['mse']}


@pytest.mark.slow
def test_a_run_in_a_store_has_its_scores_there(scored_run):
    run, place = scored_run
    assert loop.train_run(run, 'fake://bucket/scored')
    stored = {name.rpartition('/')[2]: FakeStore.objects[name] for name in FakeStore.objects if '/evals/' in name}
    figures = [json.loads(content)['figures'] for _, content in sorted(stored.items())]
    assert figures == [answer['figures'] for answer in answers_in(place)]


@pytest.mark.slow
@pytest.mark.multidevice
def test_a_score_does_not_depend_on_the_mesh(scored_run, tmp_path):
    """Weights split over two devices, rows over four; a pixel may be rounded otherwise."""
    _, place = scored_run
    assert loop.train_run(make_run(*SCORED, '--config.mesh.fsdp=2', '--config.mesh.data=4'), tmp_path)
    assert_alike(tmp_path, place)


def assert_alike(place, other):
    """The scores of two runs have the same names but for the digits, and nearly the same figures."""
    for name in ('flicker', 'nearest_train', 'clips'):
        assert curve(place, f'evaluate/{name}') == pytest.approx(curve(other, f'evaluate/{name}'), rel=0.02)
    steps = [[score['step'] for score in answers_in(each)] for each in (place, other)]
    assert steps[0] == steps[1] == [2, 4]


@pytest.mark.slow
@pytest.mark.parametrize('stopped', [False, True])
def test_two_processes_score_together_and_leave_a_score_together(stopped, scored_run, tmp_path):
    _, place = scored_run
    argv = ('train', f'--config={BALLS}', f'--workdir={tmp_path}/run', *SMALL, *SCORED)
    if stopped:
        with Processes(2, tmp_path, *argv, environments={1: {'SIGTERM_AT': 'evaluating'}}) as both:
            ends = both.ends()
        assert [code for code, *_ in ends] == [3, 3], ends
        assert 'step 2: the evaluation is left' in ends[0][2] and 'evaluat' not in ends[1][2]
        assert not list((tmp_path / 'run' / 'evals').glob('*.json'))
    with Processes(2, tmp_path, *argv) as both:
        ends = both.ends()
    assert [code for code, *_ in ends] == [0, 0], ends
    assert_alike(tmp_path / 'run', place)


# Every batch of samples is on the disk at once.
EAGER = (
    'import sys; from vdm_jax.evals import partial; partial.SECONDS = 0.0; from vdm_jax import cli; '
    'sys.exit(cli.main(sys.argv[1:]))'
)


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_a_process_killed_amid_a_score_ends_as_one_never_disturbed(number, tmp_path):
    slow = ['--config.evaluate.samples=60', '--config.evaluate.batch_size=1', '--config.evaluate.sampler.steps=20']

    def train(place):
        options = ['train', f'--config={BALLS}', f'--workdir={place}', *SMALL, *SCORED, *slow]
        environment = one_device.environment(tmp_path / 'cache')
        command = [sys.executable, '-c', EAGER, *options]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)

    calm, killed = tmp_path / 'calm', tmp_path / 'killed'
    process = train(calm)
    assert process.wait(ENDURANCE) == 0, process.stderr.read()

    process = train(killed)
    deadline = time.monotonic() + ENDURANCE
    while not list((killed / 'evals').glob('.partial*/rows_00000003.npz')):
        assert time.monotonic() < deadline and process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    process.send_signal(number)
    assert process.wait(ENDURANCE) == (3 if number == signal.SIGTERM else -number)
    assert list((killed / 'evals').glob('.partial*'))
    assert (killed / 'checkpoints' / '2').exists() == (number == signal.SIGTERM)

    process = train(killed)
    assert process.wait(ENDURANCE) == 0, process.stderr.read()
    assert answers_in(killed) == answers_in(calm)
    run = make_run(*SCORED, *slow, devices=1)
    assert prints(run, killed) == prints(run, calm)


@pytest.mark.parametrize(
    'change, mistake',
    [
        (['data.source=synthetic', 'evaluate.protocol=usual'], '--protocol is missing: none is usual for a Synthetic'),
        (['evaluate.protocol=fvd2048_16f_tf'], 'config.evaluate.protocol: wants 2048 real clips'),
        (
            ['evaluate.protocol=frame_prediction', 'evaluate.protocol.context=1'],
            'trained with config.diffusion.context',
        ),
        (['evaluate.protocol=frame_prediction', 'evaluate.protocol.context=3'], 'leaves nothing to predict'),
        (['evaluate.protocol=pan_physics'], 'cannot score samples of a BouncingBalls'),
        (['evaluate.protocol=reconstruction'], 'reconstruct'),
        (['evaluate.guidance.scale=2', 'diffusion.condition_dropout=0'], 'config.evaluate.guidance.scale=2'),
        (
            ['evaluate.protocol=feature_distance', 'evaluate.protocol.weights=nowhere.safetensors'],
            'nowhere.safetensors',
        ),
    ],
)
def test_what_cannot_be_scored_is_found_before_the_run_begins(change, mistake):
    run = make_run(*SCORED, *[f'--config.{each}' for each in change])
    with pytest.raises(UserError, match=r'^config\.train\.evaluate_every=2: ') as caught:
        run.check()
    assert mistake in str(caught.value) and '\n' not in str(caught.value), caught.value
    quiet = dataclasses.replace(run.experiment, train=dataclasses.replace(run.experiment.train, evaluate_every=0))
    run.with_experiment(quiet).check()
