import pytest

pytest.importorskip('av')
pytest.importorskip('cv2')
pytest.importorskip('apache_beam')

from data_pipelines.__main__ import main
from tests.data_pipelines.sets import content
from tests.data_pipelines.videos import encode_frames, moving


@pytest.mark.parametrize('mode', ['multi_threading', pytest.param('multi_processing', marks=pytest.mark.slow)])
def test_two_workers_of_beam_make_what_a_local_build_makes(tmp_path, monkeypatch, mode):
    source = tmp_path / 'source'
    source.mkdir()
    for seed in range(3):
        (source / f'{seed}.mp4').write_bytes(encode_frames(moving(30, seed=seed)))
        (source / f'{seed}.txt').write_text('colours move')
    (source / 'broken.mp4').write_bytes(b'no video')
    direct = '--runner=DirectRunner', '--direct_num_workers=2', f'--direct_running_mode={mode}'
    monkeypatch.chdir(tmp_path)
    assert main(['build', '--source=source', '--out=local', '--workers=0']) == 0
    assert main(['build', '--source=source', '--out=beam', '--runner=beam', '--', *direct]) == 0
    assert content('beam') == content('local')
    assert len(content('local')) == 4
