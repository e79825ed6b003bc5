"""Damaged copies of videos, decoded: `python -m tests.data_pipelines.flips FIRST STOP STEP FILE...`.

A process of its own, so that whoever started it sees a crash or a hang. For each case it prints its number and, once
that is over, what came of it. Case n is the same whenever and wherever it is made.
"""

import sys
import zlib

import numpy as np

from vdm_jax.data.video import decode

KINDS = 'head', 'tail', 'anywhere', 'cut'
ENDS = 4096  # bytes at either end of a file, where its header is


def damage(content, case):
    """Return the bytes of a file with 1 to 64 of them changed, or cut off; the case is the seed."""
    rng = np.random.default_rng(case)
    kind = KINDS[rng.integers(len(KINDS))]
    count = int(2 ** rng.uniform(0, 6.01))
    size = len(content)

    if kind == 'cut':
        return content[: rng.integers(size)]
    low, high = {'head': (0, ENDS), 'tail': (max(size - ENDS, 0), size), 'anywhere': (0, size)}[kind]
    changed = np.frombuffer(content, np.uint8).copy()
    changed[rng.integers(low, min(high, size), count)] ^= rng.integers(1, 256, count, np.uint8)
    return changed.tobytes()


def decode_file(content):
    """Return the outcome: the number of frames and their checksum, or the reason why there are none."""
    try:
        video = decode.probe(content)
        total = 0
        for number, frame in decode.stream(video):
            assert frame.shape == (video.height, video.width, 3), (number, frame.shape)
            total = zlib.crc32(frame, total)
        last = decode.read(video, [video.frames - 1, 0], 8, 8)
        assert last.shape == (2, 8, 8, 3)
    except decode.BrokenVideoError as error:
        assert str(error)
        return f'broken {error}'
    return f'decoded {video.frames} {total}'


if __name__ == '__main__':
    first, stop, step, *files = sys.argv[1:]
    for case in range(int(first), int(stop), int(step)):
        path = files[case % len(files)]
        with open(path, 'rb') as file:
            content = damage(file.read(), case)
        print(case, path, end=' ', flush=True)
        print(decode_file(content), flush=True)
