"""The command line: what a user sees who makes a mistake, and what the commands print."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vdm_jax import cli, media

ROOT = Path(__file__).parents[1]
BALLS = f'--config={ROOT}/experiments/bouncing_balls.py'
FOLDER = f'--config={ROOT}/experiments/video_folder.py'


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
    'argv, says',
    [
        (['trian'], ("'trian'", "'train'")),
        (['train', BALLS], ('--workdir',)),
        (['train', BALLS, '--workdir=W', '--stpes=3'], ('--stpes',)),
        (['train', '--config=nowhere.py', '--workdir=W'], ('nowhere.py', 'experiments/')),
        (['train', BALLS, '--workdir=W', '--config.train.stepz=3'], ('config.train.stepz', "'steps'")),
        (['train', BALLS, '--workdir=W', '--config.model.width=wide'], ('config.model.width=wide',)),
        (['train', BALLS, '--workdir=W', '--config.data.pixels=18'], ('config.model.patch', '18')),
        (['train', BALLS, '--workdir=W', '--config.train.batch_size=3', '--config.mesh.data=8'], ('batch_size=3',)),
        (['train', BALLS, '--workdir=W', '--config.mesh.fsdp=3', '--config.mesh.data=1'], ('config.mesh', '8')),
        (['train', FOLDER, '--workdir=W'], ('config.data.path',)),
        (['train', FOLDER, '--workdir=W', '--config.data.path=/nowhere'], ('config.data.path=/nowhere',)),
        (['train', FOLDER, '--workdir=W', f'--config.data.path={ROOT}/experiments'], ('holds no video',)),
        (['sample', '--workdir=W'], ('W', 'no run there')),
        (['evaluate', '--workdir=W', '--json'], ('W', 'no run there')),
        (['inspect', '--workdir=W'], ('W', 'no run there')),
        (['sample', '--workdir=W', '--num=some'], ('--num',)),
    ],
    ids=lambda value: ' '.join(value[:1] + value[2:]).replace('/', '|') if isinstance(value, list) else '',
)
def test_mistakes_are_one_line(argv, says, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    said = mistake(capsys, *argv)
    assert all(part in said for part in says), said
    assert not (tmp_path / 'W').exists()  # nothing was written


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
    return folder


SMALL = [
    f'--config.{item}'
    for item in (
        'model.depth=2', 'model.width=16', 'model.heads=2', 'model.patch=8', 'data.frames=4', 'data.pixels=16',
        'data.stride=1', 'train.steps=3', 'train.batch_size=8', 'train.log_every=1', 'train.sample_every=0',
        'optim.name=adamw', 'sampler.steps=2', 'data.max_broken=0.3', 'train.checkpoint_every=2',
    )
]  # fmt: skip


def test_a_folder_of_videos_from_training_to_score(clips, tmp_path, capsys):
    run = f'--workdir={tmp_path}/run'
    assert cli.main(['train', FOLDER, run, f'--config.data.path={clips}', *SMALL]) == 0
    said = capsys.readouterr().err
    assert 'broken.mp4' in said and '2.mp4' in said  # named, the broken one and the short one
    lines = [json.loads(line) for line in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()]
    counted = [line for line in lines if 'loss' in line][-1]
    assert counted['data/broken_videos'] == 1 and counted['data/short_videos'] == 1

    assert cli.main(['train', FOLDER, run, f'--config.data.path={clips}', *SMALL, '--config.train.steps=4']) == 0
    assert 'resuming at step 3' in capsys.readouterr().err

    assert cli.main(['sample', run, '--num=3', f'--out={tmp_path}/out']) == 0
    printed = capsys.readouterr().out
    for ending in ('.mp4', '.gif', '.png'):
        assert f'step_000004{ending}' in printed and (tmp_path / 'out' / f'step_000004{ending}').stat().st_size
    assert 'below 4' in mistake(capsys, 'sample', run, '--label=4')

    assert cli.main(['evaluate', run]) == 0
    assert 'psnr_db' in capsys.readouterr().out
    assert cli.main(['evaluate', run, '--require']) == 1  # three steps memorise nothing
    capsys.readouterr()
    assert cli.main(['inspect', run, '--json']) == 0
    assert json.loads(capsys.readouterr().out)['data_position'] == {'step': 4, 'seed': 0, 'batch_size': 8}

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
    found = subprocess.run([sys.executable, '-m', 'vdm_jax', 'nonsense'], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 2 and 'Traceback' not in found.stderr
