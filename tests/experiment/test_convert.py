"""Other people's weights become a run that sample and train take up."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from vdm_jax import cli, pretrained
from vdm_jax.experiment import convert
from vdm_jax.models.dit import VideoDiTConfig
from vdm_jax.pretrained import files
from vdm_jax.pretrained.fit import by_path, fit
from vdm_jax.pretrained.network import Network
from vdm_jax.pretrained.report import Report
from vdm_jax.pretrained.tensors import write as write_tensors
from vdm_jax.train.fingerprint import fingerprint

CONFIG = VideoDiTConfig(depth=2, width=32, heads=2, patch=2, channels=3, classes=3, grid=(2, 4, 4), learn_variance=True)
SMALL = ('--config.evaluate.batch_size=2', '--config.train.batch_size=2', '--config.train.log_every=1')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A file as Vchitect/Latte's, of a network that was never trained."""
    rng = np.random.default_rng(0)

    def noise(leaf):
        return rng.normal(0, 0.1, leaf.shape).astype(np.float32)

    params = jax.tree.map(noise, jax.eval_shape(lambda: Network.init(CONFIG)))
    path = tmp_path_factory.mktemp('latte') / 'latte.safetensors'
    write_tensors(path, Network(pretrained.latte, CONFIG, params, Report(())).export())
    return path, fingerprint(params)


@pytest.fixture(scope='module')
def converted_run(checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp('converted') / 'run'
    argv = ['convert', '--source=latte', f'--checkpoint={checkpoint[0]}', '--heads=2', f'--out={out}', *SMALL]
    assert cli.main(argv) == 0
    return out


def test_the_run_has_the_checkpoints_weights(converted_run, checkpoint, capsys):
    assert cli.main(['inspect', f'--workdir={converted_run}']) == 0
    output = capsys.readouterr().out
    assert 'checkpoint 0: intact' in output and f'params    sha256 {checkpoint[1]}' in output


def test_it_is_sampled_with_the_sampler_of_its_paper(converted_run, tmp_path, capsys):
    assert cli.main(['sample', f'--workdir={converted_run}', '--num=2', '--steps=2', f'--out={tmp_path}']) == 0
    assert '2 videos' in capsys.readouterr().out
    assert sorted(file.suffix for file in tmp_path.iterdir()) == ['.gif', '.mp4', '.png']


def test_it_is_fine_tuned_on_other_clips_with_another_optimizer(converted_run, tmp_path, capsys):
    """From the same weights; a run that has taken a step is bound to its experiment again."""
    workdir = tmp_path / 'run'
    shutil.copytree(converted_run, workdir)
    train = ['train', f'--workdir={workdir}', '--config.optim.name=muon', '--config.data.size=5']
    assert cli.main([*train, '--config.train.steps=2']) == 0
    assert cli.main([*train, '--config.train.steps=3']) == 0
    assert 'resuming at step 2 of 3' in capsys.readouterr().err
    assert cli.main(['train', f'--workdir={workdir}', '--config.optim.name=adamw']) == 2
    assert 'config.optim.name' in capsys.readouterr().err


def test_other_averages_start_from_the_same_weights(converted_run, tmp_path):
    """Step 0 has the checkpoint's averages whatever decays the run is to have, and can be looked at meanwhile."""
    workdir = tmp_path / 'run'
    shutil.copytree(converted_run, workdir)
    more = ['--config.ema.decays=(0.5,)', '--config.model.dtype=bfloat16', '--config.train.steps=1']
    assert cli.main(['train', f'--workdir={workdir}', *more]) == 0
    exports = []
    for name, run in {'a': workdir, 'b': converted_run}.items():
        assert cli.main(['export', f'--workdir={run}', '--step=0', f'--out={tmp_path}/{name}.safetensors']) == 0
        exports.append(files.read(tmp_path / f'{name}.safetensors')[0])
    jax.tree.map(np.testing.assert_array_equal, *exports)


def test_what_fails_leaves_no_run(checkpoint, tmp_path, capsys):
    ask = ['convert', '--source=latte', f'--checkpoint={checkpoint[0]}', '--heads=2', f'--out={tmp_path}/run']
    codec = ['--config.codec.name=sd_vae', f'--config.codec.path={tmp_path}/none']
    data = ['--config.data.channels=3', '--config.data.pixels=64', '--config.model.channels=4']
    assert cli.main([*ask, *codec, *data]) == 2 and not (tmp_path / 'run' / 'config.json').exists()


def test_what_is_not_finite_is_no_run(checkpoint, tmp_path, capsys):
    arrays, _ = files.read(checkpoint[0])
    bias = 'final_layer.linear.bias'
    write_tensors(tmp_path / 'w.safetensors', arrays | {bias: np.full_like(arrays[bias], np.inf)})
    ask = ['convert', '--source=latte', f'--checkpoint={tmp_path}/w.safetensors', '--heads=2', f'--out={tmp_path}/run']
    assert cli.main(ask) == 2
    assert '1 tensor holds nan or infinity, the first is head/out/bias' in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_its_network_stays(converted_run, capsys):
    assert cli.main(['train', f'--workdir={converted_run}', '--config.model.mlp_ratio=2']) == 2
    assert 'config.model.mlp_ratio' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('more', 'parts'),
    [
        (['--out={out}'], ('holds a run already',)),
        (['--out={new}', '--config.model.depth=4'], ('config.model.depth=4', '2')),
        (['--out={new}', '--source=dit'], ('temp_embed',)),
        (['--out={new}', '--source=flux'], ('--source=flux', 'latte')),
        (['--out={new}', '--source=lpips'], ('--source=lpips: nothing that trains or samples',)),
        ([], ('--out=DIR is missing',)),
    ],
)
def test_mistakes_are_named(more, parts, converted_run, checkpoint, tmp_path, capsys):
    more = [item.format(out=converted_run, new=tmp_path / 'new') for item in more]
    code = cli.main(['convert', '--source=latte', f'--checkpoint={checkpoint[0]}', '--heads=2', *SMALL, *more])
    printed = capsys.readouterr()
    assert code == 2 and all(part in printed.err for part in parts), printed.err


