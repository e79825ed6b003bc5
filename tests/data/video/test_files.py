"""Which files of a folder are videos, and how the others are reported."""

import os
import unicodedata

import pytest

from vdm_jax.data.joint_images import JointImages
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.video.files import describe_counts, list_folder
from vdm_jax.data.video_folder import VideoFolder, look_for_videos
from vdm_jax.errors import UserError

KINDS = 'mp4 m4v mov avi webm mkv gif webp apng ts m2ts mts flv wmv asf 3gp 3g2 mpg mpeg'.split()
CHUNK = {'lossy': b'VP8 ', 'lossless': b'VP8L', 'extended': b'VP8X'}


def put(folder, *names, content=b'video'):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def webp(kind, animated=False):
    return b'RIFF\x40\0\0\0WEBP' + CHUNK[kind] + b'\x0a\0\0\0' + bytes([2 if animated else 0x2C]) + bytes(16)


@pytest.mark.parametrize('ending', KINDS)
def test_videos_of_every_kind_are_read_whatever_the_case_of_their_names(tmp_path, ending):
    put(tmp_path, f'a.{ending}', f'sub/B.{ending.upper()}', f'c.{ending}.part', 'd.png', 'e.srt')
    assert list(look_for_videos(str(tmp_path)).videos) == [f'a.{ending}', f'sub/B.{ending.upper()}']
    assert list_folder(str(tmp_path)).passed_over_counts() == {'.part': 1, '.png': 1, '.srt': 1}


def test_a_webp_of_a_single_picture_is_a_thumbnail_and_no_video(tmp_path):
    for kind in CHUNK:
        put(tmp_path, f'{kind}.webp', content=webp(kind))
    put(tmp_path, 'moving.webp', content=webp('extended', animated=True))
    put(tmp_path, 'cut_off.webp', content=webp('lossy')[:10])
    os.mkfifo(tmp_path / 'pipe.webp')
    listing = list_folder(str(tmp_path))
    assert listing.videos == ('cut_off.webp', 'moving.webp', 'pipe.webp') and listing.others == {'still .webp': 3}


def test_all_that_is_passed_over_is_counted(tmp_path):
    put(tmp_path, 'a.mp4', 'a.txt', 'sub/b.mp4', 'sub/b.json', 'alone.txt', 'sub/README', '.hidden/x.mp4', '.y.mp4')
    put(tmp_path, 'sub/B.TXT', '../elsewhere/z.mp4')
    (tmp_path / 'linked').symlink_to(tmp_path.parent / 'elsewhere')
    listing = list_folder(str(tmp_path))
    assert listing.videos == ('a.mp4', 'sub/b.mp4') and listing.links == ('linked',)
    assert listing.sides == {'a.mp4': ('a.txt',), 'sub/b.mp4': ('sub/b.json',)}
    assert listing.side_counts() == {'.json': 1, '.txt': 1}
    assert describe_counts(listing.passed_over_counts()) == '2 .txt, 2 hidden, 1 linked folder, 1 no ending'
    assert (
        describe_counts(listing.passed_over_counts(captions=True))
        == '1 .json, 3 .txt, 2 hidden, 1 linked folder, 1 no ending'
    )


def test_a_folder_that_cannot_be_read_is_counted(tmp_path, monkeypatch):
    put(tmp_path, 'a.mp4', 'mine/b.mp4')
    scan = os.scandir

    def refuse(path):
        if os.path.basename(path) == 'mine':
            raise PermissionError(13, 'Permission denied', path)
        return scan(path)

    monkeypatch.setattr(os, 'scandir', refuse)  # for root may read everything
    listing = list_folder(str(tmp_path))
    assert listing.videos == ('a.mp4',) and listing.unreadable == {'mine': 'Permission denied'}
    assert listing.passed_over_counts() == {'unreadable folder': 1}


def test_files_beside_a_video_are_found_in_either_unicode_form(tmp_path):
    one, two = (unicodedata.normalize(form, 'café') for form in ('NFC', 'NFD'))
    put(tmp_path, f'{one}.mp4', f'{two}.txt')
    assert list_folder(str(tmp_path)).sides == {f'{one}.mp4': (f'{two}.txt',)}


def test_a_run_reports_the_other_files_of_its_folder(tmp_path):
    put(tmp_path, 'a.mp4', 'a.txt', 'b.srt', 'c.srt')
    source = VideoFolder(path=str(tmp_path))
    line = f'passed over in {tmp_path}: 2 .srt, 1 .txt'
    assert source.open().notes() == [line]
    assert Mixture((source, source)).open().notes() == [f'0: {line}', f'1: {line}']
    assert JointImages(source, source).open().notes() == [line, line]
    (tmp_path / 'clean').mkdir()
    put(tmp_path / 'clean', 'a.mp4')
    assert VideoFolder(path=str(tmp_path / 'clean')).open().notes() == []


def test_a_folder_without_videos_is_refused_with_what_it_holds(tmp_path):
    put(tmp_path, 'a.ogv', 'b.txt', 'c.txt')
    with pytest.raises(UserError, match=r'holds no video \(mp4, .*mpeg\); passed over: 1 .ogv, 2 .txt'):
        look_for_videos(str(tmp_path))
