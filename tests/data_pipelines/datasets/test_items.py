"""Small directories laid out as published sets are, and what of them is an input, by name, label, split and problem."""

import json
import struct

import numpy as np
import pytest
from PIL import Image

from data_pipelines.datasets import registry
from data_pipelines.datasets.bair.trajectory import masked_crc
from data_pipelines.inputs import frame_sources
from data_pipelines.inputs.digest import digest_item
from vdm_jax.data.records.schema import Caption
from vdm_jax.errors import UserError


def write(root, **files):
    """Files below root: {path: text or bytes}."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(root)


def paint(root, *names, size=(16, 12)):
    """Pictures: the red of each is its place in `names`."""
    for red, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', size, (red, 0, 0)).save(path, 'PNG')
    return str(root)


def list_items(name, root, split='train'):
    return {item.name: item for item in registry.list_dataset(name, str(root), split).items}


def usable(items):
    return [name for name, item in items.items() if not item.problem]


def problems(items):
    return {name: item.problem.partition(':')[0] for name, item in items.items() if item.problem}


def reds(item):
    video = frame_sources.probe(item)
    return [int(frame[0, 0, 0]) for _, frame in frame_sources.stream(video)]


# UCF-101


@pytest.fixture
def ucf101(tmp_path):
    lists = {
        'classInd.txt': '1 Hammering\r\n2 HammerThrow\r\n',
        'trainlist01.txt': 'Hammering/v_Hammering_g08_c01.avi 1\nHammerThrow/v_HammerThrow_g08_c01.avi 2\n',
        'testlist01.txt': 'Hammering/v_Hammering_g01_c01.avi\n',
    }
    write(tmp_path, **{f'ucfTrainTestlist/{name}': text for name, text in lists.items()})
    clips = 'Hammering/v_Hammering_g08_c01.avi', 'Hammering/v_Hammering_g01_c01.avi', 'Knitting/v_Knitting_g01_c01.avi'
    write(tmp_path, **{f'UCF-101/{name}': 'x' for name in clips})
    return tmp_path


def test_ucf101_splits_and_labels_are_those_of_its_lists(ucf101):
    train = list_items('ucf101', ucf101)
    test = list_items('ucf101', ucf101, 'test')
    assert usable(train) == ['UCF-101/Hammering/v_Hammering_g08_c01.avi']
    assert usable(test) == ['UCF-101/Hammering/v_Hammering_g01_c01.avi']
    assert problems(train) == {
        'UCF-101/HammerThrow/v_HammerThrow_g08_c01.avi': 'missing',
        'UCF-101/Knitting/v_Knitting_g01_c01.avi': 'not_listed',
    }
    item = train['UCF-101/HammerThrow/v_HammerThrow_g08_c01.avi']
    assert (item.label, item.label_name, item.split) == (1, 'HammerThrow', 'train')  # not 0, as sorted names would say


def test_ucf101_without_lists_is_read_completely_in_the_same_order_of_classes(ucf101):
    everything = list_items('ucf101', ucf101, 'all')
    assert len(usable(everything)) == 2 and sorted(problems(everything).values()) == ['missing', 'not_listed']
    for name in ('classInd.txt', 'trainlist01.txt', 'testlist01.txt'):
        (ucf101 / 'ucfTrainTestlist' / name).unlink()
    write(ucf101, **{'UCF-101/HammerThrow/v_HammerThrow_g01_c01.avi': 'x'})
    everything = list_items('ucf101', ucf101, 'all')
    labels = {item.label_name: item.label for item in everything.values()}
    assert labels == {'Hammering': 0, 'HammerThrow': 1, 'Knitting': 2} and not problems(everything)
    with pytest.raises(UserError, match='holds no ucfTrainTestlist/trainlist01.txt'):
        list_items('ucf101', ucf101)


@pytest.mark.parametrize('line', ['Nowhere/v.avi 1', 'Hammering/v.avi 2', 'Hammering 1', '../Hammering/v.avi'])
def test_a_damaged_list_of_ucf101_is_refused_with_the_line(ucf101, line):
    write(ucf101, **{'ucfTrainTestlist/trainlist01.txt': f'Hammering/v_Hammering_g08_c01.avi 1\n{line}\n'})
    with pytest.raises(UserError, match='trainlist01.txt, line 2'):
        list_items('ucf101', ucf101)


# sets of pictures


def test_skytimelapse_is_one_video_a_folder_with_its_pictures_in_the_order_of_their_numbers(tmp_path):
    names = [f'sky_train/day/day_1/day_frames_{i}.png' for i in (2, 9, 10, 12)]  # as texts: 10, 12, 2, 9
    paint(tmp_path, *names)
    paint(tmp_path, 'sky_test/night/night_1/a_1.png')
    write(tmp_path, **{'sky_train/day/day_1/Thumbs.db': 'x', 'sky_train/day/.hidden': 'x'})
    (tmp_path / 'sky_train' / 'linked').symlink_to(tmp_path / 'sky_test')
    items = list_items('skytimelapse', tmp_path)
    item = items['sky_train/day/day_1']
    assert reds(item) == [0, 1, 2, 3] and item.stills.fps == 25 and item.split == 'train'
    assert item.scores == {'missing_frames': 7.0}  # 3 to 8, and 11
    assert problems(items) == {'sky_train/day/day_1/Thumbs.db': 'no_video', 'sky_train/linked/': 'link'}
    assert {item.split for item in list_items('skytimelapse', tmp_path, 'all').values() if not item.problem} == {
        'train',
        'test',
    }
    with pytest.raises(UserError, match='holds no sky_test/ or sky_timelapse/sky_test/'):
        (tmp_path / 'sky_test').rename(tmp_path / 'other')
        list_items('skytimelapse', tmp_path, 'test')


def test_only_faceforensics_originals_are_taken_in_each_of_its_layouts(tmp_path):
    first = tmp_path / 'first'
    for kind in ('original', 'altered', 'mask'):
        write(first, **{f'train/{kind}/a_0_b_0.avi': 'x', f'val/{kind}/c_0_d_0.avi': 'x'})
    assert list(list_items('faceforensics', first)) == ['train/original/a_0_b_0.avi']
    assert len(list_items('faceforensics', first, 'all')) == 2
    with pytest.raises(UserError, match='--split=test: .* has train, val'):
        list_items('faceforensics', first, 'test')

    second = tmp_path / 'second'
    videos = {f'original_sequences/youtube/c23/videos/{i}.mp4': 'x' for i in ('000', '001', '953', '999')}
    write(second, **videos, **{'manipulated_sequences/Deepfakes/c23/videos/000_001.mp4': 'x'})
    lists = {'train': [['000', '003']], 'val': [['001', '002']], 'test': [['953', '974']]}
    write(second, **{f'splits/{name}.json': json.dumps(pairs) for name, pairs in lists.items()})
    items = list_items('faceforensics', second)
    assert usable(items) == ['original_sequences/youtube/c23/videos/000.mp4']
    assert problems(items) == {
        'original_sequences/youtube/c23/videos/003.mp4': 'missing',
        'original_sequences/youtube/c23/videos/999.mp4': 'not_listed',
    }

    third = tmp_path / 'third'
    paint(third, 'a_1_b_1/000000.png', 'a_1_b_1/000001.png', 'c_1_d_1/000000.png')
    items = list_items('faceforensics', third)
    assert list(items) == ['a_1_b_1', 'c_1_d_1'] and reds(items['a_1_b_1']) == [0, 1]
    assert list_items('faceforensics', third, 'all').keys() == items.keys()

    fourth = tmp_path / 'fourth'
    write(fourth, **{'train/videos/a_1_b_1.mp4': 'x'})
    assert list(list_items('faceforensics', fourth)) == ['train/videos/a_1_b_1.mp4']


METADATA = """video_id,start,end,bbox,fps,width,height,partition
u6rJ,80,300,118-82-508-472,29.97,640,480,train
u6rJ,575,717,168-99-488-419,29.97,640,480,train
aAwb,0,128,168-99-488-419,25.0,640,480,train
ZjN0,0,128,168-99-488-419,25.0,640,480,test
"""


def test_taichi_clips_are_files_or_folders_checked_against_the_table(tmp_path):
    paint(tmp_path, *(f'train/aAwb#000000#000128.mp4/{i:07}.png' for i in range(3)))
    write(tmp_path, **{'train/u6rJ#000080#000300.mp4': 'x', 'train/else#000000#000001.mp4': 'x'})
    assert len(usable(list_items('taichi', tmp_path))) == 3  # no table names the clips that should exist
    write(tmp_path, **{'taichi-metadata.csv': METADATA})
    items = list_items('taichi', tmp_path)
    assert usable(items) == ['train/aAwb#000000#000128.mp4', 'train/u6rJ#000080#000300.mp4']
    assert problems(items) == {
        'train/u6rJ#000575#000717.mp4': 'missing',
        'train/else#000000#000001.mp4': 'not_listed',
    }
    item = items['train/aAwb#000000#000128.mp4']
    assert item.stills.fps == 25 and reds(item) == [0, 1, 2]
    write(tmp_path, **{'taichi-metadata.csv': METADATA.replace('fps', 'rate')})
    with pytest.raises(UserError, match='taichi-metadata.csv has no column fps'):
        list_items('taichi', tmp_path)


# ImageNet


def synsets(root, *names):
    """The mapping of Kaggle's copy, with words."""
    write(root, **{'LOC_synset_mapping.txt': ''.join(f'{name} word {name[-1]}, other\n' for name in names)})


