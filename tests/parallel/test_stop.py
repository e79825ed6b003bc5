"""A signal sets a flag, and all processes agree on it; the real processes are in tests/train/test_processes.py."""

import os
import signal
import subprocess
import sys
import textwrap

import jax
import pytest

from vdm_jax.parallel import stop
from vdm_jax.parallel.mesh import MeshConfig, make_mesh


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_check_counts(number):
    before = signal.getsignal(number)
    with stop.catch_signals() as is_stopping:
        assert not is_stopping(7)
        os.kill(os.getpid(), number)
        assert is_stopping(8) and is_stopping(9)
    with stop.catch_signals() as is_stopping:
        os.kill(os.getpid(), number)
        assert is_stopping(7)
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_ends_at_once_and_the_first_announces_it():
    code = """
        import os, signal
        from vdm_jax.parallel import stop
        with stop.catch_signals() as is_stopping:
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
            print(is_stopping(1), flush=True)
            os.kill(os.getpid(), signal.SIGINT)
            print('still here')
    """
    ended = subprocess.run([sys.executable, '-c', textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (-signal.SIGINT, 'True\n')
    assert 'Ctrl-C once more' in ended.stderr


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_process_on_its_way_out_ends_with_its_own_code_whatever_comes(number):
    """L2: the code of a stop that is saved is 3, though the supervisor lost its patience."""
    code = f"""
        import atexit, os, signal, sys
        from vdm_jax.parallel import stop
        again = lambda: os.kill(os.getpid(), {int(number)})
        atexit.register(again)
        with stop.catch_signals() as is_stopping:
            again()
            stop.ignore_signals()
            again()
        again()
        sys.exit(3)
    """
    ended = subprocess.run([sys.executable, '-c', textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3, ended.stderr


def test_a_handler_that_c_code_had_installed_is_left_for_the_usual_one(monkeypatch):
    handlers = []

    def set_handler(number, handler):
        handlers.append((number, handler))  # and return None, as the previous handler is one of C code

    monkeypatch.setattr(stop.signal, 'signal', set_handler)
    with stop.catch_signals():
        pass
    assert handlers[2:] == [(signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.SIG_DFL)]


def test_several_agree_at_once_at_first_and_one_step_late_after_that():
    flags = iter([False, False, True, False])
    with jax.set_mesh(make_mesh(MeshConfig(data=4, fsdp=2))):
        agree = stop.Agreement(lambda: next(flags))
        assert [agree(step) for step in range(5, 9)] == [False, False, False, True]
        assert stop.Agreement(lambda: True)(5)


def test_the_flag_of_one_process_is_enough(monkeypatch):
    """Each device's element is its own process's flag."""
    mesh = make_mesh(MeshConfig())
    inner = jax.make_array_from_callback

    def one(shape, sharding, _):
        return inner(shape, sharding, lambda index: (jax.numpy.arange(mesh.size) == 5)[index])

    monkeypatch.setattr(jax, 'make_array_from_callback', one)
    flag = stop.any_process(False, mesh)
    assert bool(flag) and flag.shape == () and flag.sharding.is_fully_replicated
