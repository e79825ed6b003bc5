"""evaluate --real=PATH --fake=PATH: what is printed and written, and what a stranger gets wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.evals.feature_distance.small import make_clips, open_small
from tests.shared_data import CLIPS, needs_clips
from vdm_jax import cli
from vdm_jax.errors import Failure
from vdm_jax.evals import runner
from vdm_jax.evals.feature_distance.protocol import SAME
from vdm_jax.experiment import feature_networks

ROOT = Path(__file__).parents[2]
EVALUATE = '--config.evaluate.'
PROTOCOL = f'{EVALUATE}protocol.'


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


@pytest.fixture
def small(monkeypatch):
    """A small network in the place of I3D."""
    monkeypatch.setattr(feature_networks, 'open_weights', open_small)


@pytest.fixture
def clips(tmp_path):
    """Videos and features in files; returns the path of a name."""
    videos = {
        'real': make_clips(8, seed=1), 'fake': make_clips(6, shape=(9, 6, 8, 3)), 'one': make_clips(1),
        'wide': make_clips(6, shape=(9, 6, 10, 3)), 'short': make_clips(6, shape=(5, 6, 8, 3)),
        'floats': make_clips(6).astype(np.float32),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    features = {
        'f': rng.normal(size=(30, 4)), 'g': rng.normal(size=(30, 4)).astype(np.float16),
        'f6': rng.normal(size=(30, 6)), 'f1': rng.normal(size=(1, 4)), 'nan': np.full((30, 4), np.nan),
    }  # fmt: skip
    for name, array in (videos | features).items():
        np.save(tmp_path / f'{name}.npy', array)
    np.save(tmp_path / 'flat.npy', features['f'][:, 0])
    np.save(tmp_path / 'columns.npy', np.asfortranarray(videos['fake']))
    np.savez(tmp_path / 'two.npz', x=features['f'], y=features['g'])
    (tmp_path / 'cut.npy').write_bytes((tmp_path / 'f.npy').read_bytes()[:200])
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'bad.mp4').write_bytes(b'nonsense')
    return lambda name: str(tmp_path / name if '.' in name or name == 'empty' else tmp_path / f'{name}.npy')


def evaluate(tmp_path, capsys, *argv):
    """Run the command; returns (exit code, what it printed, its errors)."""
    code = cli.main(['evaluate', *argv, f'--out={tmp_path / "out"}'])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def read_score(printed):
    return runner.read(printed.strip().splitlines()[-1])


FRAMES = f'{PROTOCOL}frames=9'


def test_videos_beside_videos(tmp_path, capsys, clips, small):
    pair = f'--real={clips("real")}', f'--fake={clips("fake")}'
    code, out, err = evaluate(tmp_path, capsys, *pair, FRAMES)
    assert code == 0 and err == '' and out.startswith('frechet_i3d6_9f: 6 samples, seed 0')
    score = read_score(out)
    assert {'samples', 'real halves', 'frozen', 'shuffled', 'reversed', 'noise', 'copied'} == set(score.figures)
    about = score.settings
    assert about['environment']
    assert (about['real'], about['fake'], about['size']) == (clips('real'), clips('fake'), None)
    assert about['protocol']['name'] == 'feature_distance' and about['protocol']['frames'] == 9
    assert about['real_clips'] == 8 and about['samples'] == about['fake_clips'] == 6 and about['overrides'] == [FRAMES]
    assert sorted(os.listdir(tmp_path / 'out')) == [os.path.basename(out.strip().splitlines()[-1])]

    code, again, _ = evaluate(tmp_path, capsys, *pair, FRAMES, '--json')
    assert code == 0 and json.loads(again) == score.to_json()


def test_a_set_beside_itself_is_at_no_distance(tmp_path, capsys, clips, small):
    code, out, _ = evaluate(tmp_path, capsys, f'--real={clips("real")}', f'--fake={clips("real")}', FRAMES)
    assert code == 0 and read_score(out).figures['samples']['frechet'] < 1e-6 and f'caution: {SAME}' in out


def test_fewer_clips_may_be_wanted_of_both(tmp_path, capsys, clips, small):
    options = FRAMES, f'{EVALUATE}samples=4', f'{EVALUATE}real=5', '--batch-size=3'
    code, out, _ = evaluate(tmp_path, capsys, f'--real={clips("real")}', f'--fake={clips("fake")}', *options)
    assert code == 0 and '4 of 6 samples' in out
    assert read_score(out).settings['real_clips'] == 5 and read_score(out).settings['samples'] == 4


def test_sizes_are_brought_to_one(tmp_path, capsys, clips, small):
    pair = f'--real={clips("real")}', f'--fake={clips("wide")}'
    code, _, err = evaluate(tmp_path, capsys, *pair, FRAMES)
    assert code == 2 and 'frames of 6x8 and 6x10; want one size, or --size=HEIGHTxWIDTH' in err
    code, out, _ = evaluate(tmp_path, capsys, *pair, FRAMES, '--size=6x6')
    assert code == 0 and read_score(out).settings['size'] == '6x6'


def test_other_files_under_the_same_path_are_another_evaluation(tmp_path, capsys, clips, small, monkeypatch):
    """What was measured of the first ones is not taken for that of the second."""
    argv = f'--real={clips("real")}', f'--fake={clips("fake")}', FRAMES
    monkeypatch.setattr('vdm_jax.evals.partial.SECONDS', 0)
    judge = 'vdm_jax.evals.feature_distance.protocol.FeatureJudge.score'

    def interrupt(self, rows):
        raise Failure('interrupted')

    with monkeypatch.context() as patch:
        patch.setattr(judge, interrupt)
        assert evaluate(tmp_path, capsys, *argv)[0] == 1
    assert list((tmp_path / 'out').glob('.partial_*/*'))
    np.save(clips('fake'), make_clips(6, seed=9))
    os.utime(clips('fake'), ns=(7, 7))
    code, out, _ = evaluate(tmp_path, capsys, *argv)
    fresh = cli.main(['evaluate', *argv, f'--out={tmp_path / "out2"}'])
    other = read_score(capsys.readouterr().out)
    assert code == fresh == 0 and read_score(out).settings['samples_sha256'] == other.settings['samples_sha256']
    assert read_score(out).figures == other.figures


def test_features_beside_features(tmp_path, capsys, clips):
    code, out, err = evaluate(tmp_path, capsys, f'--real={clips("f")}', f'--fake={clips("g")}')
    assert code == 0 and err == '' and out.startswith('frechet_stored30: 30 samples, seed 0')
    assert read_score(out).settings['real'] == clips('f')
    options = f'{PROTOCOL}distances=kvd,jedi', f'{PROTOCOL}rounds=8', f'{PROTOCOL}seed=3'
    code, out, _ = evaluate(tmp_path, capsys, f'--real={clips("f")}', f'--fake={clips("g")}', *options)
    assert code == 0 and out.startswith('kvd_jedi_stored30')


def test_temporal_figures_need_no_weights(tmp_path, capsys):
    pytest.importorskip('cv2')
    for name, seed in (('a', 0), ('b', 1)):
        np.save(tmp_path / f'{name}.npy', make_clips(2, seed, (16, 32, 32, 3)))
    pair = f'--real={tmp_path / "a.npy"}', f'--fake={tmp_path / "b.npy"}'
    code, out, _ = evaluate(tmp_path, capsys, *pair, '--protocol=temporal')
    assert code == 0 and read_score(out).name == 'temporal2_16f'
    assert all(len(line) <= 120 for line in out.splitlines()[:-1])


MISTAKES = {
    'no fake': (['--real=real'], '--fake=PATH is missing'),
    'no real': (['--fake=fake'], '--real=PATH is missing'),
    'workdir': (['--real=real', '--fake=fake', '--workdir=W'], '--workdir is of samples of a run'),
    'weights': (['--real=real', '--fake=fake', '--weights=W'], '--weights is of samples of a run'),
    'step': (['--real=real', '--fake=fake', '--step=3'], '--step is of samples of a run'),
    'ema': (['--real=real', '--fake=fake', '--ema=raw'], '--ema is of samples of a run'),
    'steps': (['--real=real', '--fake=fake', '--steps=3'], '--steps is of samples of a run'),
    'no steps': (['--real=real', '--fake=fake', '--steps=0'], '--steps is of samples of a run'),
    'no guidance': (['--real=real', '--fake=fake', '--guidance=0'], '--guidance is of samples of a run'),
    'guidance': (['--real=real', '--fake=fake', '--guidance=3'], '--guidance is of samples of a run'),
    'scalars': (['--real=real', '--fake=fake', '--scalars=fps=3'], '--scalars is of samples of a run'),
    'codec': (['--real=real', '--fake=fake', '--allow-other-codec'], '--allow-other-codec is of samples of a run'),
    'data': (['--real=real', '--fake=fake', '--config.data.frames=3'], '--config.data.frames=3: there is no run'),
    'protocol': (['--real=real', '--fake=fake', '--protocol=nope'], '--protocol=nope: want one of'),
    'usual': (['--real=real', '--fake=fake', '--protocol=usual'], '--protocol=usual: is chosen by the data of a run'),
    'suite': (['--real=real', '--fake=fake', '--protocol=physics'], '--protocol=physics: is chosen by the data'),
    'named in the config': (['--real=f', '--fake=g', f'{PROTOCOL}name=temporal'], '--protocol=temporal: of features'),
    'named twice': (
        ['--real=real', '--fake=fake', '--protocol=paired', f'{PROTOCOL}name=recall'],
        '--protocol=recall: scores samples of a run',
    ),
    'balls': (['--real=real', '--fake=fake', '--protocol=ball_physics'], 'scores samples of a run alone'),
    'size': (['--real=real', '--fake=fake', '--size=0'], '--size=0: want a whole number from 1 to 16384'),
    'text size': (['--real=real', '--fake=fake', '--size=3x'], '--size=3x: want'),
    'key': (['--real=real', '--fake=fake', f'{PROTOCOL}nope=1'], 'protocol.nope: no such key'),
    'published key': (
        ['--real=real', '--fake=fake', '--protocol=fvd2048_16f_tf', f'{PROTOCOL}resize=half_pixel'],
        'protocol.resize: no such key',
    ),
    'few fakes': (
        ['--real=real', '--fake=fake', FRAMES, f'{PROTOCOL}videos=7'],
        '--fake=fake: 6 clips; the protocol wants 7',
    ),
    'few real': (['--real=real', '--fake=fake', FRAMES, f'{PROTOCOL}real=9'], 'wants 9 real clips; found 8'),
    'ignored samples': (
        ['--real=fake', '--fake=fake', '--protocol=paired', f'{PROTOCOL}frames=9', f'{EVALUATE}samples=2'],
        'config.evaluate.samples=2: the protocol takes 6',
    ),
    'ignored real': (
        ['--real=real', '--fake=fake', FRAMES, f'{PROTOCOL}real=7', f'{EVALUATE}real=3'],
        'config.evaluate.real=3: the protocol takes 7',
    ),
    'sampler': (['--real=real', '--fake=fake', f'{EVALUATE}sampler=ddim'], 'evaluate.sampler: is of samples of a run'),
    'guidance key': (['--real=real', '--fake=fake', f'{EVALUATE}guidance.scale=2'], 'evaluate.guidance: is of'),
    'train': (['--real=real', '--fake=fake', f'{EVALUATE}train=9'], 'evaluate.train: is of samples of a run'),
    'columns': (['--real=real', '--fake=columns', FRAMES], 'Fortran order); save numpy.ascontiguousarray of it'),
    'one fake': (
        ['--real=real', '--fake=one', FRAMES],
        'distances=frechet: wants 2 samples or more, for a covariance; found 1',
    ),
    'one real': (
        ['--real=one', '--fake=fake', FRAMES],
        'distances=frechet: wants 2 real clips or more, for',
    ),
    'short': (
        ['--real=real', '--fake=short', FRAMES],
        'video 0 of short.npy has 5 frames; want 9 or more',
    ),
    'nowhere': (['--real=real', '--fake=/nowhere', FRAMES], '--fake=/nowhere: is not there'),
    'empty': (['--real=empty', '--fake=fake', FRAMES], '--real=empty: holds no video'),
    'damaged': (['--real=real', '--fake=bad.mp4', FRAMES], 'bad.mp4: '),
    'floats': (['--real=real', '--fake=floats', FRAMES], 'holds float32 (6, 9, 6, 8, 3); want uint8'),
    'both kinds': (['--real=real', '--fake=f', FRAMES], '--fake=f holds features, --real=real does not'),
    'both other kinds': (['--real=f', '--fake=fake', FRAMES], '--real=f holds features, --fake=fake does not'),
    'widths': (['--real=f', '--fake=f6'], 'real features are 4 wide, fake ones 6'),
    'one row': (['--real=f', '--fake=f1'], 'distances=frechet: wants 2 samples or more, for a covariance; found 1'),
    'nan': (['--real=f', '--fake=nan'], 'row 0 has values that are not finite'),
    'kid': (['--real=f', '--fake=g', f'{PROTOCOL}distances=kid'], 'distances=kid: wants 1000 samples or more'),
    'classes': (
        ['--real=f', '--fake=g', f'{PROTOCOL}distances=inception_score'],
        'distances=inception_score: wants probabilities',
    ),
    'absent features': (['--real=f', '--fake=/nowhere.npy'], '--fake=/nowhere.npy: no such file'),
    'damaged features': (['--real=f', '--fake=cut'], '--fake=cut: is damaged'),
    'unnamed features': (['--real=two.npz', '--fake=f'], '--real=two.npz: has no array features; it has x, y'),
    'flat features': (['--real=f', '--fake=flat'], 'features has the shape (30,): want (N, D)'),
    'weights of features': (['--real=f', '--fake=g', f'{PROTOCOL}weights=W'], 'weights=W: features are computed'),
    'controls of features': (['--real=f', '--fake=g', f'{PROTOCOL}controls=false'], 'controls=False: features are'),
    'size of features': (['--real=f', '--fake=g', '--size=8'], '--size=8: features have no frames'),
    'protocol of features': (['--real=f', '--fake=g', '--protocol=temporal'], 'want feature_distance'),
    'published of features': (['--real=f', '--fake=g', '--protocol=kvd2048_16f'], 'want feature_distance'),
    'context of features': (['--real=f', '--fake=g', f'{PROTOCOL}context=2'], 'context=2: features are computed'),
    'videos of features': (['--real=f', '--fake=g', f'{PROTOCOL}videos=9'], 'videos=9: features are computed'),
    'number of features': (['--real=f', '--fake=g', f'{EVALUATE}samples=9'], 'samples=9: all rows of features count'),
    'other weights': (
        ['--real=real', '--fake=fake', FRAMES, f'{PROTOCOL}weights=/nowhere.pt'],
        'weights=/nowhere.pt: ',
    ),
    'misspelt weights': (
        ['--real=real', '--fake=fake', FRAMES, f'{PROTOCOL}weights=i3dd'],
        'weights=i3dd: no such file, and no name; `python -m vdm_jax weights` lists names',
    ),
    'other files': (
        ['--real=fake', '--fake=fake', '--size=12x16', '--protocol=paired', FRAMES, f'{PROTOCOL}lpips=./setup.cfg'],
        'lpips=./setup.cfg: setup.cfg: .cfg is not read',
    ),
    'absent weights': (['--real=real', '--fake=fake', FRAMES], 'weights=i3d: these weights are not here yet'),
    'own weights': (
        ['--real=real', '--fake=fake', FRAMES, f'{PROTOCOL}features=inception'],
        'weights=inception_fid: is in no registry; take https://',
    ),
    'c3d': (
        ['--real=real', '--fake=fake', FRAMES, f'{PROTOCOL}features=c3d'],
        'weights=c3d: is in no registry; take https://',
    ),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_a_mistake_is_one_line(tmp_path, capsys, clips, name):
    argv, message = MISTAKES[name]
    sets = ('real', 'fake', 'one', 'wide', 'short', 'floats', 'f', 'g', 'f6', 'f1', 'nan', 'flat', 'columns', 'cut')
    sets += ('empty', 'bad.mp4', 'two.npz')

    def resolve(text):
        option, _, value = text.partition('=')
        return f'{option}={clips(value)}' if option in ('--real', '--fake') and value in sets else text

    code, out, err = evaluate(tmp_path, capsys, *map(resolve, argv))
    assert code == 2 and out == '' and err.count('\n') == 1, (out, err)
    for each in sets:
        err = err.replace(f'={clips(each)}', f'={each}')
    assert message in err
    assert not (tmp_path / 'out').exists() or not os.listdir(tmp_path / 'out')


def test_a_directory_that_takes_no_score_is_said_below_it(tmp_path, capsys, clips, small):
    (tmp_path / 'file').write_text('in the way')
    argv = (
        'evaluate',
        f'--real={clips("real")}',
        f'--fake={clips("fake")}',
        FRAMES,
        f'--out={tmp_path / "file" / "out"}',
    )
    code = cli.main(list(argv))
    captured = capsys.readouterr()
    assert code in (1, 2) and captured.err.count('\n') == 1
    assert '--out=' in captured.err


KILLED = """
import sys, time
import numpy as np
from tests.evals.feature_distance.small import open_small
from vdm_jax import cli
from vdm_jax.evals import partial
from vdm_jax.evals.feature_distance import protocol
from vdm_jax.experiment import feature_networks

