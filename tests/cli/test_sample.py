"""The command sample: names of its files, batches, frames a second, and weights that give nan."""

import argparse
import dataclasses
import json
import types

import jax
import numpy as np
import pytest

from vdm_jax import cli
from vdm_jax.cli.conditions import make_stem
from vdm_jax.cli.sample import choose_fps
from vdm_jax.data.joint_images import JointImages
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.video_folder import VideoFolder
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.resume import describe_position
from vdm_jax.train.workdir import write_run_files

SMALL = [
    f'--config.{item}'
    for item in (
        'model.depth=1', 'model.layout=full', 'model.width=16', 'model.heads=2', 'model.patch=4', 'model.time_patch=1',
        'data.frames=2', 'data.pixels=8', 'data.size=64', 'sampler=ddim', 'sampler.steps=2', 'optim.name=adamw',
        'ema.decays=0.9',
    )
]  # fmt: skip


@pytest.fixture(autouse=True, scope='module')
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='module')
def workdirs(tmp_path_factory):
    """Two runs that never trained: (of zeros, which give 0; of those with nan for label 1)."""
    run = Run(read_experiment('experiments/bouncing_balls.py', SMALL), jax.devices()[:1])
    places = []
    with jax.set_mesh(run.mesh):

        def zeros(leaf):
            return jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding)  # compiles nothing

        state = jax.tree.map(zeros, run.programs.abstract_state)
        params = state.params
        broken = jax.tree.map(lambda leaf: leaf, state.params)
        table = np.array(params['label_embed']['table'])
        table[1] = np.nan
        broken['label_embed']['table'] = jax.device_put(table, params['label_embed']['table'].sharding)
        for weights in (params, broken):
            place = tmp_path_factory.mktemp('run')
            write_run_files(place, run.resolved)
            one = dataclasses.replace(state, params=weights, ema={'0.9': weights})
            with Checkpoints(place / 'checkpoints', run.experiment.checkpoint, writes=True) as checkpoints:
                checkpoints.save(20, one, describe_position(run, 20))
                checkpoints.wait()
            places.append(place)
    return places


def videos_in(folder):
    return np.stack([np.load(path) for path in sorted(folder.glob('*.npy'))])


def test_batches_decide_nothing_and_what_is_written_is_listed(workdirs, tmp_path, capsys):
    command = ['sample', f'--workdir={workdirs[0]}', f'--out={tmp_path}', '--num=4', '--seed=5', '--format=npy,grid']
    for more in ([], ['--batch-size=2']):
        assert cli.main([*command, *more]) == 0
        (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())  # the same one again
        if not more:
            videos = videos_in(folder)
    assert np.abs(videos_in(folder).astype(int) - videos).max() <= 1 and videos.shape == (4, 2, 8, 8, 3)
    assert f'  {folder}/: 4 npy' in capsys.readouterr().out
    rows = [json.loads(line) for line in (folder / 'samples.jsonl').read_text().splitlines()]
    assert [(row['file'], row['number'], row['label'], row['seed'], row['prompt']) for row in rows] == [
        (f'00000{i}.npy', i, i % 2, 5, None) for i in range(4)
    ]
    assert {path.suffix for path in tmp_path.iterdir()} == {'', '.mp4', '.gif', '.png'}


def test_weights_that_give_nan_are_named_and_nothing_black_is_written(workdirs, tmp_path, capsys):
    command = ['sample', f'--workdir={workdirs[1]}', f'--out={tmp_path}', '--num=4', '--format=grid,npy']
    assert cli.main(command) == 1
    captured = capsys.readouterr()
    assert captured.err.count('\n') == 1 and '2 of 4 videos of ' in captured.err and 'step 20' in captured.err
    assert 'not finite (nan or infinity): number 1, 3.' in captured.err
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert sorted(path.name for path in folder.glob('*.npy')) == ['000000.npy', '000002.npy']
    assert videos_in(folder).min() > 100  # grey, as of weights of zeros
    assert cli.main([*command, '--label=1', f'--out={tmp_path}/none']) == 1  # not one that could be shown
    assert not (tmp_path / 'none').exists()
    assert 'number 0 to 3.' in capsys.readouterr().err