def test_imagenet_labels_are_places_in_the_sorted_synsets(tmp_path):
    paint(tmp_path, 'train/n00000002/n00000002_1.JPEG', 'train/n00000001/n00000001_1.JPEG')
    items = list_items('imagenet', tmp_path)
    assert [(item.label, item.label_name) for item in items.values()] == [(0, 'n00000001'), (1, 'n00000002')]
    assert reds(items['train/n00000001/n00000001_1.JPEG']) == [1]
    synsets(tmp_path, 'n00000003', 'n00000001')
    write(tmp_path, **{'train/n00000001/list.txt': 'x'})
    items = list_items('imagenet', tmp_path)
    assert items['train/n00000001/n00000001_1.JPEG'].label_name == 'word 1, other'
    assert problems(items) == {
        'train/n00000001/list.txt': 'no_video',
        'train/n00000002/n00000002_1.JPEG': 'not_listed',
        'train/n00000003': 'missing',
    }


def test_a_flat_validation_folder_takes_its_classes_from_the_kit_or_from_kaggles_table(tmp_path):
    names = [f'val/ILSVRC2012_val_{i:08}.JPEG' for i in (1, 2, 3)]
    paint(tmp_path, *names)
    paint(tmp_path, 'train/n00000001/a.JPEG', 'train/n00000002/a.JPEG')
    with pytest.raises(UserError, match='holds no ILSVRC2012_devkit_t12/data/meta.mat'):
        list_items('imagenet', tmp_path, 'val')
    kit = tmp_path / 'ILSVRC2012_devkit_t12' / 'data'
    kit.mkdir(parents=True)
    rows = [(1, 'n00000002', 'kite'), (2, 'n00000001', 'cat, tom'), (1001, 'n00000009', 'animal')]
    fields = [('ILSVRC2012_ID', 'O'), ('WNID', 'O'), ('words', 'O')]
    savemat = pytest.importorskip('scipy.io').savemat
    savemat(kit / 'meta.mat', {'synsets': np.array(rows, fields).reshape(3, 1)})
    (kit / 'ILSVRC2012_validation_ground_truth.txt').write_text('2\n2\n1\n')
    items = list_items('imagenet', tmp_path, 'val')
    assert [(item.label, item.label_name) for item in items.values()] == [
        (0, 'cat, tom'),
        (0, 'cat, tom'),
        (1, 'kite'),
    ]
    write(tmp_path, **{'LOC_val_solution.csv': 'ImageId,PredictionString\nILSVRC2012_val_00000001,n00000002 1 2 3 4\n'})
    synsets(tmp_path, 'n00000001', 'n00000002')
    items = list_items('imagenet', tmp_path, 'val')
    assert items[names[0]].label == 1 and problems(items) == {
        names[1]: 'not_listed',
        names[2]: 'not_listed',
        'val/n00000001': 'missing',
    }


