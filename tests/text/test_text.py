"""Texts -> embeddings: the same every time, different for different texts, and named where there is none."""

import json
import os

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.flax import save_file

from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.text.encoder import NoText
from vdm_jax.text.hashing import Hashing
from vdm_jax.text.stored import Stored

TEXTS = ['a red ball', 'the sea', 'a red ball']


def near(a, b):
    """Cosine of the angle of two embeddings' means."""
    (x, y), masks = Hashing(512, 16).encode([a, b])
    x, y = (each[mask].mean(0) for each, mask in zip((x, y), masks, strict=True))
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def test_hashing_gives_a_unit_vector_for_every_word_and_sign():
    embeddings, mask = Hashing(24, 5).encode(['A dog, running', 'one two three four five six', '', '  ', '狗 läuft'])
    assert embeddings.shape == (5, 5, 24) and embeddings.dtype == np.float32 and mask.dtype == bool
    assert mask.sum(1).tolist() == [4, 5, 0, 0, 2]
    np.testing.assert_allclose(np.linalg.norm(embeddings[mask], axis=-1), 1, atol=1e-6)
    assert not embeddings[~mask].any()


def test_hashing_depends_on_words_their_forms_and_their_positions():
    assert near('the cat sleeps', 'the cat sleeps') == pytest.approx(1)
    assert near('a dog is running', 'a dog is running fast') > near('a dog is running', 'waves under the moon')
    assert near('running', 'runner') > near('running', 'moonlit') + 0.1
    (one, other), _ = Hashing(512, 4).encode(['dog bites man', 'man bites dog'])
    assert np.abs(one - other).max() > 0.01  # the same words in another order
    np.testing.assert_array_equal(one[1], other[1])


def test_hashing_is_the_same_wherever_it_runs():
    embeddings, _ = Hashing(8, 2).encode(['ball'])
    known = [-0.357593, -0.102994, -0.511122, 0.511122, -0.204064, 0.357593, -0.357593, -0.204064]
    np.testing.assert_allclose(embeddings[0, 0], known, atol=1e-6)
    prints = {Hashing(8, 2).fingerprint, Hashing(8, 3).fingerprint, Hashing(16, 2).fingerprint}
    assert len(prints) == 3 and Hashing(8, 2).fingerprint == Hashing(8, 2).fingerprint


@pytest.fixture
def stored_embeddings(tmp_path):
    """Embeddings of two texts of 3 and 2 places, in bfloat16 as an encoder writes them."""
    embeddings = jnp.arange(2 * 3 * 4, dtype=jnp.bfloat16).reshape(2, 3, 4)
    mask = jnp.array([[True, True, True], [True, True, False]])
    save_file({'embeddings': embeddings, 'mask': mask}, tmp_path / 'e.safetensors')
    (tmp_path / 'texts.json').write_text(json.dumps(TEXTS[:2]))
    return Stored(str(tmp_path / 'e.safetensors'), str(tmp_path / 'texts.json'))


def test_stored_embeddings_are_found_by_their_texts(stored_embeddings):
    embeddings, mask = stored_embeddings.encode(['the sea', '', 'a red ball'])
    assert (stored_embeddings.length, stored_embeddings.width) == (3, 4) and embeddings.dtype == np.float32
    assert mask.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    np.testing.assert_array_equal(embeddings[0, :2].ravel(), np.arange(12, 20))
    assert not embeddings[0, 2].any() and not embeddings[1].any()


def test_one_vector_a_text_is_a_text_of_one_place(tmp_path):
    np.save(tmp_path / 'e.npy', np.arange(8, dtype=np.float16).reshape(2, 4))
    (tmp_path / 'texts.txt').write_text('a red ball\nthe sea\n')
    encoder = Stored(str(tmp_path / 'e.npy'), str(tmp_path / 'texts.txt'))
    embeddings, mask = encoder.encode(['the sea'])
    assert (encoder.length, encoder.width) == (1, 4) and mask.all()
    np.testing.assert_array_equal(embeddings, [[[4, 5, 6, 7]]])


