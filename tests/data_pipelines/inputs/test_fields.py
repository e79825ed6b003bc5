"""What is a caption, and what is a score, of what lists and files beside videos say."""

import json

import numpy as np
import pytest

pytest.importorskip('av')
pytest.importorskip('cv2')

import pyarrow as pa
from pyarrow import parquet

from data_pipelines.__main__ import main
from data_pipelines.inputs.listing import list_inputs
from tests.data_pipelines.videos import encode_frames, moving
from vdm_jax.data.latents.text_store import TextCache
from vdm_jax.data.records.schema import Caption
from vdm_jax.data.records.shards import RecordSet
from vdm_jax.data.records.source import Records
from vdm_jax.errors import UserError
from vdm_jax.text.hashing import Hashing
from vdm_jax.text.stored import Stored

SPACES = '\v', '\f', '\x1c', '\x1d', '\x1e', '\x85', '\u2028', '\u2029', '\r', '\t', '\xa0'  # all but \n


def put(folder, **files):
    """Write files by their names, with __ for the dot; an .mp4 is a video only by its name."""
    for name, content in files.items():
        (folder / name.replace('__', '.')).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def item(folder, name='a.mp4', **options):
    return {item.name: item for item in list_inputs(str(folder), **options).items}[name]


def texts(folder, name='a.mp4', **options):
    listed_item = item(folder, name, **options)
    assert not listed_item.problem
    return [caption.text for caption in listed_item.captions]


@pytest.mark.parametrize('space', SPACES, ids=ascii)
def test_captions_end_only_at_a_line_feed(tmp_path, space):
    one = f'first half{space}second half'
    rows = json.dumps({'path': 'a.mp4', 'caption': one}, ensure_ascii=False)
    put(tmp_path, a__mp4='video', a__txt=f'{one}\nanother\r\n\r\nand\n', list__jsonl=f'{rows}\n', b__mp4='video')
    put(tmp_path, b__json=json.dumps({'caption': one}), list__csv=f'path,caption\na.mp4,"{one}"\n')
    assert texts(tmp_path) == [one, 'another', 'and']
    assert texts(tmp_path, 'b.mp4') == texts(tmp_path / 'list.jsonl') == texts(tmp_path / 'list.csv') == [one]


def test_a_caption_survives_build_table_and_embedding_unchanged(tmp_path, capsys):
    (tmp_path / 'source').mkdir()
    one = 'one caption: ' + ' and '.join(f'{space}this' for space in SPACES)
    put(tmp_path / 'source', a__mp4=encode_frames(moving(12)), a__txt=f'  {one}\x85 \r\n')
    options = ['--recipe.clips.min_seconds=0.1', '--recipe.shots.detector=none', '--workers=0']
    assert main(['build', f'--source={tmp_path}/source', f'--out={tmp_path}/set', *options]) == 0
    records = RecordSet(str(tmp_path / 'set'))
    assert records.captions(0) == records[0].captions == (Caption(one),)
    (tmp_path / 'texts.txt').write_bytes(f'another\r\n{one}\n'.encode())
    texts = Stored(path=str(tmp_path / 'texts.npy'), texts=str(tmp_path / 'texts.txt'))
    np.save(tmp_path / 'texts.npy', np.arange(6, dtype=np.float32).reshape(2, 1, 3))
    assert texts.encode([one])[0].tolist() == [[[3.0, 4.0, 5.0]]]
    assert main(['cache-text', f'--records={tmp_path}/set', '--encoder=hashing', f'--out={tmp_path}/texts']) == 0
    assert one in TextCache(str(tmp_path / 'texts'))
    clip = Records(path=str(tmp_path / 'set'), frames=4, pixels=16, text=str(tmp_path / 'texts')).open()[0]
    np.testing.assert_array_equal(clip['text_mask'], Hashing().encode([one])[1][0])
    np.testing.assert_allclose(clip['text'], Hashing().encode([one])[0][0], atol=1e-3)


@pytest.mark.parametrize('nothing', ['NaN', 'nan', 'None', 'null', 'NULL', 'N/A', '<NA>', '', '  ', '\u2028'])
def test_what_stands_for_nothing_is_no_caption(tmp_path, nothing):
    put(tmp_path, a__mp4='video', a__txt=f'{nothing}\na dog\n{nothing}')
    assert texts(tmp_path) == ['a dog']
    (tmp_path / 'a.txt').unlink()
    for value in (nothing, [nothing, 'a dog'], [{'text': nothing}, {'text': 'a dog', 'weight': 2}]):
        wanted = [] if value == nothing else ['a dog']
        for name in ('captions', 'caption', 'text'):
            put(tmp_path, a__json=json.dumps({name: value}), b__jsonl=json.dumps({'path': 'a.mp4', name: value}))
            parquet.write_table(pa.table({'path': ['a.mp4'], name: [value]}), tmp_path / 'b.parquet')
            assert texts(tmp_path) == texts(tmp_path / 'b.jsonl') == texts(tmp_path / 'b.parquet') == wanted
    (tmp_path / 'a.json').unlink()
    put(tmp_path, b__csv=f'path,caption,captions\na.mp4,{nothing},"[""{nothing}"", null, NaN, ""a dog""]"\n')
    assert texts(tmp_path / 'b.csv') == ['a dog']


def test_nan_is_no_caption_and_other_numbers_are(tmp_path):
    put(tmp_path, a__mp4='video', a__json='{"caption": NaN, "captions": [null, NaN], "text": "Nan eats naan"}')
    assert texts(tmp_path) == ['Nan eats naan']
    parquet.write_table(pa.table({'path': ['a.mp4'], 'caption': [float('nan')]}), tmp_path / 'b.parquet')
    assert texts(tmp_path / 'b.parquet') == []