# Kinetics-600

K600 = """label,youtube_id,time_start,time_end,split
air drumming,--nQbRBEz2s,104,114,{0}
abseiling,0wR5jVB-WPk,417,427,{0}
abseiling,0wR5jVB-WPk,417,427,{0}
abseiling,gone_nQbRBE,1,11,{0}
abseiling,bad_nQbRBEz,one,11,{0}
abseiling,short
"""


def test_kinetics600_clips_are_found_by_their_name_in_one_folder_or_in_one_a_class(tmp_path):
    write(tmp_path, **{'annotations/train.csv': K600.format('train'), 'annotations/validate.csv': K600.format('val')})
    clips = 'train/--nQbRBEz2s_000104_000114.mp4', 'train/abseiling/0wR5jVB-WPk_000417_000427.mkv', 'train/stray.mp4'
    write(tmp_path, **dict.fromkeys(clips, 'x'), **{'val/--nQbRBEz2s.mp4': 'x'})
    items = list_items('kinetics600', tmp_path)
    assert usable(items) == list(clips[:2])
    assert {name: (item.label, item.label_name) for name, item in items.items() if not item.problem} == {
        clips[0]: (1, 'air drumming'),
        clips[1]: (0, 'abseiling'),
    }
    assert problems(items) == {
        'annotations/train.csv line 4': 'listed_twice',
        'annotations/train.csv line 6': 'bad_row',
        'annotations/train.csv line 7': 'columns',
        'train/gone_nQbRBE_000001_000011.mp4': 'missing',
        'train/stray.mp4': 'not_listed',
    }
    assert usable(list_items('kinetics600', tmp_path, 'val')) == ['val/--nQbRBEz2s.mp4']
    (tmp_path / 'annotations' / 'train.csv').write_bytes(K600.format('train').encode().replace(b'air d', b'\xe4ir d'))
    items = list_items('kinetics600', tmp_path)
    assert items['annotations/train.csv line 2'].problem.startswith('encoding') and len(usable(items)) == 1
    with pytest.raises(UserError, match='holds no annotations/test.txt or annotations/test.csv'):
        list_items('kinetics600', tmp_path, 'test')


