"""Which weights a command takes, how it reports them, and what it refuses in files of others."""

import dataclasses
import json
import os

import jax
import numpy as np
import pytest

from vdm_jax import cli
from vdm_jax.cli import restore
from vdm_jax.cli.evaluate import write_score
from vdm_jax.config.experiment_file import override
from vdm_jax.errors import Failure, UserError
from vdm_jax.evals import runner
from vdm_jax.evals.score import Score
from vdm_jax.experiment.experiment import experiment_dict, experiment_from
from vdm_jax.experiment.run import Run
from vdm_jax.pretrained import tensors, weights
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.workdir import write_run_files

GROUPS = {
    'data': {'source': 'synthetic', 'frames': 2, 'pixels': 4, 'size': 4, 'classes': 0},
    'model': {'depth': 1, 'layout': 'full', 'width': 16, 'heads': 2},
    'ema': {'decays': (0.999, 0.5, 0.0)},
    'mesh': {'data': 1},
}
SIZES = {'0.999': 1.0, '0.5': 2.0, '0.0': 3.0, 'raw': 4.0}  # what every parameter of each is


def make_run(workdir, sizes=SIZES, clips='4'):
    """A run directory at step 3 whose parameters, and each of whose averages, are of one number each."""
    run = Run(experiment_from(GROUPS), jax.devices()[:1])
    zeros = jax.tree.map(
        lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding), run.programs.abstract_state
    )

    def of(name):
        return jax.tree.map(lambda leaf: leaf + sizes[name], zeros.params)

    state = dataclasses.replace(zeros, params=of('raw'), ema={name: of(name) for name in zeros.ema})
    with jax.set_mesh(run.mesh), Checkpoints(f'{workdir}/checkpoints', run.experiment.checkpoint, writes=True) as saved:
        write_run_files(workdir, run.resolved)
        saved.save(3, state, {'step': 3, 'clips': clips})
        saved.wait()
    return workdir


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp('run') / 'run')


def mistake(capsys, *argv):
    """The one line of a command that fails as the user's mistake."""
    assert cli.main(list(argv)) == 2
    captured = capsys.readouterr()
    assert captured.err.count('\n') == 1, captured.err
    return captured.err


@pytest.mark.parametrize(
    ('options', 'name', 'ema'),
    [
        ([], '0.999', 0.999),
        (['--ema=0.9990'], '0.999', 0.999),
        (['--ema=5e-1'], '0.5', 0.5),
        (['--ema=0'], '0.0', 0.0),
        (['--ema=-0.0'], '0.0', 0.0),
        (['--ema=raw'], 'raw', 'raw'),
        (['--ema=RAW'], 'raw', 'raw'),
    ],
)
def test_the_requested_weights_are_loaded(options, name, ema, run, tmp_path, capsys):
    assert cli.main(['export', f'--workdir={run}', f'--out={tmp_path}/w', *options]) == 0
    assert f'w: step 3, ema {ema}, float16, ' in capsys.readouterr().out
    about, arrays = weights.read(tmp_path / 'w')
    assert about['ema'] == ema and type(about['ema']) is type(ema) and about['clips'] == '4'
    assert {value for array in arrays.values() for value in np.unique(array)} == {SIZES[name]}


@pytest.mark.parametrize('decay', ['0.25', '1', '-0.1', 'nan', 'inf', 'none', '', 'rawer'])
def test_averages_that_are_not_kept_are_refused(decay, run, tmp_path, capsys):
    message = mistake(capsys, 'export', f'--workdir={run}', f'--ema={decay}', f'--out={tmp_path}/w')
    assert '--ema' in message and (
        '0.999, 0.5, 0.0' in message if decay == '0.25' else 'want a number from 0 to below 1' in message
    )


def test_options_that_a_file_of_weights_has_no_use_for_are_refused(run, tmp_path, capsys):
    assert cli.main(['export', f'--workdir={run}', f'--out={tmp_path}/w']) == 0
    capsys.readouterr()
    for option in ('--step=7', '--ema=0.5'):
        message = mistake(capsys, 'sample', f'--weights={tmp_path}/w', option, f'--out={tmp_path}')
        assert f'{option}: a file of weights holds one average of one step' in message


