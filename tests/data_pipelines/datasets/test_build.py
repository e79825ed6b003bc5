"""From a set as it is published to records: labels, captions, splits and what could not be used."""

import json
import os
import sys

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from data_pipelines.__main__ import main
from data_pipelines.datasets import registry
from vdm_jax import media
from vdm_jax.data.records.shards import RecordSet
from vdm_jax.data.video import decode

pytest.importorskip('av')


def built(root, dataset, split, *more):
    out = root / f'out_{split}'
    arguments = [f'--dataset={dataset}', f'--source={root / "raw"}', f'--split={split}', f'--out={out}', '--workers=0']
    assert main(['build', *arguments, *more]) == 0
    rows = parquet.read_table(out / 'inputs.parquet').to_pylist()
    return RecordSet(str(out)), {row['input']: (row['fate'], row['reason']) for row in rows if row['key'] is None}


def levels(record):
    video = decode.probe(record.video)
    return decode.read(video, np.arange(video.frames)).mean((1, 2, 3)).round().astype(int).tolist()


def paint(folder, count, size=(32, 24), start=20):
    """`count` pictures, one 4 brighter than the one before."""
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new('RGB', size, (start + 4 * i,) * 3).save(folder / f'frame_{i}.png')


def test_folders_of_pictures_become_records_and_a_bad_one_is_named(tmp_path, capsys):
    raw = tmp_path / 'raw' / 'sky_train' / 'day'
    paint(raw / 'day_1', 30)
    paint(raw / 'day_2', 26, start=100)
    (raw / 'day_2' / 'frame_3.png').unlink()
    paint(raw / 'day_3', 30)
    (raw / 'day_3' / 'frame_25.png').write_bytes((raw / 'day_3' / 'frame_25.png').read_bytes()[:60])
    paint(raw / 'day_4', 26)
    Image.new('RGB', (16, 16)).save(raw / 'day_4' / 'frame_7.png')
    (raw / 'day_1' / 'Thumbs.db').write_text('x')
    paint(raw / 'day_5', 2)
    os.mkfifo(raw / 'day_5' / 'frame_2.png')
    records, fates = built(tmp_path, 'skytimelapse', 'train')
    assert '5 inputs; 1 no_video (sky_train/day/day_1/Thumbs.db)' in capsys.readouterr().err
    assert fates == {
        'sky_train/day/day_1': ('kept', ''),
        'sky_train/day/day_1/Thumbs.db': ('broken', 'no_video'),
        'sky_train/day/day_2': ('kept', ''),
        'sky_train/day/day_3': ('broken', 'broken'),
        'sky_train/day/day_4': ('broken', 'broken'),
        'sky_train/day/day_5': ('broken', 'broken'),  # and is not waited for
    }
    first = records[0]
    second = records[1]
    assert (first.source, first.frames, first.fps, first.height, first.width) == ('sky_train/day/day_1', 30, 25, 24, 32)
    np.testing.assert_allclose(levels(first), 20 + 4 * np.arange(30), atol=2)
    assert (second.frames, second.scores['missing_frames']) == (25, 1.0)


def test_labels_of_classes_and_captions_of_tables_are_in_the_records(tmp_path):
    raw = tmp_path / 'raw'
    (raw / 'train').mkdir(parents=True)
    (raw / 'annotations').mkdir()
    rows = ['waving,abcdefghijk,1,11,train', 'archery,bbcdefghijk,1,11,train', 'archery,gone_fghijk,1,11,train']
    (raw / 'annotations' / 'train.csv').write_text('\n'.join(['label,youtube_id,time_start,time_end,split', *rows]))
    for name in ('abcdefghijk', 'bbcdefghijk'):
        video = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
        media.write_mp4(raw / 'train' / f'{name}_000001_000011.mp4', video, fps=10)
    records, fates = built(tmp_path, 'kinetics600', 'train')
    assert [(record.label, record.label_name) for record in (records[0], records[1])] == [(1, 'waving'), (0, 'archery')]
    assert fates['train/gone_fghijk_000001_000011.mp4'] == ('broken', 'missing')


def test_pictures_of_imagenet_are_records_of_one_frame(tmp_path):
    paint(tmp_path / 'raw' / 'train' / 'n00000001', 2)
    records, _ = built(tmp_path, 'imagenet', 'train')
    assert [(records[i].frames, records[i].label) for i in range(2)] == [(1, 0), (1, 0)]
    assert levels(records[0]) + levels(records[1]) == pytest.approx([20, 24], abs=2)


