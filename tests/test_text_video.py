"""Text-conditioned video from records with captions: trained, sampled by prompts, scored."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from data_pipelines import __main__ as data_pipelines
from tests.data.small_set import record, write_set
from vdm_jax import cli
from vdm_jax.cli.conditions import text_conditions
from vdm_jax.data.joint_images import JointImages
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.records.schema import Caption
from vdm_jax.errors import UserError
from vdm_jax.evals.frame_prediction import FramePrediction
from vdm_jax.evals.recall import Recall
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.models.conditions import without
from vdm_jax.planning.lowering import abstract_batch, abstract_conditions
from vdm_jax.sampling.conditioning import complete_conditions
from vdm_jax.sampling.generate import generate_videos
from vdm_jax.train.position import check_position
from vdm_jax.train.resume import describe_position
from vdm_jax.train.workdir import check_workdir

pytest.importorskip('av')

FILE = """
from vdm_jax.config import ConfigDict


def get_config(arg=None):
    return ConfigDict({groups})
"""
WIDTH = 12


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """An experiment file, a set of records of which one has no caption, and the embeddings of the others'."""
    place = tmp_path_factory.mktemp('text')
    captions_of_clips = [('it gets brighter', 'light grows'), ('a flash',), (), ('the end is dark',)]
    records = [
        record(f'{i}', 12, 60 * i, captions=tuple(map(Caption, texts)), scores={'motion': 0.1 * i})
        for i, texts in enumerate(captions_of_clips)
    ]
    write_set(place / 'set', records, shards=1)
    data = {'source': 'records', 'path': f'{place}/set', 'text': f'{place}/texts', 'frames': 4, 'pixels': 8}
    network = {'depth': 1, 'layout': 'full', 'width': 16, 'heads': 2, 'patch': 4, 'text_width': WIDTH}
    train = {'steps': 3, 'batch_size': 4, 'log_every': 1}
    groups = {
        'data': data,
        'model': network,
        'text': {'name': 'hashing', 'width': WIDTH, 'length': 5},
        'diffusion': {'condition_dropout': 0.3},
        'train': train | {'validate_every': 3, 'validate_batches': 1},
        'optim': {'name': 'adamw'},
        'ema': {'decays': (0.9,)},
        'sampler': {'steps': 2},
        'guidance': {'scale': 2.0},
        'evaluate': {'real': 4, 'batch_size': 8},
    }
    (place / 'experiment.py').write_text(FILE.replace('{groups}', repr(groups)))
    assert data_pipelines.main(['cache-text', f'--config={place}/experiment.py', f'--out={place}/texts']) == 0
    return place


@pytest.fixture(scope='module')
def trained_run(place):
    assert cli.main(['train', f'--config={place}/experiment.py', f'--workdir={place}/run']) == 0
    return place / 'run'


def run_of(place, *more):
    return Run(read_experiment(f'{place}/experiment.py', list(more)), jax.devices()[:1])