def test_the_complete_list_of_kinetics600_goes_before_the_incomplete_one(tmp_path):
    rows = K600.format('train').splitlines(keepends=True)
    write(tmp_path, **{'annotations/train.txt': ''.join(rows[:3]), 'annotations/train.csv': ''.join(rows[:2])})
    write(tmp_path, **{'train/0wR5jVB-WPk_000417_000427.mp4': 'x'})
    assert usable(list_items('kinetics600', tmp_path)) == ['train/0wR5jVB-WPk_000417_000427.mp4']
    write(tmp_path, **{'annotations/train.txt': 'a b c\n1\n'})
    with pytest.raises(UserError, match='train.txt has no column youtube_id'):
        list_items('kinetics600', tmp_path)


# tables of captions

WEBVID = """videoid,contentUrl,duration,page_dir,name
1066,https://example.com/1066.mp4,PT00H00M10S,000001_000050,"Waves, at sea"
1067,https://example.com/1067.mp4,PT00H00M10S,000001_000050,
,https://example.com/1068.mp4,PT00H00M10S,000001_000050,Nothing
1069,https://example.com/1069.mp4,PT00H00M10S,../../etc,Outside
1066,https://example.com/1066.mp4,PT00H00M10S,000001_000050,Again
"""


def test_webvid_captions_are_those_of_its_table(tmp_path):
    write(tmp_path, **{'results_2M_train.csv': WEBVID, 'results_2M_val.csv': WEBVID.splitlines()[0] + '\n'})
    write(tmp_path, **{f'videos/000001_000050/{i}.mp4': 'x' for i in (1066, 1067, 1070)})
    items = list_items('webvid', tmp_path)
    assert items['videos/000001_000050/1066.mp4'].captions == (Caption('Waves, at sea'),)
    assert items['videos/000001_000050/1067.mp4'].captions == ()
    assert sorted(problems(items).values()) == ['listed_twice', 'missing', 'no_path', 'not_listed']
    assert not any('etc' in item.path for item in items.values())
    assert list_items('webvid', tmp_path / 'results_2M_train.csv').keys() == items.keys()
    with pytest.raises(UserError, match='want one table .* for all, found results_2M_train.csv, results_2M_val.csv'):
        list_items('webvid', tmp_path, 'all')
    write(tmp_path, **{'results_2M_train.csv': 'a,b\n1,2\n'})
    with pytest.raises(UserError, match='has the columns a, b; want those of WebVid: name, page_dir, videoid'):
        list_items('webvid', tmp_path)


