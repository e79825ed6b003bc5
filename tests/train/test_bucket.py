"""Run directories in gs://, in a bucket of a local server: complete, copied, cut short, damaged, refused or down."""

import dataclasses
import itertools
from urllib.parse import unquote

import jax
import numpy as np
import pytest

from tests import bucket as buckets
from tests.marks import rest_slow
from tests.train.small_run import SMALL
from vdm_jax import cli
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.train import resume
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.fingerprint import fingerprint
from vdm_jax.train.remote_files import StagedDirectory
from vdm_jax.train.workdir import write_run_files

MARK = 'commit_success.txt'
NUMBERS = itertools.count()


@pytest.fixture(scope='module')
def run():
    return Run(read_experiment('experiments/bouncing_balls.py', SMALL), jax.devices()[:1])


@pytest.fixture(scope='module')
def state(run):
    """Numbers that nothing has to be compiled for."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        return jax.device_put(rng.integers(0, 99, leaf.shape).astype(leaf.dtype), leaf.sharding)

    return jax.tree.map(draw, run.programs.abstract_state)


@pytest.fixture(scope='module')
def bucket():
    with buckets.serve() as bucket:
        yield bucket


@pytest.fixture(scope='module')
def written(run, state, bucket, tmp_path_factory):
    """The objects of a run directory with steps 2 and 4, the files of the same written locally, and the parameters."""
    local = tmp_path_factory.mktemp('local')
    for place in ('gs://bucket/written', local):
        write_run_files(place, run.resolved)
        with Checkpoints(f'{place}/checkpoints', writes=True) as checkpoints:
            checkpoints.save(4, dataclasses.replace(state, step=state.step * 0 + 4), resume.describe_position(run, 4))
    objects = {name.removeprefix('written/'): bucket[name] for name in bucket.below('written')}
    files = {str(path.relative_to(local)): path.read_bytes() for path in local.rglob('*') if path.is_file()}
    return with_step_2(objects), with_step_2(files), fingerprint(state.params)


def with_step_2(files):
    """Step 4 once more, under the number of an earlier one."""
    return files | {name.replace('checkpoints/4/', 'checkpoints/2/'): content for name, content in files.items()}


@pytest.fixture
def put(bucket):
    """Puts files into a folder of the bucket that nobody has seen before; returns its name."""
    bucket.fault = lambda method, path: None

    def put(files: dict[str, bytes]) -> str:
        folder = f'run{next(NUMBERS)}'
        for name, content in files.items():
            bucket[f'{folder}/{name}'] = content
        return folder

    yield put
    bucket.fault = lambda method, path: None


def open_checkpoints(folder, writes=True):
    return Checkpoints(f'gs://bucket/{folder}/checkpoints', writes=writes)


def largest(bucket, folder, step):
    """The object that has an array's bytes."""
    return max(bucket.below(f'{folder}/checkpoints/{step}'), key=lambda name: len(bucket[name]))


def begin(run, folder):
    """(sha256 of the parameters, step) that training in a folder begins with."""
    with jax.set_mesh(run.mesh), open_checkpoints(folder) as checkpoints:
        state, position = checkpoints.restore(run.programs.abstract_state)
    assert position == resume.describe_position(run, int(state.step))
    return fingerprint(state.params), int(state.step)


def test_a_run_in_a_bucket_has_the_files_of_one_on_a_disk_and_is_intact(written, put):
    objects, files, _ = written

    def select_names(names):
        return {name for name in names if '/d/' not in name}  # the others are called by random numbers

    assert select_names(objects) == select_names(files)
    with open_checkpoints(put(objects), writes=False) as looking:
        assert looking.steps() == [2, 4] and {looking.integrity(step).verdict for step in (2, 4)} == {'intact'}


