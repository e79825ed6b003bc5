"""The command line: what a user sees who makes a mistake, and what the commands print."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vdm_jax import cli, media
from vdm_jax.cli import outputs
from vdm_jax.experiment.experiment import experiment_dict, read_experiment

ROOT = Path(__file__).parents[2]
BALLS = f'--config={ROOT}/experiments/bouncing_balls.py'
FOLDER = f'--config={ROOT}/experiments/video_folder.py'
STARTER = ROOT / 'experiments' / 'bouncing_balls.safetensors'


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def mistake(capsys, *argv):
    """Runs a command that must fail as the user's mistake; returns its one line."""
    assert cli.main(list(argv)) == 2
    captured = capsys.readouterr()
    assert captured.out == '' and captured.err.count('\n') == 1, captured
    return captured.err


@pytest.mark.parametrize(
    'argv, parts',
    [
        (['trian'], ("'trian'", "'train'")),
        (['train', BALLS], ('--workdir',)),
        (['train', BALLS, '--workdir=W', '--stpes=3'], ('--stpes',)),
        (['train', '--config=nowhere.py', '--workdir=W'], ('nowhere.py', 'experiments/')),
        (['train', BALLS, '--workdir=W', '--config.train.stepz=3'], ('config.train.stepz', "'steps'")),
        (['train', BALLS, '--workdir=W', '--config.model.width=wide'], ('config.model.width=wide',)),
        (['train', BALLS, '--workdir=W', '--config.data.pixels=18'], ('config.model.patch', '18')),
        (['train', BALLS, '--workdir=W', '--config.mesh.fsdp=3', '--config.mesh.data=1'], ('config.mesh', '8')),
        (['train', FOLDER, '--workdir=W'], ('config.data.path',)),
        (['train', FOLDER, '--workdir=W', '--config.data.path=/nowhere'], ('config.data.path=/nowhere',)),
        (['train', FOLDER, '--workdir=W', f'--config.data.path={ROOT}/experiments'], ('holds no video',)),
        (['sample', '--workdir=W'], ('W', 'no run there')),
        (['evaluate', '--workdir=W', '--json'], ('W', 'no run there')),
        (['inspect', '--workdir=W'], ('W', 'no run there')),
        (['sample', '--workdir=W', '--num=some'], ('--num',)),
        (['train', BALLS, f'--workdir={ROOT}/setup.cfg'], ('--workdir', 'setup.cfg')),
        (['train', f'--config={ROOT}/setup.cfg', '--workdir=W'], ('setup.cfg', 'no Python file')),
        (['train', BALLS, '--workdir=W', '--config.sampler.name.steps=3'], ('config.sampler.name', 'ddim')),
        (['train', BALLS, '--workdir=W', '--config.model.depth=0'], ('config.model', 'depth')),
        (['train', BALLS, '--workdir=W', '--config.model.channels=4'], ('config.model.channels=4',)),
        (['train', BALLS, '--workdir=W', '--config.optim.learning_rate=nan'], ('config.optim.learning_rate=nan',)),
        (['train', BALLS, '--workdir=W', '--config.train.sample_count=0'], ('config.train.sample_count=0',)),
        (
            [
                'train',
                BALLS,
                '--workdir=W',
                '--config.mesh.fsdp=8',
                '--config.model.width=36',
                '--config.model.heads=2',
            ],
            ('fsdp', '36'),
        ),
        (
            ['train', BALLS, '--workdir=W', '--config.diffusion.process=ddpm', '--config.diffusion.process.steps=50'],
            ('config.sampler.steps=100', '50'),
        ),
        (
            ['train', BALLS, '--workdir=W', '--config.diffusion.condition_dropout=0', '--config.guidance.scale=2'],
            ('config.guidance.scale=2', 'condition_dropout'),
        ),
        (['train', FOLDER, '--workdir=W', f'--config.data.path={ROOT}', '--config.data.threads=-1'], ('threads',)),
        (['evaluate', f'--workdir={ROOT}', f'--weights={STARTER}'], ('not both',)),
        (['evaluate', f'--weights={STARTER}', '--protocol=fvd'], ('--protocol=fvd: want one of ball_physics, coll',)),
        (
            ['evaluate', f'--weights={STARTER}', '--protocol=pan_physics'],
            ('--protocol=pan_physics: it cannot score samples of a BouncingBalls (config.evaluate.protocol',),
        ),
        (['sample', f'--weights={ROOT}'], ('--weights', 'is not a regular file')),
        (['sample', f'--weights={ROOT}/setup.cfg'], ('not a safetensors file',)),
        (['benchmark', BALLS, '--steps=0'], ('--steps=0',)),
        (['train', BALLS, '--workdir=foo://bucket/run'], ('--workdir=foo://bucket/run', 'not supported')),
        (['export', '--workdir=W', f'--out={ROOT}/docs'], (f'--out={ROOT}/docs: is a directory', 'name a file')),
        (['export', '--workdir=W', '--out=/proc/no/such.safetensors'], ('--out=/proc/no', '/proc cannot be written')),
        (['sample', '--workdir=W', f'--out={ROOT}/setup.cfg'], ('--out=', 'setup.cfg is a file; name a directory')),
        (
            ['sample', '--workdir=W', f'--out={ROOT}/setup.cfg/deep'],
            (
                '--out=',
                'setup.cfg is a file',
            ),
        ),
        (['evaluate', f'--weights={STARTER}', '--out=/proc/no'], ('--out=/proc/no', '/proc cannot be written')),
        (['evaluate', '--workdir=/proc'], ('--out=/proc/evals', '/proc cannot be written')),
        (['convert', '--source=dit', '--checkpoint=C', f'--out={ROOT}/setup.cfg'], ('setup.cfg is a file',)),
        (['baselines', f'--out={ROOT}/docs'], ('is a directory; name a file',)),
        (['plans', f'--out={ROOT}/setup.cfg'], ('setup.cfg: no lines <!--',)),
        (['plan', '--config=experiments/nope.py'], ('--config=experiments/nope.py: no file experiments/nope.py',)),
        (['plan', '--config=experiments/nope.py:size=S'], ('no file experiments/nope.py;',)),
        (['baselines', '--config.a.b=1'], ('baselines: takes no --config.a.b=1',)),
        (['plans', '--config.a.b=1'], ('plans: takes no --config.a.b=1',)),
        (['export', '--workdir=W', f'--out={"x" * 300}'], ('a name has 300 bytes',)),
        (['sample', f'--weights={STARTER}', '--num=1', f'--out=W/{"x" * 300}'], ('a name has 300 bytes',)),
        (['convert', '--source=dit', '--out=W', f'--checkpoint={"x" * 300}'], ('--checkpoint=xxx', 'name too long')),
        (['train', BALLS, '--workdir=W\udcff'], ('--workdir=W\\udcff: is not UTF-8',)),
        (['sample', '--workdir=W', '--format=a\nb\x1b[2J'], (r"'a\nb\x1b[2J' is none of",)),
        (['sample', '--workdir=a\nb'], (r'--workdir=a\nb: no run there',)),
        (['inspect', '--workdir=gs:///x'], ('--workdir=gs:///x: names no bucket',)),
        (['sample', f'--weights={STARTER}', '--fps=nan', '--out=W'], ('--fps=nan: want 0.1 to 1000',)),
        (['inspect', BALLS, '--workdir=W'], ('inspect: --config=FILE is of no run', '--workdir')),
        (['inspect', BALLS, '--step=0'], ('inspect: --config=FILE is of no run', '--step')),
    ],
    ids=lambda value: ' '.join(value[:1] + value[2:]).replace('/', '|') if isinstance(value, list) else '',
)
def test_mistakes_are_one_line(argv, parts, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    message = mistake(capsys, *argv)
    assert all(part in message for part in parts), message
    assert not (tmp_path / 'W').exists()  # nothing was written


def test_ctrl_c_is_one_line(capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.outputs, 'check_paths', stop)
    assert cli.main(['sample', '--workdir=W']) == 130
    assert capsys.readouterr().err == '\nvdm_jax: stopped\n'


def test_an_unknown_platform_is_one_line(tmp_path):
    command = [sys.executable, '-m', 'vdm_jax', 'inspect', BALLS]
    environment = os.environ | {'JAX_PLATFORMS': 'nope'}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.count('\n') == 1, done.stderr
    assert "JAX_PLATFORMS or its plugin: Unable to initialize backend 'nope'" in done.stderr


@pytest.mark.parametrize('name', ['train', 'sample', 'inspect'])
def test_a_bucket_without_its_package_is_a_mistake_of_one_line(name, capsys, monkeypatch):
    import fsspec

    def filesystem(*_, **__):
        raise ImportError('Please install gcsfs to access Google Storage')

    monkeypatch.setattr(fsspec, 'filesystem', filesystem)
    config = [BALLS] if name == 'train' else []
    message = mistake(capsys, name, *config, '--workdir=gs://bucket/run')
    assert "pip install 'vdm_jax[gcs]'" in message


def test_a_run_without_checkpoints_is_named(capsys, tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps(experiment_dict(read_experiment(BALLS.partition('=')[2]))))
    assert mistake(capsys, 'sample', f'--workdir={tmp_path}').endswith('checkpoints: no checkpoint yet\n')


def test_where_is_written_is_tried_without_a_trace(tmp_path):
    old = tmp_path / 'old.safetensors'
    old.write_bytes(b'weights')
    for file, place in ((True, old), (True, tmp_path / 'a' / 'new'), (False, tmp_path), (False, tmp_path / 'a' / 'b')):
        outputs.check_writable_here(str(place), file)
    assert list(tmp_path.iterdir()) == [old] and old.read_bytes() == b'weights'


@pytest.mark.parametrize(
    'name, message',
    [
        ('sample', '--out DIR where to write; WORKDIR/samples where not given'),
        ('evaluate', '--out DIR where to write; WORKDIR/evals where not given'),
        ('export', '--out FILE safetensors file'),
        ('convert', '--out DIR run directory'),
        ('plans', '--out FILE Markdown page'),
        ('baselines', '--out FILE Markdown page'),
    ],
)
def test_help_explains_out_for_each_command(name, message, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, '--help'])
    assert message in ' '.join(capsys.readouterr().out.split())