def test_openvid_scores_are_taken(tmp_path):
    table = 'video,caption,aesthetic score,motion score,camera motion,fps\na_1.mp4,A dog runs.,5.5,2.25,static,24\n'
    write(tmp_path, **{'data/train/OpenVid-1M.csv': table, 'video/a_1.mp4': 'x'})
    item = list_items('webvid', tmp_path)['video/a_1.mp4']
    assert item.captions == (Caption('A dog runs.'),)
    assert item.scores == {'aesthetic_score': 5.5, 'motion_score': 2.25}


def test_parts_of_long_videos_are_inputs_of_their_own(tmp_path):
    header = 'videoID,url,timestamp,caption,matching_score\n'
    windows = "[['0:00:01.500', '0:00:04.871'], ['0:01:00.000', '0:01:02.000']]"
    rows = f"""ab-cd,https://example.com,"{windows}","['A cat.', ""A dog's bowl.""]","[0.5, 0.25]"\n"""
    rows += """ef,https://example.com,"[['0:00:01', '0:00:02']]","['One.', 'Two.']","[0.5]"\n"""
    rows += """gh,https://example.com,"__import__('os')","['One.']","[0.5]"\n"""
    rows += """gone,https://example.com,"[['0:00:02', '0:00:01']]","['One.']","[0.5]"\n"""
    panda = tmp_path / 'panda'
    write(panda, **{'panda70m_training_2m.csv': header + rows}, **{f'videos/{i}.mp4': 'x' for i in ('ab-cd', 'ef')})
    items = list_items('webvid', panda)
    assert usable(items) == ['videos/ab-cd.mp4#1.5-4.871', 'videos/ab-cd.mp4#60-62']
    item = items['videos/ab-cd.mp4#60-62']
    assert (item.captions, item.scores, item.source) == (
        (Caption("A dog's bowl."),),
        {'matching_score': 0.25},
        'videos/ab-cd.mp4',
    )
    assert sorted(problems(items).values()) == ['bad_row', 'bad_row', 'bad_times']

    intern = tmp_path / 'intern'
    rows = [{'YoutubeID': 'xyz', 'Start_timestamp': '00:00:19.019', 'End_timestamp': '00:00:21', 'Caption': 'A man.'}]
    rows += [rows[0] | {'Start_timestamp': '00:00:30', 'End_timestamp': '00:00:31', 'Aesthetic_Score': 4.29}]
    write(intern, **{'InternVid.jsonl': '\n'.join(map(json.dumps, rows)), 'xyz.mp4': 'x'})
    items = list_items('webvid', intern)
    assert usable(items) == ['xyz.mp4#19.019-21', 'xyz.mp4#30-31']
    with pytest.raises(UserError, match='want one table .* for val, found none'):
        list_items('webvid', intern, 'val')  # never what is trained on
    assert items['xyz.mp4#30-31'].scores == {'aesthetic_score': 4.29}


