"""Experiment files and command lines -> frozen dataclasses, checked. It imports no other room.

What experiment files themselves import is here.
"""

from vdm_jax.config.experiment_file import ConfigDict, parse_arg

__all__ = ['ConfigDict', 'parse_arg']