def test_usage_names_every_command(capsys):
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in cli.COMMANDS)


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    """Three small videos and one broken one."""
    folder = tmp_path_factory.mktemp('clips')
    rng = np.random.default_rng(0)
    for number, frames in enumerate((12, 12, 3)):
        media.write_mp4(
            folder / f'{number}.mp4', np.repeat(rng.integers(0, 256, (frames, 4, 4, 3), np.uint8), 8, 1).repeat(8, 2)
        )
    (folder / 'broken.mp4').write_bytes(b'nothing')
    (folder / '0.txt').write_text('a caption, which training on a folder does not read')
    return folder


SMALL = [
    f'--config.{item}'
    for item in (
        'model.depth=2', 'model.width=16', 'model.heads=2', 'model.patch=8', 'data.frames=4',
        'data.pixels=16x24',
        'data.stride=1', 'train.steps=3', 'train.batch_size=8', 'train.log_every=1', 'train.sample_every=0',
        'optim.name=adamw', 'sampler.steps=2', 'data.max_broken=0.3', 'train.checkpoint_every=2',
    )
]  # fmt: skip


def test_a_folder_of_videos_from_training_to_score(clips, tmp_path, capsys):
    run = f'--workdir={tmp_path}/run'
    assert cli.main(['train', FOLDER, run, f'--config.data.path={clips}', *SMALL]) == 0
    stderr = capsys.readouterr().err
    assert 'broken.mp4' in stderr and '2.mp4' in stderr  # named, the broken one and the short one
    assert f'passed over in {clips}: 1 .txt' in stderr
    lines = [json.loads(line) for line in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()]
    counted = [line for line in lines if 'loss' in line][-1]
    assert counted['data/broken_videos'] == 1 and counted['data/short_videos'] == 1
    named = {kind: files for line in lines for kind in ('data/broken', 'data/short') if (files := line.get(kind))}
    assert 'broken.mp4' in named['data/broken'][0] and '2.mp4' in named['data/short'][0]

    assert cli.main(['train', FOLDER, run, f'--config.data.path={clips}', *SMALL, '--config.train.steps=4']) == 0
    assert 'resuming at step 3' in capsys.readouterr().err

    moved = clips.rename(tmp_path / 'moved')  # only from the run directory
    assert cli.main(['sample', run, '--num=3', f'--out={tmp_path}/out']) == 0
    printed = capsys.readouterr().out
    files = [Path(line.strip()) for line in printed.splitlines() if line.startswith('  /')]
    assert [file.suffix for file in files] == ['.mp4', '.gif', '.png'] and all(file.stat().st_size for file in files)
    assert all(re.fullmatch(r'step_000004_num3_[0-9a-f]{6}', file.stem) for file in files), files
    with Image.open(files[1]) as wide:
        assert wide.size == (2 * 24 * 4, 2 * 16 * 4)  # two of three in a row, enlarged by 4
    assert 'below 4' in mistake(capsys, 'sample', run, '--label=4')
    assert '--size=24x20: config.model.patch=8 does not divide' in mistake(capsys, 'sample', run, '--size=24x20')
    weights = f'--weights={tmp_path}/moved.safetensors'
    assert cli.main(['export', run, '--ema=0.99', f'--out={tmp_path}/moved.safetensors']) == 0
    assert 'step 4' in capsys.readouterr().out
    assert 'averages with decay 0.99' in mistake(capsys, 'sample', run, '--ema=0.5')
    assert cli.main(['sample', run, weights, '--num=2', '--label=1', '--size=24x16', f'--out={tmp_path}/out']) == 0
    (both,) = (tmp_path / 'out').glob('step_000004_beside_step_000004_num2_label1_size24x16_*.gif')
    with Image.open(both) as both:
        assert both.n_frames == 4 and both.size == (2 * (2 * 16 * 3 + 8), 24 * 3 + 16)  # in a panel each, with a title
    assert cli.main(['inspect', run]) == 0
    capsys.readouterr()
    assert 'different shapes' in mistake(capsys, 'sample', run, f'--weights={STARTER}')
    moved.rename(clips)

    assert 'ball_physics' in mistake(capsys, 'evaluate', run, '--protocol=ball_physics')
    assert cli.main(['evaluate', run]) == 0
    assert 'psnr_db' in capsys.readouterr().out
    assert cli.main(['evaluate', run, '--require']) == 1  # three steps memorise nothing
    capsys.readouterr()

    lenient = '--config.evaluate.protocol.threshold_db=0'
    assert 'name=usual has none, and recall can have it' in mistake(capsys, 'evaluate', run, lenient)
    verdicts = []
    for more in (['--protocol=recall'], ['--protocol=recall', lenient], ['--config.evaluate.protocol=recall', lenient]):
        assert cli.main(['evaluate', run, '--json', *more]) == 0
        score = json.loads(capsys.readouterr().out)
        verdicts.append((score['protocol'], score['verdict']['psnr']))
    recall = {'name': 'recall', 'threshold_db': 0.0}
    assert verdicts == [({'name': 'recall', 'threshold_db': 20.0}, False), (recall, True), (recall, True)]
    assert cli.main(['inspect', run, '--json']) == 0
    position = json.loads(capsys.readouterr().out)['data_position']
    cut = position.pop('data')
    identity = position.pop('clips')
    assert identity.startswith('4 ') and position == {'step': 4, 'seed': 0, 'batch_size': 8}
    assert cut['config.data'] == 'VideoFolder' and cut['config.data.frames'] == 4
    assert 'config.data.path' not in cut and 'config.data.threads' not in cut  # the folder may move

    few = [
        'train',
        FOLDER,
        f'--workdir={tmp_path}/few',
        f'--config.data.path={clips}',
        *SMALL,
        '--config.data.max_broken=0.1',
    ]
    assert 'broken.mp4' in mistake(capsys, *few)
    assert not (tmp_path / 'few').exists()


def test_python_m_vdm_jax_exits_with_2():
    process = subprocess.run([sys.executable, '-m', 'vdm_jax', 'nonsense'], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 2 and 'Traceback' not in process.stderr


def test_a_reader_that_has_seen_enough_is_no_mistake():
    """As `inspect | head` is: what is printed goes into a pipe that nobody reads to its end."""
    program = (
        'import sys; from vdm_jax import cli; cli.parser.format_usage = lambda: "line\\n" * 100_000; '
        'sys.exit(cli.main([]))'
    )
    command = [sys.executable, '-c', program]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b'line\n'
    process.stdout.close()
    assert process.wait(60) == 0 and process.stderr.read() == b''
