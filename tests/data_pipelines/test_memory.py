import io
import os
import subprocess
import sys

import pytest

av = pytest.importorskip('av')
pytest.importorskip('cv2')

from tests.data_pipelines.videos import encode_frames, moving  # noqa: E402, wants the libraries above

PEAK = """
import pathlib, sys
from data_pipelines.build import part_files
from data_pipelines.inputs.item import Item
from data_pipelines.build.recipe import read_recipe
from data_pipelines.build.process_video import process_video
item = Item('film.mp4', sys.argv[1])
part_files.write_part(sys.argv[1] + '.part', process_video(item, read_recipe(assignments=['--recipe.filters='])))
found = part_files.read_index(sys.argv[1] + '.part')
assert found['input']['fate'] == 'kept', found['input']
peak = pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]  # ru_maxrss has the parent's, too
print(len(found['clips']), int(peak) // 1024)
"""


def film(path, times):
    """The same 20 s of 160x120 so many times over: {path: 500 * times frames}."""
    content = encode_frames(moving(500, 120, 160))
    with av.open(str(path), 'w') as out:
        for turn in range(times):
            with av.open(io.BytesIO(content)) as part:
                stream = out.streams.video[0] if turn else out.add_stream_from_template(part.streams.video[0])
                for packet in part.demux(video=0):
                    if packet.size:
                        packet.pts += turn * 20 * 90_000
                        packet.dts = packet.pts
                        packet.stream = stream
                        out.mux(packet)
    return path


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='the peak is read from /proc')
def test_a_long_film_takes_hardly_more_memory_than_a_short_one(tmp_path):
    """13 minutes, 1.2 GB of pixels; what grows is a few numbers a frame."""
    peaks = []
    for times in (2, 40):
        path = film(tmp_path / f'{times}.mp4', times)
        output = subprocess.check_output([sys.executable, '-c', PEAK, str(path)], text=True)
        clips, peak = map(int, output.split())
        assert clips == 2 * times
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 40, peaks
