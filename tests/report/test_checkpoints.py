"""What a report says of checkpoints: sizes, damage, the best one, without reading much."""

import json

import pytest
from etils import epath

from vdm_jax.report import checkpoints
from vdm_jax.report.checkpoints import read_checkpoints, read_rule
from vdm_jax.train import manifest
from vdm_jax.train.best_metric import METADATA, make_metadata


def write_step(directory, step, size=1000, metrics=None):
    path = epath.Path(directory) / str(step)
    (path / 'params').mkdir(parents=True)
    (path / 'params' / 'array').write_bytes(bytes(size))
    (path / METADATA).write_text(json.dumps({'custom_metadata': make_metadata(metrics or {})}))
    manifest.write(path)
    return path


def verdicts(directory, rule=None):
    return {each.step: each.verdict for each in read_checkpoints(epath.Path(directory), rule)}


def test_sizes_and_damage_of_small_ones_are_known_to_the_bit(tmp_path):
    for step in (1, 2, 3, 4):
        write_step(tmp_path, step)
    (tmp_path / '2' / 'params' / 'array').write_bytes(bytes(999) + b'x')
    (tmp_path / '3' / 'manifest_0_of_1.json').unlink()
    (tmp_path / '4' / 'params' / 'array').unlink()
    (tmp_path / '7.damaged').mkdir()
    (tmp_path / '8.orbax-checkpoint-tmp-0').mkdir()
    assert verdicts(tmp_path) == {
        '4': 'damaged', '3': 'unverified', '2': 'damaged', '1': 'intact', '7.damaged': 'set aside',
    }  # fmt: skip
    assert read_checkpoints(epath.Path(tmp_path), None)[3].size > 1000


def test_of_large_ones_the_sizes_alone_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, 'HASHED_BYTES', 2500)
    for step in (1, 2, 3):
        write_step(tmp_path, step, 2000)
    (tmp_path / '1' / 'params' / 'array').write_bytes(bytes(1999))
    monkeypatch.setattr(
        manifest, 'hash_file', lambda path: pytest.fail(f'{path} is read') if '/3/' not in str(path) else [0, '']
    )
    assert verdicts(tmp_path) == {'3': 'damaged', '2': 'sizes match', '1': 'damaged'}


def test_the_best_one_is_the_one_that_training_takes(tmp_path):
    values = {1: 3.0, 2: 1.0, 3: 1.0, 4: 2.0}
    for step, value in values.items():
        write_step(tmp_path, step, metrics={'validation_loss': value, 'evaluate/kept': value})
    best_of = {'validation_loss': 2, 'validation_loss:max': 1, 'evaluate/kept:min': 2, 'evaluate/kept:max': 1}
    for rule, step in best_of.items():
        assert best_steps(tmp_path, rule) == [str(step)]
    # As training, which takes the next best in its place.
    (tmp_path / '2' / 'params' / 'array').write_bytes(b'')
    assert best_steps(tmp_path, 'validation_loss') == ['3']


def best_steps(directory, rule):
    return [each.step for each in read_checkpoints(epath.Path(directory), read_rule(rule)) if each.is_best]


def test_checkpoints_of_earlier_versions_have_their_validation(tmp_path):
    path = write_step(tmp_path, 5)
    (path / METADATA).write_text(json.dumps({'custom_metadata': {'validation': {'validation_loss': 0.5}}}))
    assert read_checkpoints(epath.Path(tmp_path), None)[0].metrics == {'validation_loss': 0.5}


@pytest.mark.parametrize('rule', [None, 5, 'validation_x', 'loss', 'evaluate/kept', ['validation_loss']])
def test_without_a_rule_or_its_metric_none_is_best(tmp_path, rule):
    write_step(tmp_path, 1, metrics={'validation_loss': 1.0, 'evaluate/kept': 1.0})
    assert best_steps(tmp_path, rule) == []


@pytest.mark.parametrize('text', ['', '[]', '{"files": {"../../secret": [1, "x"]}, "sha256": "0"}', '[' * 100_000])
def test_a_damaged_manifest_is_damage(tmp_path, text):
    path = write_step(tmp_path, 5)
    (path / 'manifest_0_of_1.json').write_text(text)
    (path / METADATA).write_text(text)
    assert verdicts(tmp_path) == {'5': 'damaged'}


def test_no_directory_is_no_checkpoints(tmp_path):
    assert read_checkpoints(epath.Path(tmp_path / 'none'), None) == []