def test_only_the_requested_items_are_read(run, monkeypatch, tmp_path):
    loaded_items = []
    load = Checkpoints._load

    def note_and_load(self, step, items, **how):
        loaded_items.append(items)
        return load(self, step, items, **how)

    monkeypatch.setattr(Checkpoints, '_load', note_and_load)
    for ema, items in (('raw', {'params'}), ('0.5', {'ema'})):
        loaded_items.clear()
        assert cli.main(['export', f'--workdir={run}', f'--ema={ema}', f'--out={tmp_path}/w']) == 0
        assert [set(each) for each in loaded_items] == [items, {'position'}]
        assert ema == 'raw' or set(loaded_items[0]['ema']) == {'0.5'}


def test_exports_record_their_dtype_and_are_reproducible(run, tmp_path, capsys):
    for name in 'ab':
        assert cli.main(['export', f'--workdir={run}', '--dtype=bfloat16', f'--out={tmp_path}/{name}']) == 0
    assert ', bfloat16, ' in capsys.readouterr().out
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()
    assert weights.read_provenance(tmp_path / 'a')['dtype'] == 'bfloat16'
    assert 'float64' in mistake(capsys, 'export', f'--workdir={run}', '--dtype=float64', f'--out={tmp_path}/c')
    assert cli.main(['inspect', f'--weights={tmp_path}/a']) == 0
    assert 'step 3, ema 0.999, bfloat16: intact, sha256' in capsys.readouterr().out
    assert cli.main(['inspect', f'--weights={tmp_path}/a', '--json']) == 0
    assert json.loads(capsys.readouterr().out)['clips'] == '4'
    content = (tmp_path / 'a').read_bytes()
    (tmp_path / 'a').write_bytes(content[:-9] + b'\x01' + content[-8:])
    assert 'a: is damaged' in mistake(capsys, 'inspect', f'--weights={tmp_path}/a')


@pytest.mark.slow
@pytest.mark.parametrize(('size', 'dtype'), [(70_000.0, 'float16'), (3.4e38, 'bfloat16')])
def test_numbers_that_a_dtype_does_not_hold_are_refused_by_name(size, dtype, tmp_path, capsys):
    workdir = make_run(tmp_path / 'run', SIZES | {'raw': size})
    ask = ['export', f'--workdir={workdir}', f'--out={tmp_path}/w', '--ema=raw']
    message = mistake(capsys, *ask, f'--dtype={dtype}')
    assert f'--dtype={dtype}: head/' in message and not (tmp_path / 'w').exists()
    assert cli.main([*ask, '--dtype=float32']) == 0


def test_what_is_not_finite_is_not_exported(tmp_path, capsys):
    workdir = make_run(tmp_path / 'run', SIZES | {'raw': np.nan, '0.5': np.inf})
    for ema in ('raw', '0.5'):
        assert cli.main(['export', f'--workdir={workdir}', f'--ema={ema}', f'--out={tmp_path}/w']) == 1
        stderr = capsys.readouterr().err
        assert f'step 3, ema {ema}, is not finite: ' in stderr and 'the first is head/' in stderr
        assert stderr.count('\n') == 1
        assert not (tmp_path / 'w').exists()


@pytest.mark.slow
def test_inspect_names_what_is_not_finite(tmp_path, capsys):
    workdir = make_run(tmp_path / 'run', SIZES | {'raw': np.nan, '0.5': np.inf})
    assert cli.main(['export', f'--workdir={workdir}', f'--out={tmp_path}/w']) == 0
    assert cli.main(['inspect', f'--workdir={workdir}']) == 0
    output = capsys.readouterr().out
    assert 'params    NOT FINITE: ' in output and 'ema       NOT FINITE: ' in output and 'opt_state NOT' not in output


