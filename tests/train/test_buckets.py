"""Training on buckets: one program each, going on is never stopping, and other buckets are another run."""

import dataclasses
import json
import zlib

import jax
import numpy as np
import pytest

from tests.data.videos import encode, encode_numbers
from vdm_jax import cli
from vdm_jax.config.experiment_file import override
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run
from vdm_jax.planning.lowering import abstract_batch
from vdm_jax.train import loop, resume, validation
from vdm_jax.train.position import check_position

ITEMS = [
    f'--config.{item}'
    for item in (
        'model.depth=1', 'model.layout=full', 'model.width=16', 'model.heads=2', 'model.patch=4', 'model.time_patch=1',
        'train.steps=6', 'train.batch_size=2', 'train.log_every=1', 'train.checkpoint_every=3', 'train.sample_count=2',
        'train.validate_every=6', 'train.validate_batches=6', 'sampler.steps=2',
        'optim.name=adamw', 'optim.warmup_steps=1', 'ema.decays=0.9',
    )
]  # fmt: skip


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    pytest.importorskip('av')
    path = tmp_path_factory.mktemp('videos')
    for i in range(4):
        encode(path / f'wide{i}.mp4', encode_numbers(8, 32, 64))
        encode(path / f'square{i}.mp4', encode_numbers(4, 48, 48))
    return path


def make(folder, items=(), devices=1, buckets=('4x8x16@3', '2x8x8')):
    groups = {
        'data': {
            'source': 'bucketed',
            'clips': {'source': 'video_folder', 'path': str(folder), 'frames': 1},
            'buckets': buckets,
        }
    }
    return Run(experiment_from(override(groups, ITEMS + list(items))), jax.devices()[:devices])


@pytest.fixture(scope='module')
def finished_run(folder, tmp_path_factory):
    run = make(folder, buckets=('8x8x16@3', '2x8x8'))
    path = tmp_path_factory.mktemp('run')
    assert loop.train_run(run, path)
    return run, path


def lines(path):
    return [json.loads(line) for line in (path / 'metrics.jsonl').read_text().splitlines()]


def test_every_bucket_is_compiled_once_and_both_are_trained_on(finished_run):
    run, path = finished_run
    assert [step._cache_size() for step in run.programs.train_steps] == [1, 1]
    assert run.network.latent_shapes == ((8, 8, 16, 3), (2, 8, 8, 3)) and run.data.batch_sizes == (3, 2)
    entries = lines(path)
    assert all(np.isfinite(line['loss']) for line in entries if 'loss' in line)
    assert any('validation_loss' in line for line in entries)


@pytest.mark.slow
def test_samples_are_of_the_first_bucket(finished_run):
    run = finished_run[0]
    videos = validation.preview(run, run.programs.init_state())
    assert videos.shape == (2, 8, 8, 16, 3) and videos.dtype == np.uint8


def test_a_resumed_run_equals_an_uninterrupted_one(finished_run, folder, tmp_path):
    run, uninterrupted = finished_run
    again = make(folder, ['--config.train.validate_every=0'], buckets=('8x8x16@3', '2x8x8'))
    again = again.with_parts(programs=run.programs)
    assert not loop.train_run(again, tmp_path, stop=lambda step: step == 2)
    assert loop.train_run(again, tmp_path)

    def losses(path):
        return [line['loss'] for line in lines(path) if 'loss' in line]

    assert losses(tmp_path) == losses(uninterrupted)


def test_a_resume_with_other_buckets_is_refused(finished_run, folder):
    _, path = finished_run
    other = make(folder, ['--config.train.steps=9'], buckets=('8x8x16@3', '2x8x8@4'))
    with pytest.raises(UserError, match='config.data.buckets'):
        loop.train_run(other, path)
    # The position in the data differs even where the config is the same and the clips are not.
    was = resume.describe_position(finished_run[0], 6)
    now = resume.describe_position(other, 6)
    with pytest.raises(
        UserError, match=r"config.data.buckets was \['8x8x16@3', '2x8x8'\] and is \['8x8x16@3', '2x8x8@4'\]"
    ):
        check_position(path, was, now)


@pytest.mark.slow
def test_a_step_on_many_devices_is_that_of_one(finished_run, folder):
    """Batches of 3 and 2 clips, filled up on 4 devices."""
    run = finished_run[0]
    many = make(folder, devices=4, buckets=('8x8x16@3', '2x8x8'))
    for bucket in (0, 1):
        results = []
        for each in (run, many):
            rng = np.random.default_rng(bucket)
            video = rng.integers(0, 256, (each.data.batch_sizes[bucket], *each.data.shapes[bucket]), np.uint8)
            batch = {
                'video': video[each.batch_layout.local_rows[bucket]],
                'label': np.zeros(len(each.batch_layout.local_rows[bucket]), np.int32),
            }
            with jax.set_mesh(each.mesh):
                _, scalars = each.programs.train_steps[bucket](
                    each.programs.init_state(), each.batch_layout.to_global(batch, bucket)
                )
            results.append(float(scalars['loss']))
        assert results[1] == pytest.approx(results[0], rel=1e-5)


def test_a_plan_is_made_for_the_bucket_with_most_pixels(folder):
    run = make(folder, buckets=('2x8x8@64', '8x8x16@3'))
    assert run.batch_layout.largest == 0 and abstract_batch(run)['video'].shape == (64, 2, 8, 8, 3)
    assert abstract_batch(make(folder, buckets=('2x8x8@2', '8x8x16@3')))['video'].shape == (3, 8, 8, 16, 3)


def test_a_bucket_that_does_not_divide_into_patches_is_named_before_anything_is_written(folder, tmp_path, capsys):
    file = tmp_path / 'experiment.py'
    clips = {'source': 'video_folder', 'path': str(folder)}
    data = {'source': 'bucketed', 'clips': clips, 'buckets': ('8x8x16@3', '2x10x8')}
    file.write_text(f'def get_config(arg=None):\n    return {{"data": {data!r}}}\n')
    assert cli.main(['train', f'--config={file}', f'--workdir={tmp_path}/run', *ITEMS]) == 2
    assert 'does not divide the height of 10' in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('setting', ['validate_every=1', 'sample_every=1'])
def test_a_run_without_the_held_out_clips_it_needs_is_refused_before_training(folder, setting):
    # Of all files only a square one is held out, and the first bucket is for wide ones.
    first = sorted(zlib.crc32(path.name.encode()) / 2**32 for path in folder.iterdir())
    items = ['train.validate_every=0', f'train.{setting}', 'diffusion.context=1']
    items += ['data.clips.split=train', f'data.clips.held_out={sum(first[:2]) / 2}', 'data.short=drop']
    buckets = ('8x8x16@3',) if 'validate' in setting else ('8x8x16@3', '2x8x8')
    run = make(folder, [f'--config.{item}' for item in items], buckets=buckets)
    with pytest.raises(UserError, match='config.data.buckets=8x8x16@3: no held-out clip is there'):
        run.check()


def test_one_bucket_trains_like_the_largest(finished_run):
    run = finished_run[0].for_bucket(1)
    assert run.data.batch_sizes == (2,) and run.data.shapes == ((2, 8, 8, 3),)
    assert dataclasses.replace(run.data.source, only=None) == finished_run[0].data.source