def test_a_damaged_object_is_noticed_set_aside_and_the_step_before_it_taken(bucket, written, put, capsys):
    folder = put(written[0])
    name = largest(bucket, folder, 4)
    content = bytearray(bucket[name])
    content[len(content) // 2] ^= 1
    bucket[name] = bytes(content)
    with open_checkpoints(folder) as checkpoints:
        assert checkpoints.latest() == 2
        assert f'{folder}/checkpoints/4 is damaged: ' in capsys.readouterr().err
    assert bucket.below(f'{folder}/checkpoints/4.damaged')
    with open_checkpoints(folder) as checkpoints:
        assert checkpoints.steps() == [2] and checkpoints.latest() == 2
    assert bucket.below(f'{folder}/checkpoints/4.damaged')  # it outlasts the next start


def without_marks(files):
    """Like a copy from an Orbax version that marked complete directories on disks by their names only."""
    return {name: content for name, content in files.items() if not name.endswith(MARK)}


@pytest.mark.parametrize('copied', rest_slow([without_marks, dict], first=1))
@pytest.mark.parametrize('writes', rest_slow([True, False], first=1), ids=['gone on with', 'looked at'])
def test_a_run_that_was_copied_into_a_bucket_resumes(copied, writes, run, bucket, written, put):
    files = copied(written[1])
    params = written[2]
    folder = put(files)
    if writes:
        assert begin(run, folder) == (params, 4)
    with jax.set_mesh(run.mesh), open_checkpoints(folder, writes=False) as looking:
        assert looking.steps() == [2, 4] and looking.latest() == 4
        assert fingerprint(looking.restore(run.programs.abstract_state)[0].params) == params
    assert {f'{folder}/{name}' for name in files} <= set(bucket)


@pytest.mark.slow
def test_a_read_only_copy_is_named(run, bucket, written, put):
    folder = put(without_marks(written[1]))
    bucket.fault = lambda method, path: None if method == 'GET' else 403
    with open_checkpoints(folder, writes=False) as looking:
        with pytest.raises(UserError, match='no checkpoint can be used, such as .*its marker cannot be written'):
            looking.latest()


@pytest.mark.parametrize('copied', rest_slow([without_marks, dict], first=1))
def test_a_copy_that_was_not_finished_is_named_and_not_removed(copied, run, bucket, written, put, capsys):
    folder = put(copied(written[1]))
    del bucket[largest(bucket, folder, 4)]
    there = {bucket[name] for name in bucket.below(f'{folder}/checkpoints/4')}
    with open_checkpoints(folder) as checkpoints:
        assert checkpoints.latest() == 2
    assert 'checkpoints/4' in (stderr := capsys.readouterr().err) and 'is missing' in stderr
    assert there <= {bucket[name] for name in bucket.below(f'{folder}/checkpoints/4.damaged')}
    with open_checkpoints(folder) as checkpoints:
        assert checkpoints.latest() == 2
    assert there <= {bucket[name] for name in bucket.below(f'{folder}/checkpoints/4.damaged')}
    del bucket[largest(bucket, folder, 2)]
    there = set(bucket.below(folder))
    with (
        open_checkpoints(folder) as checkpoints,
        pytest.raises(UserError, match='such as .*is missing; bring one back'),
    ):
        checkpoints.latest()
    assert there <= set(bucket)


@pytest.mark.parametrize('moment', rest_slow(['first objects', 'all but the mark', 'the mark, no manifest'], first=1))
def test_a_step_cut_short_by_a_kill_is_not_restored(moment, run, state, bucket, written, put, capsys):
    folder = put(written[0])
    step = bucket.below(f'{folder}/checkpoints/4')
    removed = [name for name in step if '/manifest_' in name]
    if 'no manifest' not in moment:
        removed.append(f'{folder}/checkpoints/4/{MARK}')
    if moment == 'first objects':
        removed += [name for name in step if 'ema' in name or 'opt_state' in name]
    for name in set(removed):
        del bucket[name]
    latest_step = 4 if 'no manifest' in moment else 2
    with open_checkpoints(folder) as checkpoints:
        assert checkpoints.latest() == latest_step
        assert ('checkpoint 4 is unverified' in capsys.readouterr().err) == (latest_step == 4)
        checkpoints.save(4, state, resume.describe_position(run, 4))
    with open_checkpoints(folder, writes=False) as looking:
        assert looking.integrity(4).verdict == ('unverified' if latest_step == 4 else 'intact')


def down(parts, status, times=1):
    """A fault: the first `times` requests that change an object with one of these parts in its name are refused."""
    left = dict.fromkeys(parts, times)

    def fault(method, path):
        part = next((part for part in parts if part in unquote(path)), None)
        if method == 'GET' or not left.get(part):
            return None
        left[part] -= 1
        return status

    return fault, left


MOMENTS = {
    'arrays and metrics': (['ema/ocdbt.process_0/d/', 'metrics.jsonl'], 503),
    'every kind': (['/d/', '_METADATA', 'manifest.ocdbt', MARK, 'manifest_0', 'config.json', 'metrics.jsonl'], 500),
    'too many requests': (['/d/', MARK, 'manifest_0', 'metrics.jsonl'], 429),
}


@pytest.mark.parametrize('moment', rest_slow(MOMENTS, first=0))
def test_a_store_that_is_down_for_a_moment_loses_nothing(moment, run, state, bucket, put):
    parts, status = MOMENTS[moment]
    folder = put({})
    bucket.fault, left = down(parts, status, times=1 if moment == 'arrays and metrics' else 3)
    write_run_files(f'gs://bucket/{folder}', run.resolved)
    with open_checkpoints(folder) as checkpoints:
        checkpoints.save(4, state, resume.describe_position(run, 4))
        checkpoints.wait()
    mirror = StagedDirectory(f'gs://bucket/{folder}')
    (mirror.local / 'metrics.jsonl').write_text('{"step": 4}\n')
    mirror.close()
    assert not any(left.values())
    bucket.fault = lambda method, path: None
    assert bucket[f'{folder}/metrics.jsonl'] == b'{"step": 4}\n'
    with jax.set_mesh(run.mesh), open_checkpoints(folder, writes=False) as looking:
        assert looking.integrity(4).verdict == 'intact'
        assert fingerprint(looking.restore(run.programs.abstract_state)[0].params) == fingerprint(state.params)


COMMANDS = {
    'train': ['train', '--config=bouncing_balls', '--workdir=gs://{}/new'],
    'sample': ['sample', '--workdir=gs://{}/new'],
    'evaluate': ['evaluate', '--workdir=gs://{}/new'],
    'inspect': ['inspect', '--workdir=gs://{}/new'],
    'export': ['export', '--workdir=W', '--out=gs://{}/new/weights.safetensors'],
}


@pytest.mark.parametrize('name', COMMANDS)
@pytest.mark.parametrize('status', [None, 401, 403])
def test_a_wrong_bucket_and_refused_access_are_one_line(name, status, bucket, put, capsys):
    bucket.fault = lambda method, path: status
    there = set(bucket)
    argv = [word.format('bucket' if status else 'no-such-bucket') for word in COMMANDS[name]]
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == '' and captured.err.count('\n') == 1, captured
    why = 'the store refuses' if status else 'no run there' if name == 'inspect' else 'no such bucket'
    assert why in captured.err and 'gs://' in captured.err
    assert set(bucket) == there


def test_what_may_be_read_and_not_written_is_one_line(bucket, put, capsys):
    bucket.fault = lambda method, path: None if method == 'GET' else 403
    assert cli.main(['train', '--config=bouncing_balls', '--workdir=gs://bucket/new']) == 2
    assert 'the store refuses (Forbidden' in (stderr := capsys.readouterr().err) and stderr.count('\n') == 1


def test_a_bucket_without_a_path_is_no_file(bucket, put, capsys):
    assert cli.main(['export', '--workdir=W', '--out=gs://bucket']) == 2
    assert '--out=gs://bucket: names no file' in capsys.readouterr().err


def test_the_server_keeps_conditions_and_pages_as_the_real_one_does(bucket, put, tmp_path):
    """What checkpoints rest on: a manifest that is replaced only where it is the one that was read."""
    import tensorstore
    from etils import epath

    folder = put({f'many/{number:03d}': b'x' for number in range(2 * buckets.PAGE + 1)})
    assert len(list(epath.Path(f'gs://bucket/{folder}/many').iterdir())) == 2 * buckets.PAGE + 1
    store = tensorstore.KvStore.open({'driver': 'gcs', 'bucket': 'bucket', 'path': f'{folder}/'}).result()
    first = store.write('one', b'1').result()
    store.write('one', b'2').result()
    late = store.write('one', b'3', if_equal=first.generation).result()
    assert late.generation != first.generation and store['one'] == b'2'
    assert len(store.list(tensorstore.KvStore.KeyRange('many/01', 'many/02')).result()) == 10