def make_random_params(run):
    """Return weights of which none is zero, as some are at first, so that conditions reach the output."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), run.programs.abstract_state.params
    )


def test_it_trains(trained_run):
    lines = [json.loads(line) for line in (trained_run / 'metrics.jsonl').read_text().splitlines()]
    losses = [line['loss'] for line in lines if 'loss' in line]
    assert len(losses) == 3 and np.isfinite(losses).all()
    assert any(np.isfinite(line.get('validation_loss', np.nan)) for line in lines)
    without_text = [line['data/clips_without_text'] for line in lines if 'data/clips_without_text' in line]
    assert without_text[-1] >= 1


def test_a_batch_has_the_texts_of_its_clips_and_plan_has_their_shapes(place):
    run = run_of(place)
    run.check()
    clip = run.data.reader[0]
    assert clip['text'].shape == (5, WIDTH) and clip['text'].dtype == np.float32
    assert [int(run.data.reader[i]['text_mask'].sum()) for i in range(4)] == [3, 2, 0, 4]
    drawn = {run.data.reader.draw(0, np.random.default_rng(seed))['text_mask'].sum() for seed in range(20)}
    assert drawn == {2, 3}  # both captions
    shapes = {name: shape.shape for name, shape in abstract_batch(run).items()}
    assert shapes['text'] == (4, 5, WIDTH) and shapes['text_mask'] == (4, 5)
    assert abstract_conditions(run)[0]['text'].shape == (8, 5, WIDTH)
    blind = run_of(place, '--config.model.text_width=none', '--config.data.text=none')
    assert run.forward_flops > blind.forward_flops


def test_a_clip_without_caption_is_one_whose_text_is_dropped(place):
    """Both train the unconditional branch; a text changes the output."""
    run = run_of(place)
    params = make_random_params(run)
    network = jax.jit(run.network.apply)
    x = jax.random.normal(jax.random.key(0), (1, *run.network.latent_shape))
    t = np.full(1, 500.0, np.float32)

    def text_of(clip):
        return {name: clip[name][None] for name in ('text', 'text_mask')}

    with_text = text_of(run.data.reader[0])
    without_text = text_of(run.data.reader[2])
    output = network(params, x, t, without_text)
    np.testing.assert_array_equal(output, network(params, x, t, without(with_text, run.model_config.classes)))
    assert np.abs(output - network(params, x, t, with_text)).max() > 1e-3


def test_prompts_make_videos(trained_run, tmp_path, capsys):
    command = ['sample', f'--workdir={trained_run}', '--num=3', f'--out={tmp_path}']
    assert cli.main([*command, '--prompt=light grows', '--prompt=the end']) == 0
    assert cli.main(command) == 0  # those of held-out clips
    assert len(list(tmp_path.glob('*.png'))) == 2 and list(tmp_path.glob('*text*.gif'))
    assert cli.main([*command, '--prompt=', '--negative=a flash']) == 0
    for more, message in (
        (['--prompt=x', '--config.text=none'], 'config.text=none: no encoder for texts'),
        (['--prompt=x', '--config.text.length=4'], 'and the network learned from texts of width 12 by an encoder '),
        (['--negative=x', '--guidance=1'], '--negative=x: it counts where --guidance is not 1'),
    ):
        assert cli.main([*command, *more]) == 2
        assert message in capsys.readouterr().err


def test_prompts_of_a_file_make_five_videos_each_for_vbench(trained_run, tmp_path):
    (tmp_path / 'prompts.txt').write_text('light grows\nthe end\nlight grows\n')
    command = ['sample', f'--workdir={trained_run}', '--format=vbench', f'--out={tmp_path}/out']
    assert cli.main([*command, f'--prompts={tmp_path}/prompts.txt']) == 0
    (folder,) = (tmp_path / 'out').iterdir()
    names = sorted(path.name for path in (folder / 'vbench').iterdir())
    assert names == [f'{prompt}-{index}.mp4' for prompt in ('light grows', 'the end') for index in range(5)]
    assert 'num10_text' in folder.name and sorted(json.loads((folder / 'vbench_prompts.json').read_text())) == names


@pytest.mark.slow
def test_it_is_scored_by_the_named_protocol(trained_run, tmp_path, capsys):
    argv = ['evaluate', f'--workdir={trained_run}', f'--out={tmp_path}', '--json']
    assert cli.main(argv) == 2
    assert 'none is usual for a Records without labels; one of frame_prediction, recall (' in capsys.readouterr().err
    assert cli.main([*argv, '--protocol=recall']) == 0


def test_the_prompt_changes_the_video(place):
    run = run_of(place)
    params = make_random_params(run)

    def videos(prompts, negative=None):
        texts = text_conditions(prompts, negative, run, {})(np.arange(2))
        return generate_videos(run.generate, params, {'label': np.zeros(2, int)} | texts, seed=0)

    light = videos(['light grows'])
    both = videos(['light grows', 'the end'])
    np.testing.assert_array_equal(light[0], both[0])
    assert (light[1] != both[1]).any()
    np.testing.assert_array_equal(videos(['light grows'], ''), light)  # away from no text, as ever
    assert (videos(['light grows'], 'a flash') != light).any()
    assert (videos(['']) != light).any()


def test_clips_without_labels_are_recalled_only_on_request(place):
    assert run_of(place, '--config.data.label=index').protocol == Recall()
    assert run_of(place, '--config.evaluate.protocol=recall').protocol == Recall()
    with pytest.raises(UserError, match='--protocol is missing: none is usual for a Records without labels; one of '):
        run_of(place).protocol  # noqa: B018


def test_evaluations_are_conditioned_on_the_texts_of_the_clips(place):
    run = run_of(place)
    conditions = complete_conditions(run.data, run.network, {'label': np.zeros(5, int)})
    masks = np.stack([run.data.reader[i]['text_mask'] for i in (0, 1, 3)])
    np.testing.assert_array_equal(conditions['text_mask'], masks[[0, 1, 2, 0, 1]])  # clips with a caption, in turn
    clips = run.data.reader, run.data.held_out, run.experiment.evaluate
    predicted = FramePrediction(context=2, per_clip=1).make_conditions(*clips)
    assert predicted['text'].shape == (4, 5, WIDTH)
    recalled = Recall().make_conditions(*clips)
    assert recalled['text'].shape == (1, 5, WIDTH)


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (['--config.data.text=none'], 'config.model.text_width=12: the clips have no text'),
        (['--config.model.text_width=none'], 'config.model.text_width=None: the embeddings of .* have width 12'),
        (['--config.model.text_width=16'], 'config.model.text_width=16: the embeddings of .* have width 12'),
        (['--config.text.length=6'], r'config.text: prompts would be encoded by Hashing.*length=6\) \(.*, and the cap'),
        (['--config.data.source=synthetic'], 'config.model.text_width=12: the clips have no text'),
    ],
)
def test_texts_network_and_encoder_must_agree(place, more, message):
    with pytest.raises(UserError, match=message):
        run_of(place, *more).check()


def test_a_run_resumes_only_with_the_texts_of_its_own_encoder(place, trained_run, tmp_path, capsys):
    for name, length in (('moved', 5), ('other', 6)):
        command = ['cache-text', f'--records={place}/set', f'--out={tmp_path}/{name}']
        assert data_pipelines.main([*command, f'--encoder=hashing:width={WIDTH},length={length}']) == 0
    moved = run_of(place, f'--config.data.text={tmp_path}/moved')
    check_workdir(trained_run, moved.resolved)
    check_position(trained_run, describe_position(run_of(place), 3), describe_position(moved, 3))
    again = ['train', f'--config={place}/experiment.py', f'--workdir={trained_run}', '--config.train.steps=4']
    assert cli.main([*again, f'--config.data.text={tmp_path}/other', '--config.text=none']) == 2
    assert 'cannot go on, as its data differ: text was' in capsys.readouterr().err


def test_clips_with_text_have_no_images_beside_them(place):
    run = run_of(place)
    both = JointImages(run.data.source, dataclasses.replace(run.data.source, text=None, frames=1))
    with pytest.raises(UserError, match='config.data.clips: they have text, and images beside them have none'):
        Run(dataclasses.replace(run.experiment, data=both), jax.devices()[:1]).check()


def test_a_mixture_has_no_text_where_a_source_has_none(place, tmp_path):
    run = run_of(place)
    mute = dataclasses.replace(run.data.source, text=None)
    both = Mixture((mute, run.data.source))
    mixed = Run(dataclasses.replace(run.experiment, data=both), jax.devices()[:1])
    mixed.check()
    clips = mixed.data.reader
    assert not clips[0]['text_mask'].any() and clips[4]['text_mask'].any() and clips[0]['text'].shape == (5, WIDTH)
    other = ['cache-text', f'--records={place}/set', f'--out={tmp_path}/other', '--encoder=hashing:width=8']
    assert data_pipelines.main(other) == 0
    with pytest.raises(UserError, match='config.data.sources: the encoder of texts is .* of item 0 and .* of item 1'):
        Mixture((run.data.source, dataclasses.replace(run.data.source, text=f'{tmp_path}/other'))).open().text  # noqa: B018


def test_prompts_need_no_data(trained_run, tmp_path):
    missing_data = ['--config.data.path=/nowhere', '--config.data.text=/nowhere']
    command = ['sample', f'--workdir={trained_run}', '--num=1', f'--out={tmp_path}', '--prompt=a flash']
    assert cli.main([*command, *missing_data]) == 0