def params_of(workdir, tmp_path):
    assert cli.main(['export', f'--workdir={workdir}', f'--out={tmp_path}/w.safetensors']) == 0
    return files.read(tmp_path / 'w.safetensors')[0]


@pytest.mark.parametrize('classes', [5, 0])
def test_a_table_of_another_length_starts_fresh_where_that_is_allowed(classes, checkpoint, tmp_path, capsys):
    ask = ['convert', '--source=latte', f'--checkpoint={checkpoint[0]}', '--heads=2', f'--out={tmp_path}/run', *SMALL]
    assert cli.main([*ask, f'--config.model.classes={classes}']) == 2
    stderr = capsys.readouterr().err
    assert f'config.model.classes={classes}: the checkpoint has 3' in stderr
    assert 'with --allow-missing label_embed/table would start fresh' in stderr
    opened = pretrained.load('latte', checkpoint[0], heads=2)
    model = dataclasses.replace(CONFIG, classes=classes)
    lost = convert.check_same_parameters(convert.model_of(opened), model, allow_missing=True)
    abstract = jax.eval_shape(lambda: Network.init(model))

    def zeros():
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)

    params, report = fit(by_path(opened.params), abstract, zeros, True, 'the checkpoint', lost)
    assert 'label_embed/table' in str(report) and len(report.used) == len(by_path(opened.params)) - 1
    for name, array in by_path(params).items():
        there = 0 if name == 'label_embed/table' else by_path(opened.params)[name]
        np.testing.assert_array_equal(array, there)


@pytest.mark.slow
@pytest.mark.parametrize('classes', [5, 0])
def test_a_run_with_a_fresh_table_is_written_and_reports_it(classes, converted_run, checkpoint, tmp_path, capsys):
    ask = ['convert', '--source=latte', f'--checkpoint={checkpoint[0]}', '--heads=2', f'--out={tmp_path}/run', *SMALL]
    assert cli.main([*ask, f'--config.model.classes={classes}', '--allow-missing']) == 0
    of_table = 'differs  label_embed/table is (4, 32), the network wants (6, 32)' if classes else 'unused   label_embed'
    assert of_table in capsys.readouterr().out
    params = params_of(tmp_path / 'run', tmp_path)
    before = params_of(converted_run, tmp_path)
    fresh = params.pop('label_embed/table', np.zeros((1, 32)))
    assert fresh.shape == (classes + 1, 32) and before.pop('label_embed/table').shape == (4, 32)
    jax.tree.map(np.testing.assert_array_equal, params, before)


def test_keys_that_give_the_same_parameters_another_meaning_are_refused_all_the_same(checkpoint, tmp_path, capsys):
    ask = ['convert', '--source=latte', f'--checkpoint={checkpoint[0]}', '--heads=2', f'--out={tmp_path}/run', *SMALL]
    assert cli.main([*ask, '--allow-missing', '--config.model.heads=4', '--config.model.classes=5']) == 2
    assert 'config.model.heads=4: the checkpoint has 2' in capsys.readouterr().err
    assert not (tmp_path / 'run' / 'config.json').exists()
