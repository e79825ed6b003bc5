"""House rules of every test: broadcasting between ranks must be written out; eight virtual CPU devices.

Most of a test's time is compilation, so programs are compiled with as little optimisation as XLA has, which halves it,
and are kept for the next run of the tests, which halves it again; those of the commands that tests start, too
(`one_device.py`). `make test-all` sets XLA_FLAGS itself and so tests what users run.
"""

import gc
import os
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault(
    'XLA_FLAGS',
    '--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 '
    '--xla_llvm_disable_expensive_passes=true'
    # A third less again, but later versions do not know the flag and would stop at it.
    + (' --xla_cpu_use_fusion_emitters=false' if version('jaxlib').startswith('0.10.') else ''),
)
# Threads of numpy wait for each other busily: where other work wants the cores too, one is several times as fast.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
# Beside what pytest keeps; `make clean` removes it. A program is looked up by itself, its flags and XLA's version.
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(Path(__file__).parents[1] / '.pytest_cache' / 'xla'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')  # they are small, and many

import jax
import pytest

from tests.real_weights import find as find_real_weights

# Tracing makes many objects that stay: to walk them after every 700 new ones takes an eighth of the suite's time.
gc.set_threshold(200_000, 50, 100)

jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture(scope='session')
def real_weights():
    """NAME -> path of published weights that were fetched; skips by name where they are not here."""
    return find_real_weights


@pytest.fixture(scope='session', autouse=True)
def indexes_of_their_own(tmp_path_factory):
    """Indexes of videos are made again in every run of the tests."""
    from vdm_jax.data.video import store

    place = str(tmp_path_factory.mktemp('indexes'))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, 'folder', lambda: place)
        yield


@pytest.fixture(scope='session', autouse=True)
def short_waits():
    """The stores of tests answer at once, and nobody removes a step beside them: waiting for either shows nothing."""
    from vdm_jax.train import lock, step_directories

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lock, 'SETTLE_SECONDS', 0.02)
        patched.setattr(step_directories, 'REMOVAL_SECONDS', 0.05)
        yield
