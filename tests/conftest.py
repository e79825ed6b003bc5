"""House rules of every test: broadcasting between ranks must be written out; eight virtual CPU devices.

Most of a test's time is compilation, so programs are compiled with as little optimisation as XLA has, which halves it.
`make test-all` sets XLA_FLAGS itself and so tests what users run, as do the tests that start a command of their own.
"""

import os

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault(
    'XLA_FLAGS',
    '--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 '
    '--xla_llvm_disable_expensive_passes=true',
)

import jax

jax.config.update('jax_numpy_rank_promotion', 'raise')
