"""The places where a run's numbers go: what each writes, and that none of them can stop, hang or falsify the run."""

import contextlib
import errno
import io
import json
import os
import resource
import shutil
import struct
import threading
import time

import pytest
from etils import epath

from tests import seeds
from tests.train.event_files import records
from tests.train.fake_store import FakeStore
from tests.train.faults import Faults
from tests.train.metrics_file import lines_in, strict
from vdm_jax.errors import UserError
from vdm_jax.parallel import processes
from vdm_jax.train.loggers import append_file, logger
from vdm_jax.train.loggers.json_lines import JsonLines, format_line, sort_lines
from vdm_jax.train.loggers.logger import GuardedLogger, Logger
from vdm_jax.train.metrics import LogConfig, Metrics
from vdm_jax.train.progress import Progress
from vdm_jax.train.workdir import check_workdir

FAULTS = (errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EDQUOT)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(logger, 'FIRST_PAUSE', 0.0)


def events_in(place):
    """Every event of the newest event file; each record has a correct checksum."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    file = max((place / 'tensorboard').iterdir(), key=lambda path: path.stat().st_mtime_ns)
    events = []
    data = file.read_bytes()
    for record in records(file):
        assert data.startswith(struct.pack('<QI', len(record), masked_crc32c(struct.pack('<Q', len(record)))))
        data = data[16 + len(record) :]
        events.append(Event.FromString(record))
    assert events[0].file_version == 'brain.Event:2'
    return events


def points_in(place):
    return [(event.step, value.simple_value) for event in events_in(place) for value in event.summary.value]


@pytest.fixture
def faults(monkeypatch, tmp_path):
    return Faults(monkeypatch, tmp_path)


@pytest.mark.parametrize('number', FAULTS, ids=errno.errorcode.get)
def test_a_disk_that_fails_for_a_while_costs_two_lines_and_no_entry(number, faults, tmp_path):
    messages = []
    metrics = Metrics(tmp_path, 0, say=messages.append)
    for step in range(1, 31):
        faults.number = number if 5 <= step < 20 else None
        metrics.scalars(step, {'loss': step / 64})
        if step % 4 == 0:
            metrics.flush()
    metrics.close()
    assert [line['step'] for line in lines_in(tmp_path)] == list(range(1, 31))
    assert points_in(tmp_path) == [(step, step / 64) for step in range(1, 31)]
    assert len(messages) == 4 and all(os.strerror(number) in line for line in messages[:2]), messages
    assert all('nothing is lost' in line for line in messages[2:])


def test_a_disk_that_is_full_from_the_start_to_the_end_ends_nothing(faults, tmp_path):
    messages = []
    faults.number = errno.ENOSPC
    metrics = Metrics(tmp_path, 0, say=messages.append)
    for step in range(1, 5):
        metrics.scalars(step, {'loss': 1.0})
        metrics.clip(step, 'samples', b'GIF', (1, 1))
        metrics.flush()
    metrics.close()
    assert [line for line in messages if 'entries could not be written' in line] == [
        'metrics.jsonl: 4 entries could not be written',
        'TensorBoard: 8 entries could not be written',
    ]
    assert len(messages) == 4, messages


def test_the_kernel_s_own_limit_tears_no_line(tmp_path):
    """What does not fit is written in part by the kernel itself; then the limit goes."""
    metrics = Metrics(tmp_path, 0, LogConfig(tensorboard=False), say=lambda line: None)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150, before[1]))
        for step in range(1, 10):
            metrics.scalars(step, {'loss': 0.125})
        assert 100 < (tmp_path / 'metrics.jsonl').stat().st_size <= 150
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    metrics.close()
    assert [line['step'] for line in lines_in(tmp_path)] == list(range(1, 10))


@pytest.mark.parametrize('what', ['tensorboard', 'metrics.jsonl', 'both replaced', 'cut'])
def test_files_that_are_deleted_under_a_run_are_created_again(what, tmp_path):
    metrics = Metrics(tmp_path, 0, say=lambda line: None)
    metrics.scalars(1, {'loss': 0.5})
    metrics.flush()
    if what == 'cut':
        for file in (tmp_path / 'metrics.jsonl', *(tmp_path / 'tensorboard').iterdir()):
            os.truncate(file, 0)
    elif what == 'metrics.jsonl':
        (tmp_path / what).unlink()
    else:
        shutil.rmtree(tmp_path / 'tensorboard')
    if what == 'both replaced':
        (tmp_path / 'other').write_text('{"step": 7}\n')
        os.replace(tmp_path / 'other', tmp_path / 'metrics.jsonl')
        (tmp_path / 'tensorboard').write_text('no folder')
    metrics.scalars(2, {'loss': 0.25})
    if what == 'both replaced':
        (tmp_path / 'tensorboard').unlink()
    metrics.scalars(3, {'loss': 0.25})
    metrics.close()
    steps = {'tensorboard': [1, 2, 3], 'both replaced': [7, 2, 3]}.get(what, [2, 3])
    assert [line['step'] for line in lines_in(tmp_path)] == steps
    assert [step for step, _ in points_in(tmp_path)] == ([1, 2, 3] if what == 'metrics.jsonl' else [2, 3])


def test_a_run_directory_that_is_gone_is_not_made_again(tmp_path):
    messages = []
    place = tmp_path / 'run'
    metrics = Metrics(place, 0, say=messages.append)
    shutil.rmtree(place)
    metrics.scalars(1, {'loss': 0.5})
    metrics.close()
    assert not place.exists() and 'No such file' in messages[0]


def test_entries_that_a_disk_loses_after_writing_are_written_again(monkeypatch, tmp_path):
    """A network disk reports only at a sync that it is full; what was written since the last one is lost."""
    file = append_file.AppendFile(tmp_path / 'lines')
    file.append(b'1\n')
    file.sync()
    file.append(b'2\n'), file.append(b'3\n')
    real = os.fsync

    def lose(descriptor):
        os.ftruncate(descriptor, 3)
        raise OSError(errno.EDQUOT, 'Disk quota exceeded')

    monkeypatch.setattr(append_file.os, 'fsync', lose)
    with pytest.raises(OSError, match='quota'):
        file.sync()
    monkeypatch.setattr(append_file.os, 'fsync', real)
    file.append(b'4\n')
    assert (tmp_path / 'lines').read_bytes() == b'1\n2\n3\n4\n'
    os.truncate(tmp_path / 'lines', 4)  # lost in silence
    file.append(b'5\n')
    assert (tmp_path / 'lines').read_bytes() == b'1\n2\n3\n4\n5\n'


class Recorder(Logger):
    """Keeps what it is called with, or raises `error`."""

    def __init__(self):
        self.steps = []
        self.error = None

    def scalars(self, step, values):
        if self.error:
            raise self.error
        self.steps.append(step)


def test_the_queue_is_bounded_and_lost_entries_are_counted():
    messages = []
    inner = Recorder()
    guarded = GuardedLogger(inner, 'it', messages.append, room=1000)
    inner.error = OSError(errno.EIO, 'Input/output error')
    for step in range(100):
        guarded.scalars(step, {'loss': 0.5})
    inner.error = None
    guarded.flush()
    lost = 100 - len(inner.steps)
    assert inner.steps == list(range(lost, 100)) and 80 < lost < 100
    assert messages[1] == f'it: works again, {lost} entries are lost'


def test_an_entry_that_cannot_be_written_does_not_block_the_others():
    messages = []
    inner = Recorder()
    guarded = GuardedLogger(inner, 'it', messages.append)
    inner.error = TypeError('a set is no JSON')
    guarded.scalars(1, {})
    inner.error = None
    guarded.scalars(2, {})
    assert inner.steps == [2] and 'TypeError: a set is no JSON' in messages[0] and '1 entries are lost' in messages[1]


def test_a_disk_that_fails_slowly_is_not_retried_at_every_step(monkeypatch):
    monkeypatch.setattr(logger, 'FIRST_PAUSE', 3600.0)
    calls = []

    class Slow(Logger):
        def scalars(self, step, values):
            calls.append(step)
            raise OSError('timed out')

    guarded = GuardedLogger(Slow(), 'it', lambda line: None)
    for step in range(100):
        guarded.scalars(step, {})
    assert calls == [0]
    guarded.flush()
    assert calls == [0, 0]


@pytest.mark.parametrize('what', ['scalars', 'flush'])
@pytest.mark.parametrize('seconds', [2.0, 33.0, 400.0])
def test_a_store_that_fails_slowly_takes_a_fifth_of_a_run_at_most(what, seconds, monkeypatch):
    clock = 0.0
    monkeypatch.setattr(logger.time, 'monotonic', lambda: clock)

    class Refused(Logger):
        calls = 0

        def refuse(self, *arguments):
            nonlocal clock
            clock += seconds
            self.calls += 1
            raise OSError('503 Service Unavailable')

    inner = Refused()
    setattr(inner, what, inner.refuse)
    guarded = GuardedLogger(inner, 'it', lambda line: None)
    while clock < 100 * seconds:
        clock += 0.5
        guarded.scalars(0, {})
        guarded.flush()
    assert 0.15 < inner.calls * seconds / clock < 0.22

    # The last attempt waits for nothing.
    before = inner.calls
    guarded.close()
    assert inner.calls == before + 1


@pytest.mark.parametrize(
    'error, expected',
    [
        (OSError(errno.ENOSPC, 'No space left on device', '/a'), 'No space left on device (/a)'),
        (OSError('timed out'), 'timed out'),
        (OSError(), 'OSError'),
        (RuntimeError(), 'RuntimeError'),
        (RuntimeError('\n 502 Bad Gateway\n<html>'), 'RuntimeError: 502 Bad Gateway'),
    ],
)
def test_an_error_is_one_line_that_says_something(error, expected):
    assert logger.describe_error(error) == expected


def test_loggers_start_no_thread_that_blocks_the_end_of_a_process(tmp_path):
    before = set(threading.enumerate())
    metrics = Metrics(tmp_path, 0)
    metrics.scalars(1, {'loss': 0.5})
    assert set(threading.enumerate()) == before
    metrics.close()


@pytest.mark.parametrize('error', [BrokenPipeError(), OSError(errno.ENOSPC, 'full'), ValueError('closed file')])
def test_a_console_that_cannot_be_written_stops_nothing(error, monkeypatch):
    class Console(io.StringIO):
        def write(self, text):
            raise error

    Progress(10, 0, 1, Console()).say('words')
    monkeypatch.setattr('sys.stderr', Console())
    processes.print_on_primary('words')


def test_a_store_that_fails_for_a_while_gets_everything_later(monkeypatch):
    place = epath.Path('fake://bucket/metrics')
    messages = []
    real = FakeStore.write_bytes

    def refuse(path, data):
        raise RuntimeError('503 Service Unavailable')  # clients of stores have errors of their own

    metrics = Metrics(place, 0, say=messages.append)
    monkeypatch.setattr(FakeStore, 'write_bytes', refuse)
    for step in (1, 2):
        metrics.scalars(step, {'loss': 0.5})
        metrics.flush()
    assert len(messages) == 2 and '503' in messages[0]
    monkeypatch.setattr(FakeStore, 'write_bytes', real)
    metrics.scalars(3, {'loss': 0.5})
    metrics.flush()
    assert [line['step'] for line in lines_in(place)] == [1, 2, 3] and len(messages) == 4
    monkeypatch.setattr(FakeStore, 'write_bytes', refuse)
    metrics.scalars(4, {'loss': 0.5})
    metrics.close()
    (where,) = [line.split(' stays in ')[1] for line in messages if line.startswith('metrics') and ' stays in ' in line]
    assert [line['step'] for line in lines_in(epath.Path(where))] == [1, 2, 3, 4]


def test_a_store_that_cannot_be_read_at_the_start_is_not_overwritten(monkeypatch):
    place = epath.Path('fake://bucket/early')
    messages = []
    (place / 'metrics.jsonl').write_bytes(format_line(1, {'loss': 0.5}) + format_line(9, {'loss': 0.5}))
    real = FakeStore.read_bytes

    def refuse(path):
        raise RuntimeError('503 Service Unavailable')

    monkeypatch.setattr(FakeStore, 'read_bytes', refuse)
    metrics = Metrics(place, 4, LogConfig(tensorboard=False), say=messages.append)
    metrics.scalars(5, {'loss': 0.25})
    metrics.flush()
    monkeypatch.setattr(FakeStore, 'read_bytes', real)
    assert [line['step'] for line in lines_in(place)] == [1, 9]
    metrics.close()
    assert [line['step'] for line in lines_in(place)] == [1, 5] and len(messages) == 2


def test_metrics_are_strict_json_and_name_nonfinite_numbers():
    values = {
        'loss': float('nan'), 'norms': [1.0, float('-inf')], 'deep': {'a': float('inf')}, 'count': 3,
        'data/broken': ['caf\udce9.mp4'],
    }  # fmt: skip
    line = format_line(4, values)
    assert strict(line.decode()) == {
        'step': 4, 'loss': None, 'norms': [1.0, None], 'deep': {'a': None}, 'count': 3,
        'data/broken': ['caf\\udce9.mp4'], 'not_finite': {'loss': 'nan', 'norms.1': '-inf', 'deep.a': 'inf'},
    }  # fmt: skip
    assert 'not_finite' not in strict(format_line(5, {'loss': 0.5}))


def test_tensorboard_takes_nonfinite_numbers_without_warnings(tmp_path, caplog, capsys):
    metrics = Metrics(tmp_path, 0)
    metrics.scalars(1, {'loss': float('nan'), 'norm': float('inf'), 'name': ['a']})
    metrics.close()
    assert str(points_in(tmp_path)) == '[(1, nan), (1, inf)]'
    assert not caplog.records and capsys.readouterr() == ('', '')


def test_a_resumed_run_hides_the_curves_that_are_drawn_again(tmp_path):
    metrics = Metrics(tmp_path, 7)
    metrics.scalars(8, {'loss': 0.5})
    metrics.close()
    assert [(event.step, event.session_log.status) for event in events_in(tmp_path)[1:]] == [(8, 1), (8, 0)]


BROKEN = {
    'nothing but zeros': b'\0' * 40,
    'torn': b'{"step": 2, "lo',
    'without a step': b'{"loss": 0.5}',
    'a list': b'[2]',
    'a number': b'2',
    'not UTF-8': b'{"step": 2, "name": "caf\xe9"}',
    'another encoding': '{"step": 2}'.encode('utf-16'),
    'a step below 0': b'{"step": -2}',
    'a step of text': b'{"step": "2"}',
    'a step that is none': b'{"step": true}',
    'a step and a half': b'{"step": 2.5}',
    'nested too deep': b'{"step":' + b'[' * 100_000 + b']' * 100_000 + b'}',
    'a number of thousands of digits': b'{"step": ' + b'9' * 10_000 + b'}',
}


@pytest.mark.parametrize('place', ['in the middle', 'at the end'])
@pytest.mark.parametrize('line', BROKEN.values(), ids=BROKEN)
def test_a_broken_line_is_left_aside_and_the_rest_stays(line, place, tmp_path):
    good = [format_line(step, {'loss': step / 4}) for step in (1, 2, 3, 4)]
    messages = []
    content = good[0] + line + b'\n' + good[1] if place == 'in the middle' else good[0] + good[1]
    content += good[2] + good[3] + (line if place == 'at the end' else b'')
    (tmp_path / 'metrics.jsonl').write_bytes(content)
    JsonLines(tmp_path, 3, messages.append).flush()
    assert (tmp_path / 'metrics.jsonl').read_bytes() == b''.join(good[:3])
    assert (tmp_path / 'metrics.jsonl.broken').read_bytes() == line + b'\n'
    assert len(messages) == 1 and 'metrics.jsonl.broken' in messages[0]


def test_a_last_line_that_only_lacks_its_end_stays(tmp_path):
    (tmp_path / 'metrics.jsonl').write_bytes(b'{"step": 1, "loss": NaN}\n{"step": 2}')  # and one of an older version
    lines = JsonLines(tmp_path, 2, None)
    lines.scalars(3, {'loss': 0.5})
    assert [json.loads(line)['step'] for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()] == [1, 2, 3]


def test_a_file_that_needs_nothing_is_not_written_anew(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    path.write_bytes(format_line(1, {}) + format_line(2, {}))
    before = path.stat()
    JsonLines(tmp_path, 2, None).flush()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize('failing', ['metrics.jsonl.broken', 'metrics.jsonl'])
def test_a_disk_that_is_full_at_a_resume_leaves_the_old_file_until_the_new_one_is_written(
    failing, monkeypatch, tmp_path
):
    from vdm_jax import files
    from vdm_jax.train.loggers import json_lines

    content = format_line(1, {}) + b'\0\0\n' + format_line(2, {}) + format_line(3, {})
    (tmp_path / 'metrics.jsonl').write_bytes(content)

    def full(path, content):
        if os.path.basename(path) == failing:
            raise OSError(errno.ENOSPC, 'No space left on device')
        files.write_atomically(path, content)

    monkeypatch.setattr(json_lines, 'write_atomically', full)
    metrics = Metrics(tmp_path, 2, LogConfig(tensorboard=False), say=lambda line: None)
    metrics.scalars(3, {'loss': 0.5})
    assert (tmp_path / 'metrics.jsonl').read_bytes() == content
    monkeypatch.setattr(json_lines, 'write_atomically', files.write_atomically)
    metrics.scalars(4, {'loss': 0.5})
    metrics.close()
    assert [line['step'] for line in lines_in(tmp_path)] == [1, 2, 3, 4]
    assert (tmp_path / 'metrics.jsonl.broken').read_bytes() == b'\0\0\n'


def test_lines_of_any_bytes_are_sorted_without_a_word():
    noise = seeds.generator().bytes(20_000)
    lines, broken = sort_lines(noise, 3)
    assert len(lines) + len(broken) >= len(noise) - noise.count(b'\n') - 40


def test_something_else_by_the_name_of_the_metrics_is_refused(tmp_path):
    (tmp_path / 'metrics.jsonl').mkdir()
    with pytest.raises(UserError, match='metrics.jsonl: is not a regular file'):
        check_workdir(tmp_path, {})


def test_writing_a_line_costs_little(tmp_path):
    metrics = Metrics(tmp_path, 0)
    values = {f'value_{i}': i / 7 for i in range(20)}
    began = time.monotonic()
    for step in range(100):
        metrics.scalars(step, values)
    assert time.monotonic() - began < 2.0  # 0.1 s on a quiet core
    with contextlib.suppress(OSError):
        metrics.close()