# arrays and examples


def test_moving_mnist_is_the_array_of_its_test_set(tmp_path):
    array = np.arange(20 * 3, dtype=np.uint8).reshape(20, 3, 1, 1).repeat(8, 2).repeat(8, 3)
    np.save(tmp_path / 'mnist_test_seq.npy', array)
    items = list_items('moving_mnist', tmp_path, 'test')
    assert len(items) == 3 and reds(items['mnist_test_seq.npy:00001']) == list(range(1, 60, 3))
    assert len({digest_item(item) for item in items.values()}) == 3
    np.save(tmp_path / 'mnist_test_seq.npy', array.astype(np.float32))
    with pytest.raises(UserError, match='float32 .* want uint8'):
        list_items('moving_mnist', tmp_path, 'test')
    np.save(tmp_path / 'mnist_test_seq.npy', np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match='mnist_test_seq.npy: .*Python objects'):
        list_items('moving_mnist', tmp_path, 'test')


def field(number, content):
    """A length-delimited field of a protocol buffer."""
    size = len(content)
    head = b''
    while size > 127:
        head, size = head + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + head + bytes([size]) + content


def trajectory(first, count=30, size=64 * 64 * 3):
    """An example as the BAIR archive has them: frame i is first + i all over, the other camera 255."""
    pairs = []
    for i in range(count):
        values = {'image_main': bytes([first + i]) * size, 'image_aux1': b'\xff' * size}
        for camera, value in values.items():
            feature = field(1, field(1, value))
            pairs.append(field(1, f'{i}/{camera}/encoded'.encode()) + field(2, feature))
        action = field(2, field(1, struct.pack('<4f', 1, 2, 3, 4)))
        pairs.append(field(1, f'{i}/action'.encode()) + field(2, action))
    return field(1, b''.join(field(1, pair) for pair in pairs))


def tfrecord(*examples):
    lengths = [struct.pack('<Q', len(example)) for example in examples]
    return b''.join(
        length + struct.pack('<I', masked_crc(length)) + example + b'\0\0\0\0'
        for length, example in zip(lengths, examples, strict=True)
    )


def test_the_checksum_of_lengths_is_that_of_tfrecord():
    assert masked_crc(b'123456789') == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF  # RFC 3720


def test_bair_is_read_from_the_archive_of_its_authors(tmp_path):
    name = 'softmotion30_44k/train/traj_0_to_255.tfrecords'
    content = tfrecord(trajectory(0), trajectory(100, 12))
    write(tmp_path, **{name: content, 'softmotion30_44k/train/readme': 'x'})
    items = list_items('bair', tmp_path)
    assert usable(items) == [f'{name}:000', f'{name}:001']
    assert problems(items) == {'softmotion30_44k/train/readme': 'no_video'}
    assert reds(items[f'{name}:000']) == list(range(30)) and reds(items[f'{name}:001']) == list(range(100, 112))
    write(tmp_path, **{name: content[:-200000]})
    items = list_items('bair', tmp_path)
    assert usable(items) == [f'{name}:000']  # what comes before the damage
    assert problems(items) == {name: 'broken', 'softmotion30_44k/train/readme': 'no_video'}