def test_equal_captions_of_a_video_count_once(tmp_path):
    content = {'captions': ['a dog', {'text': 'a dog', 'weight': 3}, {'text': 'a dog', 'start': 1}, 'a cat']}
    put(tmp_path, a__mp4='video', a__json=json.dumps(content), a__txt='a cat\na bird\na dog\n')
    assert item(tmp_path).captions == (
        Caption('a dog'),
        Caption('a dog', start=1.0),
        Caption('a cat'),
        Caption('a bird'),
    )


def test_a_text_in_json_is_no_score_whatever_it_looks_like(tmp_path):
    """As video2dataset writes it beside every video, with the same caption in NAME.txt."""
    content = {'key': '000000001', 'caption': 'a dog', 'similarity': '0.31', 'clips': [[0.0, 2.0]], 'good': 0.5, 'n': 3}
    content |= {'yes': True, 'video_id': 17, 'tweet': 1234567890123456789, 'scores': {'clip': '0.25'}}
    put(tmp_path, a__mp4='video', a__json=json.dumps(content), a__txt='a dog')
    assert item(tmp_path).scores == {'clip': 0.25, 'good': 0.5, 'n': 3.0} and texts(tmp_path) == ['a dog']
    assert list_inputs(str(tmp_path)).unused == ('clips', 'key', 'similarity', 'tweet', 'video_id', 'yes')
    for kind in ('jsonl', 'parquet'):
        row = {'path': 'a.mp4'} | {name: value for name, value in content.items() if name != 'scores'}
        if kind == 'jsonl':
            (tmp_path / 'b.jsonl').write_text(json.dumps(row))
        else:
            parquet.write_table(pa.table({name: [value] for name, value in row.items()}), tmp_path / 'b.parquet')
        assert item(tmp_path / f'b.{kind}').scores == {'good': 0.5, 'n': 3.0}


NUMBERS = {
    'aesthetic': ('5.5', '4', '-0.5', '.25', '1e-05', '1.5E+16', 'nan', ''),  # as programs write numbers
    'zeros': ('000123', '7'),
    'hexadecimal': ('1e5', '332'),
    'underscores': ('1_000', '5'),
    'decimal comma': ('"0,5"', '5'),
    'words': ('5', 'five'),
    'large': ('12345678901234567', '1'),
    'id': ('1', '2'),
    'YoutubeID': ('1', '2'),
    'clip_id': ('1', '2'),
    'key': ('1', '2'),
    '': ('0', '1'),  # as pandas writes its index
    'Unnamed: 0': ('0', '1'),
}


def test_a_column_of_a_csv_is_a_score_where_all_of_it_are_numbers_that_name_nothing(tmp_path):
    put(tmp_path, a__mp4='video', b__mp4='video')
    for column, values in NUMBERS.items():
        rows = ''.join(f'{"ab"[i % 2]}.mp4,{i},{value}\n' for i, value in enumerate(values))
        put(tmp_path, list__csv=f'path,start,{column}\n{rows}')
        listing = list_inputs(str(tmp_path / 'list.csv'))
        assert len(listing.items) == len(values) and not any(each.problem for each in listing.items)
        actual = sorted(value for each in listing.items for value in each.scores.values())
        expected = [float(value) for value in values if value not in ('nan', '')] if column == 'aesthetic' else []
        assert actual == sorted(expected), column
        assert listing.unused == (() if expected else (column,))


def test_the_columns_that_are_scores_may_be_named(tmp_path):
    put(tmp_path, a__mp4='video', b__mp4='video')
    put(tmp_path, list__csv='path,key,similarity,n\na.mp4,007,0.3,1\nb.mp4,8,high,2\n')
    listing = list_inputs(str(tmp_path / 'list.csv'), scores=['key'])
    assert [each.scores for each in listing.items] == [{'key': 7.0}, {'key': 8.0}]
    assert listing.unused == ('n', 'similarity')
    a, b = list_inputs(str(tmp_path / 'list.csv'), scores=['similarity']).items
    assert a.scores == {'similarity': 0.3}
    assert b.problem == "bad_score: similarity is 'high', no number"
    assert not any(each.scores for each in list_inputs(str(tmp_path / 'list.csv'), scores=[]).items)
    put(tmp_path, a__json='{"similarity": "0.31", "good": 1}')
    assert item(tmp_path, scores=['similarity']).scores == {'similarity': 0.31}
    for source, scores, message in (
        (tmp_path, ['clip'], "no .json beside a video has 'clip'; found: good, similarity"),
        (tmp_path / 'list.csv', ['clip'], "has no column 'clip'; found: key, n, path, similarity"),
        (tmp_path, ['width'], '--scores: width has another meaning'),
        (tmp_path, ['label'], '--scores: label has another meaning'),
    ):
        with pytest.raises(UserError, match=message):
            list_inputs(str(source), scores=scores)


def test_a_filter_on_a_column_that_is_no_score_names_the_option_for_it(tmp_path, capsys):
    put(tmp_path, a__mp4='video', list__csv='path,similarity\na.mp4,0031\n')
    build = ['build', f'--source={tmp_path}/list.csv', f'--out={tmp_path}/set', '--recipe.filters=similarity>=40']
    assert main(build) == 2
    assert 'similarity>=40: similarity of --source is not taken as a score' in (stderr := capsys.readouterr().err)
    assert '--scores=similarity takes it' in stderr and not (tmp_path / 'set').exists()
    assert main([*build, '--scores=similarity', '--workers=0']) == 2
    assert 'no clip was kept' in capsys.readouterr().err  # it was begun, and the file is no video
