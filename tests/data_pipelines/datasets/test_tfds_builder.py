"""Sets laid out as published are prepared by TFDS and read back as clips, all without TensorFlow."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from data_pipelines.__main__ import main
from vdm_jax import media
from vdm_jax.data.tfds import Tfds

pytest.importorskip('tensorflow_datasets')
av = pytest.importorskip('av')


def moving(start, count=8, height=32, width=48):
    """uint8 (count, height, width, 3): frame t has the brightness start + 4 t."""
    levels = (start + 4 * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3))


def levels(clip):
    return clip['video'].mean((1, 2, 3)).round().astype(int).tolist()


def prepare(root, dataset, capsys, *more):
    """The folder of the set, and what was printed."""
    out = root / 'out'
    code = main(['tfds', f'--dataset={dataset}', f'--source={root / "raw"}', f'--out={out}', *more])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert 'tensorflow' not in sys.modules
    return out / f'{dataset}_videos' / '1.0.0', captured.out


def test_ucf101_is_prepared_with_its_files_and_classes(tmp_path, capsys):
    raw = tmp_path / 'raw'
    lists = raw / 'ucfTrainTestlist'
    lists.mkdir(parents=True)
    (lists / 'classInd.txt').write_text('1 Hammering\n2 HammerThrow\n')
    for i, name in enumerate(('Hammering', 'HammerThrow')):
        (raw / 'UCF-101' / name).mkdir(parents=True)
        for group in (1, 2):
            media.write_mp4(raw / 'UCF-101' / name / f'v_{name}_g0{group}_c01.mp4', moving(40 * group + 100 * i))
    (raw / 'UCF-101' / 'Hammering' / 'v_Hammering_g03_c01.mp4').write_bytes(b'no video')
    for part, groups in (('train', (2, 3, 4)), ('test', (1,))):
        names = [f'Hammering/v_Hammering_g0{group}_c01.mp4' for group in groups]
        names.append(f'HammerThrow/v_HammerThrow_g0{groups[0]}_c01.mp4')
        (lists / f'{part}list01.txt').write_text('\n'.join(names))

    path, output = prepare(tmp_path, 'ucf101', capsys)
    assert '2 in train, 2 in test' in output and 'left out: 2' in output
    left_out = json.loads((path / 'metadata.json').read_text())
    assert left_out['train: UCF-101/Hammering/v_Hammering_g04_c01.mp4'].startswith('missing')
    assert 'train: UCF-101/Hammering/v_Hammering_g03_c01.mp4' in left_out

    source = Tfds(path=str(path), frames=8, pixels=32, label='label', start='first').open()
    clips = sorted((int(source[i]['label']), levels(source[i])) for i in range(len(source)))
    assert source.num_classes == 2 and [label for label, _ in clips] == [0, 1]
    np.testing.assert_allclose([clip for _, clip in clips], [80 + 4 * np.arange(8), 180 + 4 * np.arange(8)], atol=3)
    assert main(['tfds', '--dataset=ucf101', f'--source={raw}', f'--out={tmp_path / "out"}']) == 2
    assert 'holds ucf101_videos already' in capsys.readouterr().err


def test_moving_mnist_is_prepared_without_loss(tmp_path, capsys):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (20, 3, 16, 16), np.uint8)
    (tmp_path / 'raw').mkdir()
    np.save(tmp_path / 'raw' / 'mnist_test_seq.npy', array)
    path, _ = prepare(tmp_path, 'moving_mnist', capsys)
    source = Tfds(path=str(path), frames=20, pixels=16, channels=1, train='test', test='', start='first').open()
    clips = {source[i]['video'].tobytes() for i in range(len(source))}
    assert clips == {array[:, i, :, :, None].tobytes() for i in range(3)}


def test_imagenet_is_prepared_as_pictures_of_one_colour_space(tmp_path, capsys):
    folder = tmp_path / 'raw' / 'train' / 'n00000001'
    folder.mkdir(parents=True)
    (tmp_path / 'raw' / 'train' / 'n00000002').mkdir()
    colours = {'rgb': (200, 100, 50), 'cmyk': (200, 100, 50), 'grey': (90, 90, 90)}
    for name, colour in colours.items():
        image = Image.new('RGB', (24, 16), colour).convert({'rgb': 'RGB', 'cmyk': 'CMYK', 'grey': 'L'}[name])
        image.save(folder / f'{name}.JPEG', 'JPEG', quality=95)
    turned = Image.new('RGB', (16, 24), colours['rgb'])
    turned.getexif()[0x0112] = 6  # to be turned by a quarter
    turned.save(folder / 'turned.JPEG', 'JPEG', quality=95, exif=turned.getexif())
    path, _ = prepare(tmp_path, 'imagenet', capsys, '--split=train')
    source = Tfds(path=str(path), frames=1, pixels=16, label='label', test='').open()
    colours_of_images = sorted(source[i]['video'].mean((0, 1, 2)).tolist() for i in range(len(source)))
    np.testing.assert_allclose(colours_of_images, [(90, 90, 90), *[(200, 100, 50)] * 3], atol=6)


def test_webvid_parts_of_videos_and_pictures_are_made_mp4s(tmp_path, capsys):
    raw = tmp_path / 'raw'
    raw.mkdir()
    media.write_mp4(raw / 'xyz.mp4', moving(20, 40, 33, 47), fps=10)
    row = {'YoutubeID': 'xyz', 'Start_timestamp': '00:00:01', 'End_timestamp': '00:00:02', 'Caption': 'Wörter'}
    (raw / 'list.jsonl').write_text(json.dumps(row))
    path, output = prepare(tmp_path, 'webvid', capsys)
    assert '1 in train' in output and 'no val: ' in output and 'no test: ' in output
    source = Tfds(path=str(path), frames=10, pixels=32, test='', start='first').open()
    np.testing.assert_allclose(levels(source[0]), 20 + 4 * np.arange(10, 20), atol=3)
    import tensorflow_datasets as tfds

    example = tfds.builder_from_directory(path).as_data_source('train')[0]
    assert example['caption'].decode() == 'Wörter' and example['key'].decode() == 'xyz.mp4#1-2'


def test_a_folder_that_is_not_laid_out_so_is_refused_in_a_line(tmp_path, capsys):
    assert main(['tfds', '--dataset=bair', f'--source={tmp_path}', f'--out={tmp_path / "out"}']) == 2
    assert 'holds no softmotion30_44k/train/ or train/' in capsys.readouterr().err
    (tmp_path / 'list.csv').write_text('video,caption\na.mp4,A.\n')
    (tmp_path / 'a.mp4').write_bytes(b'no video')
    assert main(['tfds', '--dataset=webvid', f'--source={tmp_path}', f'--out={tmp_path / "out"}']) == 2
    assert 'webvid has nothing for train that can be used; train: a.mp4: ' in capsys.readouterr().err
    assert main(['tfds', '--dataset=no', f'--source={tmp_path}', f'--out={tmp_path / "out"}']) == 2
    assert 'known: bair, faceforensics' in capsys.readouterr().err
