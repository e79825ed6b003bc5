"""Embeddings of captions: each text once, found again, the same however often the work was killed."""

import dataclasses
import hashlib
import os

import numpy as np
import pytest

from data_pipelines import __main__ as data_pipelines
from data_pipelines.commands import cache_text
from data_pipelines.commands.cache_text import cache, collect_texts
from tests.data.small_set import write_set
from vdm_jax.data.latents.text_store import TextCache
from vdm_jax.data.records.schema import Caption, Record
from vdm_jax.data.records.source import Records
from vdm_jax.errors import UserError
from vdm_jax.text.hashing import Hashing

ENCODER = Hashing(16, 6)
CAPTIONS = [['a ball falls', 'it bounces'], [], ['a ball falls', ' '], ['two words of seven that are too many']]


@pytest.fixture
def place(tmp_path):
    captions_of_clips = [tuple(map(Caption, texts)) for texts in CAPTIONS]
    records = [Record(f'{i}', 8, 24, 24, 8.0, b'v', captions=captions) for i, captions in enumerate(captions_of_clips)]
    return write_set(tmp_path / 'set', records)


def files(out):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in out.iterdir()}


def test_each_distinct_text_is_embedded_once(place, tmp_path, capsys):
    out = tmp_path / 'out'
    command = ['cache-text', f'--records={place}', '--encoder=hashing:width=16,length=6', f'--out={out}']
    assert data_pipelines.main(command) == 0
    assert 'embeddings of 3 of 3 texts (3 new) of 5 captions, at most 6 places of 16' in capsys.readouterr().out
    embeddings = TextCache(str(out))
    wanted, mask = ENCODER.encode(CAPTIONS[0] + CAPTIONS[3])
    assert embeddings.count == 3 and embeddings.shape == (6, 16) and embeddings.fingerprint == ENCODER.fingerprint
    for text, embedding, own in zip(CAPTIONS[0] + CAPTIONS[3], wanted, mask, strict=True):
        np.testing.assert_array_equal(embeddings[text]['text'], embedding.astype(np.float16).astype(np.float32))
        np.testing.assert_array_equal(embeddings[text]['text_mask'], own)
    assert not embeddings[' ']['text_mask'].any() and ' ' in embeddings and 'other' not in embeddings
    with pytest.raises(UserError, match=f"config.data.text={out}: no embedding of 'other'"):
        embeddings['other']
    before = files(out)
    assert data_pipelines.main(command) == 0 and '(0 new)' in capsys.readouterr().out
    assert files(out) == before


def test_killed_anywhere_it_resumes_to_the_same_files(place, tmp_path, monkeypatch):
    texts, _ = collect_texts([place])
    texts = sorted({*texts, *(f'text {i}' for i in range(40))}, key=lambda text: hashlib.sha256(text.encode()).digest())
    monkeypatch.setattr(cache_text, 'PART_BYTES', 4 * 6 * 16 * 8)  # 8 texts a part
    cache(texts, ENCODER, tmp_path / 'whole')
    real = os.replace
    for death in (0, 1, 2, 5, 8):
        out = tmp_path / f'killed {death}'
        alive = iter(range(death))

        def replace(*names, alive=alive):
            if next(alive, None) is None:
                raise KeyboardInterrupt
            real(*names)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(os, 'replace', replace)
            cache(texts, ENCODER, out)
        cache(texts, ENCODER, out)
        assert files(out) == files(tmp_path / 'whole')


def test_several_processes_share_the_texts(place, tmp_path):
    texts = [f'text {i}' for i in range(40)]
    counts = [cache(texts, ENCODER, tmp_path / 'out', 'float32', (k, 3)) for k in range(3)]
    assert sum(counts) == 40 and min(counts) > 0
    embeddings = TextCache(str(tmp_path / 'out'))
    for text, embedding in zip(texts, ENCODER.encode(texts)[0], strict=True):
        np.testing.assert_array_equal(embeddings[text]['text'], embedding)
    assert cache(texts, ENCODER, tmp_path / 'out', 'float32') == 0


def test_another_encoder_is_refused_with_both_named(tmp_path):
    cache(['a'], ENCODER, tmp_path)
    other = dataclasses.replace(ENCODER, width=8)
    with pytest.raises(UserError) as error:
        cache(['b'], other, tmp_path)
    assert ENCODER.fingerprint in str(error.value) and other.fingerprint in str(error.value)
    with pytest.raises(UserError, match='made with dtype float16 .* this is float32'):
        cache(['b'], ENCODER, tmp_path, 'float32')


def test_values_too_large_for_the_type_are_refused(tmp_path):
    class Large:
        width = 1
        length = 1
        fingerprint = 'f'

        def encode(self, texts):
            return np.full((len(texts), 1, 1), 1e6, np.float32), np.ones((len(texts), 1), bool)

    with pytest.raises(UserError, match='--dtype=float16: some embeddings are not finite'):
        cache_text.write_part(tmp_path, 0, ['a'], Large(), 'float16')


def test_mistakes_are_named(place, tmp_path, capsys):
    for more, message in (
        ([], 'cache-text: say what: --records=DIR'),
        ([f'--records={place}'], '--encoder=NAME is missing'),
        ([f'--records={place}', '--encoder=hashin'], "did you mean 'hashing'?"),
        ([f'--records={place}', '--encoder=hashing:size=3'], 'config.text.size: no such key'),
        ([f'--records={place}', '--encoder=hashing', '--share=2/2'], '--share=2/2: want K/N'),
        ([f'--records={tmp_path}', '--encoder=hashing'], 'no records.parquet there'),
    ):
        assert data_pipelines.main(['cache-text', f'--out={tmp_path}/out', *more]) == 2
        assert message in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_the_users_to_mend(place, tmp_path, capsys, monkeypatch):
    def full(descriptor):
        raise OSError(28, 'No space left on device')

    command = ['cache-text', f'--records={place}', '--encoder=hashing']
    (tmp_path / 'file').touch()
    assert data_pipelines.main([*command, f'--out={tmp_path}/file/out']) == 2
    assert 'file is a file; name a directory' in capsys.readouterr().err
    monkeypatch.setattr(os, 'fsync', full)
    assert data_pipelines.main([*command, f'--out={tmp_path}/out']) == 2
    assert 'No space left on device; the same command goes on' in capsys.readouterr().err


def test_a_set_that_has_grown_must_be_gone_over_again(place, tmp_path):
    cache(['a ball falls'], ENCODER, tmp_path / 'text')
    with pytest.raises(UserError, match=r"no embedding of 2 captions of .*, such as 'it bounces'; run .*cache-text"):
        len(Records(place, frames=8, pixels=24, text=str(tmp_path / 'text')).open())
    cache(collect_texts([place])[0], ENCODER, tmp_path / 'text')
    assert len(Records(place, frames=8, pixels=24, text=str(tmp_path / 'text')).open()) == 4