@pytest.mark.slow
@pytest.mark.parametrize('command', ['sample', 'evaluate'])
def test_videos_that_are_not_finite_are_named_and_the_command_ends_with_1(command, tmp_path, capsys):
    workdir = make_run(tmp_path / 'run', SIZES | {'raw': np.nan})
    ask = [command, f'--workdir={workdir}', '--ema=raw', f'--out={tmp_path}/out', '--config.sampler.steps=2']
    ask += ['--protocol=recall', '--config.evaluate.real=2'] if command == 'evaluate' else ['--num=3']
    assert cli.main(ask) == 1
    stderr = capsys.readouterr().err
    assert 'are not finite' in stderr and stderr.count('\n') == 1
    assert not list(tmp_path.glob('out/*.json'))


def test_a_full_disk_is_one_line_and_what_was_there_stands(run, tmp_path, monkeypatch, capsys):
    ask = ['export', f'--workdir={run}', f'--out={tmp_path}/w']
    assert cli.main(ask) == 0
    before = (tmp_path / 'w').read_bytes()

    def full(_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    capsys.readouterr()
    assert cli.main([*ask, '--ema=raw']) == 1
    stderr = capsys.readouterr().err
    assert 'w: cannot be written (No space left on device); what was there before stands' in stderr
    assert stderr.count('\n') == 1 and (tmp_path / 'w').read_bytes() == before
    with pytest.raises(Failure, match='the score above cannot be written'):
        write_score(Score('balls', {}, {}, {'step': 3}), tmp_path / 'evals', ())
    assert not list((tmp_path / 'evals').iterdir())


@pytest.fixture
def evil(tmp_path):
    """Writes a file of weights whose values somebody else has chosen."""

    def write(**about):
        run = Run(experiment_from(GROUPS), jax.devices()[:1])
        arrays = {
            name: np.zeros(leaf.shape, np.float16)
            for name, leaf in weights.by_path(run.programs.abstract_state.params).items()
        }
        text = json.dumps({'step': 3, 'ema': 0.5, 'config': run.resolved} | about)
        tensors.write(tmp_path / 'evil', arrays, {'format': weights.FORMAT, 'about': text}, seal=True)
        return f'--weights={tmp_path}/evil'

    return write


@pytest.mark.parametrize('command', ['sample', 'evaluate'])
@pytest.mark.parametrize(
    'about',
    [{'step': '/../../../../pwned'}, {'step': -1}, {'ema': '../x'}, {'config': []}, {'codec': '../x'}, {'text': 1}],
)
def test_values_of_foreign_weights_name_no_files(command, about, evil, tmp_path, capsys):
    message = mistake(capsys, command, evil(**about), f'--out={tmp_path}/deep/deeper/out')
    assert "evil: its metadata 'about': " in message
    assert [path.name for path in tmp_path.iterdir()] == ['evil']


@pytest.mark.parametrize('step', ['/../../x', -1, None, 3.0, True])
@pytest.mark.parametrize('name', ['balls', '../balls'])
def test_scores_stay_in_their_directory(step, name, tmp_path):
    with pytest.raises(UserError, match='names no file'):
        runner.write(Score(name, {}, {}, {'step': step}), tmp_path / 'out', ())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'place', ['http://a/w.safetensors', 'https://a/b', 'file:///etc/passwd', 's4://b/w', '://', 'x://']
)
@pytest.mark.parametrize(
    'ask',
    [
        ['sample', '--weights={}'],
        ['inspect', '--weights={}'],
        ['sample', '--workdir={}'],
        ['export', '--workdir=W', '--out={}'],
        ['convert', '--source=dit', '--out=W', '--checkpoint={}'],
        ['train', '--workdir=W', '--config={}'],
        ['train', '--workdir=W', '--from={}'],
        ['train', '--workdir=W', '--config=experiments/bouncing_balls.py', '--config.latents={}'],
        ['inspect', '--config=experiments/video_folder.py', '--config.data.path={}'],
        ['inspect', '--config=experiments/latent_video.py', '--config.codec.path={}'],
        ['inspect', '--config=experiments/bouncing_balls.py', '--config.reconstruction.lpips_path={}'],
    ],
    ids=lambda ask: ' '.join(ask[:1] + ask[-1:]),
)
def test_places_of_other_kinds_are_refused_in_one_line(place, ask, capsys):
    message = mistake(capsys, *(part.format(place) for part in ask))
    assert f'{ask[-1].format(place).removeprefix("--")}: ' in message and ':// is not supported' in message


