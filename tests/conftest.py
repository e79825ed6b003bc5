"""House rules of every test: broadcasting between ranks must be written out; eight virtual CPU devices."""

import os

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('XLA_FLAGS', '--xla_force_host_platform_device_count=8')

import jax

jax.config.update('jax_numpy_rank_promotion', 'raise')
