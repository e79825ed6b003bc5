"""vdm_jax: training, sampling and judging video diffusion transformers in JAX."""

__version__ = '0.1.0'
