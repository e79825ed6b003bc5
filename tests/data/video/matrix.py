"""Videos of many codecs, containers and histories, and whether each is read as the ffmpeg program decodes it.

`python -m tests.data.video.matrix` makes them all in a temporary folder and prints the table of docs/data.md; with
`--store` it writes the dozen of them that the default tests read, small, and what ffmpeg makes of them, into `stored/`.
The pictures are drawn by ffmpeg's own test sources.
"""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np

from vdm_jax.data.video import decode
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.picture import _plane_rows
from vdm_jax.data.video.seek import decode_at

FRAMES = 90
RATE = 30
PICTURES = f'testsrc2=size=96x64:rate={RATE}:duration={FRAMES / RATE},noise=alls=6:allf=t'
SMALL = f'testsrc2=size=64x64:rate={RATE}:duration=1.5'
SOUND = f'sine=frequency=300:duration={FRAMES / RATE}'

# Codec: (how it is encoded, containers that take it).
CODECS = {
    'H.264': ('libx264 -g 20 -bf 0', 'mp4 mov mkv ts flv avi'),
    'HEVC': ('libx265 -x265-params log-level=none:keyint=20:bframes=0:open-gop=0', 'mp4 mov mkv ts'),
    'AV1 (libaom)': ('libaom-av1 -cpu-used 8 -g 20 -lag-in-frames 0 -row-mt 0', 'mp4 mkv webm'),
    'AV1 (SVT)': ('libsvtav1 -preset 12 -g 20', 'mp4 mkv'),
    'VP8': ('libvpx -g 20 -deadline realtime -auto-alt-ref 1 -lag-in-frames 16', 'webm mkv'),
    'VP9': ('libvpx-vp9 -g 20 -cpu-used 8 -deadline good -auto-alt-ref 1 -lag-in-frames 16', 'webm mkv mp4'),
    'MPEG-4': ('mpeg4 -g 20 -bf 2 -flags +bitexact', 'mp4 avi mkv'),
    'MPEG-2': ('mpeg2video -g 20 -bf 2 -flags +bitexact', 'mpg ts mkv mp4 m2ts'),
    'ProRes': ('prores_ks', 'mov mkv'),
    'FFV1': ('ffv1 -g 10', 'mkv avi'),
    'Motion JPEG': ('mjpeg -q:v 4', 'avi mov mkv'),
    'WMV': ('wmv2 -g 20 -flags +bitexact', 'wmv'),
    'H.263': ('h263 -g 20 -s 176x144 -flags +bitexact', '3gp'),
    'GIF': ('gif', 'gif'),
}
# Ways of ordering pictures, of the codecs that know them.
ORDERS = {
    'B-pyramid': {
        'H.264': 'libx264 -g 24 -bf 4 -x264-params b-pyramid=normal:ref=4',
        'HEVC': 'libx265 -x265-params log-level=none:keyint=24:bframes=4:b-pyramid=1:open-gop=0',
        'AV1 (libaom)': 'libaom-av1 -cpu-used 8 -g 24 -lag-in-frames 16 -row-mt 0',
    },
    'open GOP': {
        'H.264': 'libx264 -g 24 -bf 3 -x264-params open-gop=1:scenecut=0',
        'HEVC': 'libx265 -x265-params log-level=none:keyint=24:bframes=4:open-gop=1:scenecut=0',
        'MPEG-2': 'mpeg2video -g 12 -bf 2 -flags +bitexact',
    },
    'intra refresh': {
        'H.264': 'libx264 -g 30 -bf 0 -x264-params intra-refresh=1',
        'HEVC': 'libx265 -x265-params log-level=none:keyint=30:bframes=0:intra-refresh=1',
    },
    'interlaced': {
        'H.264': 'libx264 -g 24 -bf 2 -flags +ildct+ilme -x264-params tff=1',
        'MPEG-2': 'mpeg2video -g 12 -bf 2 -flags +ildct+ilme+bitexact -top 1',
    },
    'variable rate': {
        'H.264': 'libx264 -g 24 -bf 2',
        'HEVC': 'libx265 -x265-params log-level=none:keyint=24:bframes=3',
        'VP9': 'libvpx-vp9 -g 24 -cpu-used 8 -deadline good',
    },
}
UNEVEN = "settb=1/1000,setpts='N*33+7*mod(N\\,3)+if(gte(N\\,40)\\,900\\,0)'"
# What a file went through after it was encoded, by copying its packets: {INPUT} -> {OUTPUT}.
HISTORIES = {
    'cut to mkv': ('mkv', '-ss 1.1 -i {INPUT} -c copy'),
    'cut to mp4 (edit list)': ('mp4', '-ss 1.1 -i {INPUT} -c copy'),
    'cut to ts': ('ts', '-ss 1.1 -i {INPUT} -c copy'),
    'negative start': ('mkv', '-itsoffset -0.4 -i {INPUT} -c copy -avoid_negative_ts disabled'),
    'late video': ('mkv', '-itsoffset 1.3 -i {INPUT} -f lavfi -i {SOUND} -map 0:v -map 1:a -c:v copy -c:a aac'),
    'late video in mp4': ('mp4', '-itsoffset 1.3 -i {INPUT} -f lavfi -i {SOUND} -map 0:v -map 1:a -c:v copy -c:a aac'),
    'fragmented mp4': ('mp4', '-i {INPUT} -c copy -movflags frag_keyframe+empty_moov'),
    'remux to ts': ('ts', '-i {INPUT} -c copy'),
    'remux to flv': ('flv', '-i {INPUT} -c copy'),
    'remux through AVI to mp4': ('avi mp4', '-i {INPUT} -c copy'),
    'remux through AVI to mkv': ('avi mkv', '-fflags +genpts -i {INPUT} -c copy'),
}
ANCESTORS = {  # codec and order of what goes through them
    ('H.264', 'B-pyramid'): tuple(HISTORIES),
    # Cut to ts it has no parameter sets, which FFmpeg writes only at IDR pictures: nothing plays it.
    ('H.264', 'open GOP'): tuple(each for each in tuple(HISTORIES)[:6] if each != 'cut to ts'),
    ('HEVC', 'open GOP'): ('cut to mkv', 'cut to mp4 (edit list)', 'cut to ts', 'negative start', 'late video'),
    ('AV1 (libaom)', 'B-pyramid'): ('cut to mkv', 'cut to mp4 (edit list)', 'negative start', 'late video'),
    ('VP9', 'closed GOP'): ('cut to mkv', 'late video'),
    ('MPEG-4', 'closed GOP'): ('cut to mkv', 'cut to mp4 (edit list)', 'remux through AVI to mp4'),
    ('MPEG-2', 'open GOP'): ('cut to mkv', 'cut to ts', 'remux to ts'),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One file to make: codec, order of its pictures, container, and what it went through."""

    codec: str
    order: str
    suffix: str
    history: str = ''

    @property
    def name(self) -> str:
        return re.sub(r'\W+', '_', f'{self.codec} {self.order} {self.history}').strip('_').lower() + f'.{self.suffix}'


STORED = (
    Case('AV1 (libaom)', 'B-pyramid', 'mp4'),
    Case('AV1 (SVT)', 'closed GOP', 'mkv'),
    Case('VP9', 'variable rate', 'mkv'),
    Case('MPEG-4', 'closed GOP', 'avi'),
    Case('MPEG-2', 'open GOP', 'ts'),
    Case('VP8', 'closed GOP', 'webm'),
    Case('H.264', 'interlaced', 'mp4'),
    Case('H.264', 'intra refresh', 'mkv'),
    Case('H.264', 'open GOP', 'mp4'),
    Case('H.264', 'B-pyramid', 'mp4', 'cut to mp4 (edit list)'),
    Case('H.264', 'B-pyramid', 'mp4', 'remux through AVI to mp4'),
    Case('H.264', 'B-pyramid', 'flv', 'remux to flv'),
    Case('HEVC', 'open GOP', 'mkv', 'cut to mkv'),
    Case('HEVC', 'B-pyramid', 'mp4'),
)


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of one file.

    frames: how many ffmpeg decodes. index: whether it is made of packets or by decoding. wrong: what differs from
    ffmpeg, '' for nothing. off: the most by which a time does, in seconds; nan
    where ffmpeg's own do not rise.
    """

    frames: int
    index: str
    wrong: str
    off: float


def cases() -> list[Case]:
    """All of the matrix."""
    plain = [Case(codec, 'closed GOP', suffix) for codec, (_, kinds) in CODECS.items() for suffix in kinds.split()]
    ordered = [
        Case(codec, order, suffix)
        for order, encoders in ORDERS.items()
        for codec in encoders
        for suffix in (('mkv', 'ts') if codec == 'MPEG-2' else ('mp4', 'mkv'))
    ]
    histories = [
        Case(codec, order, HISTORIES[history][0].split()[-1], history)
        for (codec, order), each in ANCESTORS.items()
        for history in each
    ]
    return plain + ordered + histories


def make(case: Case, folder: pathlib.Path, pictures: str = PICTURES) -> pathlib.Path:
    """Makes the file of a case; its ancestors are made once."""
    path = folder / case.name
    if path.exists():
        return path
    if not case.history:
        encoder = ORDERS[case.order][case.codec] if case.order in ORDERS else CODECS[case.codec][0]
        pictures = f'{pictures},{UNEVEN}' if case.order == 'variable rate' else pictures
        timing = ['-fps_mode', 'passthrough', '-enc_time_base', '1/1000'] if case.order == 'variable rate' else []
        formats = [] if case.codec in ('ProRes', 'FFV1', 'GIF', 'Motion JPEG') else ['-pix_fmt', 'yuv420p']
        ffmpeg('-f', 'lavfi', '-i', pictures, *timing, '-c:v', *encoder.split(), *formats, path)
        return path
    ancestor = dataclasses.replace(case, history='', suffix='mkv' if case.codec in ('MPEG-2', 'VP9') else 'mp4')
    source = make(ancestor, folder, pictures)
    suffixes, command = HISTORIES[case.history]
    for suffix in suffixes.split():
        result = path if suffix == suffixes.split()[-1] else path.with_suffix(f'.by.{suffix}')
        words = [{'{INPUT}': source, '{SOUND}': SOUND}.get(word, word) for word in command.split()]
        ffmpeg(*words, result)
        source = result
    return path


def check(path: pathlib.Path, hashes: list[str], times: np.ndarray, seed: int = 0) -> Result:
    """Compare a file, read completely and from its middle, with a complete decode: hashes and times of frames."""
    try:
        video = decode.probe(path)
    except BrokenVideoError as error:
        return Result(len(hashes), '-', f'broken: {error}', np.nan)
    index = 'decoding' if len(video.index.digests) else 'packets' if len(video.index.keys) else 'pictures'
    wrong = []
    if video.frames != len(hashes):
        wrong.append(f'{video.frames} frames')
    off = float('nan')
    if video.frames == len(times) and (np.diff(times) > 0).all():
        off = float(np.abs(video.times - (times - times[0])).max())
    if index == 'pictures':
        return Result(len(hashes), index, ', '.join(wrong), off)
    digests = [digest for _, digest in hash_frames(video, range(video.frames))]
    pairs = enumerate(zip(digests, hashes, strict=False))
    wrong += [f'frame {i} differs' for i, (ours, theirs) in pairs if not ours.startswith(theirs)][:1]
    rng = np.random.default_rng(seed)
    edges = itertools.chain.from_iterable((key - 1, key, key + 1) for key in video.index.key_frames.tolist())
    firsts = {first for first in (*edges, *rng.integers(0, video.frames, 6).tolist()) if 0 <= first < video.frames}
    for first in sorted(firsts):
        for number, digest in hash_frames(video, range(first, min(first + 3, video.frames))):
            if digest != digests[number]:
                wrong.append(f'frame {number} read from {first} differs')
    return Result(len(hashes), index, ', '.join(wrong[:2]), off)


def hash_frames(video, numbers):
    """Yields (number, md5 of the decoded samples) of some frames, as ffmpeg's framemd5 has it."""
    for number, frame in decode_at(video, numbers):
        digest = hashlib.md5()
        for at, plane in enumerate(frame.planes):
            own = [component for component in frame.format.components if component.plane == at]
            digest.update(np.ascontiguousarray(_plane_rows(plane, plane.width * sum(-(-c.bits // 8) for c in own))))
        yield number, digest.hexdigest()


def reference(path: pathlib.Path) -> tuple[list[str], np.ndarray]:
    """Return (md5 of each frame, seconds at which each is shown) of a complete decode by ffmpeg."""
    text = ffmpeg(
        '-copyts',
        '-i',
        path,
        '-map',
        '0:v:0',
        '-fps_mode',
        'passthrough',
        '-enc_time_base',
        '-1',
        '-f',
        'framemd5',
        '-',
    ).stdout
    unit = re.search(r'#tb 0: (\d+)/(\d+)', text)
    rows = [line.split(',') for line in text.splitlines() if not line.startswith('#')]
    stamps = np.array([int(row[2]) for row in rows]) * int(unit[1]) / int(unit[2])
    if path.suffix == '.mp4':  # what an edit list cuts away lies before 0; FFmpeg 5 shows it where it is AV1
        rows, stamps = [row for row, stamp in zip(rows, stamps, strict=True) if stamp >= 0], stamps[stamps >= 0]
    return [row[-1].strip() for row in rows], stamps


def ffmpeg(*arguments):
    command = ['ffmpeg', '-y', '-v', 'error', '-threads', '1', *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)


def store(target: pathlib.Path) -> None:
    """Writes the files of STORED, and index.json: of each frame the first 12 digits of its md5, and its time."""
    target.mkdir(exist_ok=True)
    index = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in STORED:
            path = make(case, pathlib.Path(folder), SMALL)
            hashes, times = reference(path)
            index[case.name] = {'hashes': [digest[:12] for digest in hashes], 'times': times.round(6).tolist()}
            shutil.copy(path, target / case.name)
    text = ',\n'.join(f'{json.dumps(name)}: {json.dumps(about)}' for name, about in index.items())
    (target / 'index.json').write_text('{' + text + '}\n')


def main() -> int:
    """Prints the table; 1 where anything is wrong."""
    if sys.argv[1:] == ['--store']:
        store(pathlib.Path(__file__).parent / 'stored')
        return 0
    wrong = 0
    print('| codec | pictures | file | frames | index | times off by | read as ffmpeg decodes it |')
    print('| --- | --- | --- | --- | --- | --- | --- |')
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            path = make(case, pathlib.Path(folder))
            result = check(path, *reference(path))
            wrong += bool(result.wrong)
            file = f'{case.suffix}, {case.history}' if case.history else case.suffix
            verdict = result.wrong or 'yes'
            off = "ffmpeg's do not rise" if np.isnan(result.off) else f'{result.off:.3f} s'
            print(f'| {case.codec} | {case.order} | {file} | {result.frames} | {result.index} | {off} | {verdict} |')
            sys.stdout.flush()
    return int(wrong > 0)


if __name__ == '__main__':
    if shutil.which('ffmpeg') is None:
        sys.exit('the ffmpeg program is needed: it is what files are held against')
    sys.exit(main())