def test_a_change_of_either_file_is_another_encoder(stored_embeddings, tmp_path):
    other = Stored(stored_embeddings.path, str(tmp_path / 'others.json'))
    (tmp_path / 'others.json').write_text(json.dumps(['a red ball', 'the lake']))
    assert len(stored_embeddings.fingerprint) == 64 and stored_embeddings.fingerprint != other.fingerprint


def test_mistakes_of_stored_embeddings_are_named(stored_embeddings, tmp_path):
    def refusal_of(path=stored_embeddings.path, texts=stored_embeddings.texts, of='the sea'):
        with pytest.raises(UserError) as error:
            Stored(str(path), str(texts)).encode([of])
        return str(error.value)

    assert "'a red bal' is not among them; did you mean 'a red ball'?" in refusal_of(of='a red bal')
    assert 'config.text.path is empty' in refusal_of(path='')
    assert 'config.text.path=/no.npy: no such file' in refusal_of(path='/no.npy')
    assert 'want a .npy or a .safetensors file' in refusal_of(path='/no.pt')
    np.save(tmp_path / 'one.npy', np.zeros((1, 4), np.float32))
    assert 'has 2 texts, config.text.path' in refusal_of(path=tmp_path / 'one.npy')
    np.save(tmp_path / 'ints.npy', np.zeros((2, 4), np.int32))
    assert 'embeddings are int32 (2, 1, 4), want float (N, S, D)' in refusal_of(path=tmp_path / 'ints.npy')
    np.save(tmp_path / 'objects.npy', np.array([{}, {}], object), allow_pickle=True)
    assert 'objects.npy cannot be read' in refusal_of(path=tmp_path / 'objects.npy')
    (tmp_path / 'latin.txt').write_bytes('caf\xe9\nx\n'.encode('latin-1'))
    assert 'latin.txt cannot be read' in refusal_of(texts=tmp_path / 'latin.txt')
    save_file({'other': jnp.zeros((2, 4))}, tmp_path / 'other.safetensors')
    assert 'no tensor called embeddings, but other' in refusal_of(path=tmp_path / 'other.safetensors')
    save_file({'embeddings': jnp.zeros((2, 2, 4)), 'mask': jnp.array([[0, 1], [1, 1]])}, tmp_path / 'gap.safetensors')
    assert 'true behind a place where it is false' in refusal_of(path=tmp_path / 'gap.safetensors')


@pytest.mark.parametrize(
    'content', [b'', b'\x93NUMPY\x01\x00v\x00{', b'\x93NUMPY\x01\x00\xff\xff', b'x' * 99, b'\x93NUMPY\x09']
)
@pytest.mark.parametrize('ending', ['npy', 'safetensors'])
def test_damaged_embeddings_and_what_is_no_file_are_refused(content, ending, stored_embeddings, tmp_path):
    bad, pipe, zero = (tmp_path / f'{name}.{ending}' for name in ('bad', 'pipe', 'zero'))
    bad.write_bytes(content)
    os.mkfifo(pipe)
    zero.symlink_to('/dev/zero')
    with pytest.raises(UserError, match=r'^config\.text\.path=.* cannot be read: [^\n]*$'):
        Stored(str(bad), stored_embeddings.texts).encode(['the sea'])
    for path in (pipe, zero):
        without_embeddings = Stored(f'{path}', stored_embeddings.texts)
        without_texts = Stored(stored_embeddings.path, str(path))
        for encoder, key in ((without_embeddings, 'path'), (without_texts, 'texts')):
            with pytest.raises(UserError, match=rf'^config\.text\.{key}=.*: is not a regular file'):
                encoder.encode(['the sea'])
            with pytest.raises(UserError, match=rf'^config\.text\.{key}=.*: is not a regular file'):
                encoder.fingerprint  # noqa: B018


def test_the_config_group_names_its_encoders(stored_embeddings):
    assert experiment_from({}).text == NoText()
    assert experiment_from({'text': {'name': 'hashing', 'width': 8}}).text == Hashing(8)
    with pytest.raises(UserError, match='config.text.name=t5: want one of none, hashing, stored'):
        experiment_from({'text': 't5'})
    with pytest.raises(UserError, match='config.text.width=0'):
        experiment_from({'text': {'name': 'hashing', 'width': 0}})
    with pytest.raises(UserError, match='config.text=none: no encoder for texts'):
        NoText().encode(['a'])