def test_bair_is_read_as_tfds_prepares_it_without_tensorflow(tmp_path):
    tfds = pytest.importorskip('tensorflow_datasets')
    paint(tmp_path / 'pictures', 30, size=(64, 64))
    pictures = [str(tmp_path / 'pictures' / f'frame_{i}.png') for i in range(30)]

    class BairRobotPushingSmall(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """As TFDS has it, but for where its examples come from."""

        VERSION = tfds.core.Version('2.0.0')
        code_path = None

        def _info(self):
            image = tfds.features.Image(shape=(64, 64, 3))
            action = tfds.features.Tensor(shape=(4,), dtype=np.float32)
            frame = {'image_main': image, 'image_aux1': image, 'action': action}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.Sequence(frame, length=30))

        def _split_generators(self, dl_manager):
            return {'train': self._generate_examples(), 'test': self._generate_examples()}

        def _generate_examples(self):
            for i in range(2):
                order = pictures if i else pictures[::-1]
                fixed = {'image_aux1': pictures[0], 'action': np.zeros(4, np.float32)}
                yield i, [{'image_main': picture, **fixed} for picture in order]

    builder = BairRobotPushingSmall(data_dir=str(tmp_path / 'raw'), file_format='array_record')
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    records, _ = built(tmp_path, 'bair', 'test')
    assert 'tensorflow' not in sys.modules
    brightness = sorted(levels(records[i]) for i in range(2))
    rising = list(20 + 4 * np.arange(30))
    np.testing.assert_allclose(brightness, [rising, rising[::-1]], atol=2)


def test_published_sets_are_kept_complete_by_default(tmp_path):
    for i in range(2):  # the same clip, still, and with a cut
        folder = tmp_path / 'raw' / 'sky_train' / f'clip_{i}'
        folder.mkdir(parents=True)
        for j in range(20):
            Image.new('RGB', (32, 24), (20, 20, 20) if j < 10 else (220, 20, 20)).save(folder / f'{j}.png')
    records, _ = built(tmp_path, 'skytimelapse', 'train')
    assert [records[i].frames for i in range(len(records))] == [20, 20]
    recipe = tmp_path / 'recipe.toml'
    recipe.write_text('[clips]\nseconds = 0.4\n')
    (tmp_path / 'out_train').rename(tmp_path / 'before')
    records, _ = built(tmp_path, 'skytimelapse', 'train', f'--recipe={recipe}')
    assert [records[i].frames for i in range(len(records))] == [10] * 4


def test_a_set_built_twice_is_the_same_and_changed_pictures_are_refused(tmp_path, capsys):
    folder = tmp_path / 'raw' / 'sky_train' / 'day'
    paint(folder, 25)
    built(tmp_path, 'skytimelapse', 'train')
    manifest = tmp_path / 'out_train' / 'manifest.json'
    before = json.loads(manifest.read_text())['shards']
    (tmp_path / 'out_train').rename(tmp_path / 'before')
    built(tmp_path, 'skytimelapse', 'train')
    assert json.loads(manifest.read_text())['shards'] == before
    Image.effect_noise((32, 24), 50).convert('RGB').save(folder / 'frame_3.png')
    arguments = ['--dataset=skytimelapse', f'--source={tmp_path / "raw"}', '--split=train']
    assert main(['build', *arguments, f'--out={tmp_path / "out_train"}', '--workers=0']) == 2


@pytest.mark.parametrize(
    'more, message',
    [
        (['--dataset=ucf'], '--dataset=ucf; known: bair, faceforensics'),
        (['--dataset=ucf101'], r'--split=(none): ucf101 has train, test'),
        (['--dataset=ucf101', '--split=val'], '--split=val: ucf101 has train, test'),
        (['--dataset=skytimelapse', '--split=train'], 'holds no sky_train/'),
        (['--split=train'], '--split=train is for --dataset'),
        (['--dataset=ucf101', '--split=train', '--root=x'], '--root=x: is for lists'),
    ],
)
def test_mistakes_are_named(tmp_path, capsys, more, message):
    assert main(['build', f'--source={tmp_path}', f'--out={tmp_path / "out"}', *more]) == 2
    assert message in capsys.readouterr().err


def test_every_set_has_a_readme_that_names_it(request):
    for name, dataset in registry.DATASETS.items():
        readme = request.config.rootpath / 'data_pipelines' / 'datasets' / name / 'README.md'
        text = readme.read_text()
        assert f'--dataset={name}' in text, readme
        for part in ('## Licence', '## Where it comes from', '## On disk'):
            assert part in text, readme
        assert all(f'`{split}`' in text for split in dataset.SPLITS), readme