@pytest.mark.parametrize('kind', ['/dev/zero', '/dev/full', 'pipe', 'link', 'none', 'a\0b'])
def test_a_codec_is_a_directory_or_a_regular_file(kind, tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'link').symlink_to('/dev/zero')
    path = kind if kind.startswith('/') else f'{tmp_path}/{kind}'
    codec = {'name': 'video_vae', 'path': path, 'model': {'channels': (8, 8, 16), 'patch': 2, 'groups': 4}}
    groups = GROUPS | {'codec': codec, 'data': GROUPS['data'] | {'frames': 5, 'pixels': 16}}
    groups['model'] = GROUPS['model'] | {'patch': 1}
    with pytest.raises(UserError, match=r'^config\.codec\.path=.*: (is not a regular file|no such file|embedded null)'):
        Run(experiment_from(groups), jax.devices()[:1]).frozen  # noqa: B018


SET = [
    'config.model.dtype=bfloat16',
    'config.model.attention.full=xla',
    'config.diffusion.process=logsnr_cosine',
    'config.sampler.steps=7',
    'config.sampler=heun',
    'config.guidance.scale=2',
    'config.evaluate.seed=1',
    'config.evaluate.samples=3',
    'config.data.frames=4',
    'config.data.classes=2',
    'config.codec=sd_vae',
    'config.text=hashing',
    'config.reconstruction.kl_weight=1e-3',
]
ELSEWHERE = [
    'config.train.batch_size=4',
    'config.optim.learning_rate=1e-3',
    'config.mesh.data=2',
    'config.model.scan=true',
    'config.model.remat=full',
    'config.evaluate.batch_size=2',
    'config.latents=DIR',
    'config.checkpoint.keep_last=1',
]


def file_of(tmp_path, *assignments, **about):
    experiment = experiment_from(override(GROUPS, list(assignments)))
    config = experiment_dict(experiment)
    settings = {'step': 3, 'ema': 0.5, 'config': config, 'overrides': list(assignments)} | about
    return runner.write(Score('balls', {}, {}, settings), tmp_path, experiment.data.movable_keys)


def test_scores_of_other_settings_stand_beside_each_other_and_of_the_same_replace_each_other(tmp_path):
    plain = file_of(tmp_path)
    others = [file_of(tmp_path, assignment) for assignment in SET]
    others += [file_of(tmp_path, ema='raw'), file_of(tmp_path, codec='a' * 64), file_of(tmp_path, weights='b')]
    assert len({plain, *others}) == 1 + len(others) == len(list(tmp_path.iterdir()))
    assert {file_of(tmp_path, assignment) for assignment in ELSEWHERE} == {plain}
    assert runner.read(others[0]).settings['config']['model']['dtype'] == 'bfloat16'
    assert runner.read(others[0]).settings['overrides'] == ['config.model.dtype=bfloat16']


class CodecRun:
    """A run with a codec of this fingerprint."""

    def __init__(self, fingerprint):
        self.codec_fingerprint = fingerprint
        self.experiment = experiment_from(GROUPS | {'codec': {'name': 'sd_vae', 'path': 'vae'}})


def test_a_codec_is_that_of_training_unless_another_one_is_allowed():
    for now, was in ((None, None), (None, 'a'), ('a', None), ('a', 'a')):
        about = restore.describe_codec(CodecRun(now), {'codec': was} if was else {}, allow_other=False)
        assert about == ({'codec': now} if now else {})
    with pytest.raises(
        UserError, match=r'config.codec.path=vae: .* trained on latents of the codec b, .*--allow-other'
    ):
        restore.describe_codec(CodecRun('a'), {'codec': 'b'}, allow_other=False)
    assert restore.describe_codec(CodecRun('a'), {'codec': 'b'}, allow_other=True) == {
        'codec': 'a',
        'codec_of_training': 'b',
    }