feature_networks.open_weights = open_small
partial.SECONDS = 0
measure = protocol.FeatureJudge.measure
slow = sys.argv[1] == 'slow'

def wait(self, numbers, videos):
    print(int(numbers[0]), flush=True)
    if slow and numbers[0] >= 4:
        time.sleep(600)
    return measure(self, numbers, videos)

protocol.FeatureJudge.measure = wait
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_evaluation_goes_on(tmp_path, clips, number):
    argv = [
        'evaluate', f'--real={clips("real")}', f'--fake={clips("fake")}', FRAMES, '--batch-size=2',
        f'--out={tmp_path / "out"}',
    ]  # fmt: skip
    command = [sys.executable, '-c', KILLED]
    first = subprocess.Popen([*command, 'slow', *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen = []
    while not seen or seen[-1] != '4':
        seen.append(first.stdout.readline().strip())
        assert seen[-1], first.stderr.read()
    time.sleep(0.2)
    first.send_signal(number)
    _, errors = first.communicate(timeout=60)
    assert first.returncode != 0 and 'Traceback' not in errors
    again = subprocess.run([*command, 'fast', *argv], capture_output=True, text=True, check=True)
    assert again.stdout.splitlines()[0] == '4'
    score = runner.read(again.stdout.strip().splitlines()[-1])

    argv[-1] = f'--out={tmp_path / "fresh"}'
    fresh = subprocess.run([*command, 'fast', *argv], capture_output=True, text=True, check=True)
    assert runner.read(fresh.stdout.strip().splitlines()[-1]).to_json()['figures'] == score.to_json()['figures']
    assert [path.suffix for path in (tmp_path / 'out').iterdir()] == ['.json']


@pytest.mark.weights
@needs_clips
def test_a_distorted_video_is_as_far_as_the_guide_says(tmp_path, capsys, real_weights):
    pair = f'--real={CLIPS / "carphone.mp4"}', f'--fake={CLIPS / "carphone_distorted.mp4"}'
    weights = f'{PROTOCOL}weights={real_weights("i3d")}'
    code, out, err = evaluate(tmp_path, capsys, *pair, weights, f'{PROTOCOL}controls=False', f'{PROTOCOL}rounds=0')
    assert code == 0, err
    assert read_score(out).figures['samples']['frechet'] == pytest.approx(1436.98, rel=1e-3)
    assert '1436.97' in (ROOT / 'docs' / 'evaluation.md').read_text()