def test_weights_that_give_nan_are_not_scored(workdirs, tmp_path, capsys):
    command = ['evaluate', f'--workdir={workdirs[1]}', f'--out={tmp_path}', '--config.evaluate.samples=4']
    assert cli.main([*command, '--protocol=recall', '--batch-size=4']) == 1
    captured = capsys.readouterr()
    assert captured.err.count('\n') == 1 and 'videos are not finite' in captured.err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'more, message',
    [
        (['--format=avi'], "--format=avi: 'avi' is none of grid, mp4, gif, npy, frames"),
        (['--fps=0'], '--fps=0.0: want 0.1 to 1000'),
        (['--batch-size=0'], 'config.evaluate.batch_size'),
        (['--config.guidance.channels=4'], 'config.guidance.channels=4: what is sampled has 3 channels'),
        (['--num=0', '--label=0'], '--num=0: want 1 or more'),
        (['--label=-1'], '--label=-1: want a label from 0 to below '),
        (['--scalars=fps=8'], '--scalars=fps=8: the network is conditioned on no numbers'),
    ],
)
def test_options_that_no_file_can_have_are_one_line(more, message, workdirs, tmp_path, capsys):
    assert cli.main(['sample', f'--workdir={workdirs[0]}', f'--out={tmp_path}', *more]) == 2
    captured = capsys.readouterr()
    assert captured.err.count('\n') == 1 and message in captured.err and not captured.out


def test_clips_that_a_network_was_not_trained_on_are_named(workdirs, capsys):
    assert cli.main(['evaluate', f'--workdir={workdirs[0]}', '--config.data.size=63']) == 2
    assert 'config.data: the network was trained on the clips 64; found 63: point it at' in capsys.readouterr().err


USUAL = {'num': 16, 'seed': 0, 'format': 'grid'}


def stem(*assignments, **options):
    unset = dict.fromkeys(('steps', 'guidance', 'label', 'scalars', 'ema', 'fps', 'prompt', 'negative', 'weights'))
    args = unset | USUAL | {'workdir': 'R', 'out': 'R/samples', 'batch_size': None, 'step': None} | options
    return make_stem(argparse.Namespace(**args), list(assignments), [20], USUAL)


def test_file_names_hold_the_settings_and_differ_between_commands():
    assert stem() == stem(batch_size=3, format='npy', step=20) == 'step_000020'
    assert stem(guidance=2.0, seed=3, num=4) == 'step_000020_num4_guidance2.0_seed3'
    commands = [
        stem(), stem('config.sampler.eta=1'), stem('config.sampler.eta=0'), stem('config.model.dtype=bfloat16'),
        stem('config.diffusion.process.path=gvp'), stem('config.codec.path=other'), stem(num=4), stem(num=5),
        stem(seed=1), stem(ema=0.0), stem(ema='raw'), stem(fps=12.0), stem(label=0), stem(scalars='fps=8'),
        stem(prompt=['a']), stem(prompt=['b']), stem(prompt=['a', 'b']), stem(prompt=['a'], negative='b'),
        stem(negative=''), stem(weights='a', workdir=None), stem(weights='b', workdir=None),
        stem(out='O'), stem(out='O', workdir='S'), stem('config.sampler.eta=1', guidance=2.0),
    ]  # fmt: skip
    assert len({*commands}) == len(commands)
    assert all(
        name.startswith('step_000020') and set(name) <= set('abcdefghijklmnopqrstuvwxyz0123456789_.=')
        for name in commands
    )
    # Of a key that is set twice the last counts, and the order of others does not.
    assert (
        stem('config.a=1', 'config.b=2', 'config.a=3')
        == stem('config.a=3', 'config.b=2')
        != stem('config.a=1', 'config.b=2')
    )


def test_frames_a_second_are_those_of_the_option_the_condition_or_the_clips(tmp_path):
    (tmp_path / 'a.mp4').write_bytes(b'')
    folder = VideoFolder(path=str(tmp_path), frames=2, pixels=8, fps=24.0, stride=2)
    slow = dataclasses.replace(folder, stride=4)
    none = Synthetic(frames=2, pixels=8)

    def both(*sources):
        return Mixture(sources=sources, weights=(1.0,) * len(sources))

    assert folder.clip_fps == 12 and dataclasses.replace(folder, fps=None).clip_fps is None and none.clip_fps is None
    assert both(folder, folder).clip_fps == 12 and both(folder, slow).clip_fps is both(folder, none).clip_fps is None
    assert JointImages(clips=folder, images=none).clip_fps == 12

    def chosen(source, fps=None, scalars=None):
        return choose_fps(
            argparse.Namespace(fps=fps, scalars=scalars),
            types.SimpleNamespace(data=types.SimpleNamespace(source=source)),
        )

    assert chosen(folder, 23.976, 'fps=30') == 23.976
    assert chosen(folder, scalars='motion=1,fps=29.97') == 29.97
    assert chosen(folder, scalars='motion=1') == 12 and chosen(none) == 8 and chosen(none, scalars='fps=0') == 8
