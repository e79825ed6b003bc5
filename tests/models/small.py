"""A small network of plain noise, and clips for it."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vdm_jax.models.dit import VideoDiT, VideoDiTConfig
from vdm_jax.models.layouts import LAYOUTS
from vdm_jax.train.state import graphdef_of, init_params

SMALL = VideoDiTConfig(
    width=32, depth=2, heads=2, patch=2, channels=3, classes=5, grid=(8, 6, 6), windows=('1x4x4', '3x2x2')
)
T = jnp.array([10.0, 700.0])
LABEL = {'label': jnp.array([1, 5])}
FIRST = {'label': jnp.array([1])}


def in_layout(layout, units=None, **changes):
    """SMALL in a layout: its blocks so many times, or as often as makes two or more."""
    config = dataclasses.replace(SMALL, **changes)
    blocks = len(LAYOUTS[layout].block_specs(config))
    units = units or math.ceil(2 / blocks)
    return dataclasses.replace(config, layout=layout, depth=units * blocks)


def network(config):
    """The jitted network and parameters of plain noise.

    Not its own initialisation: there gates and head are zero, and everything would look right.
    """

    def make(rngs):
        return VideoDiT(config, rngs=rngs)

    graphdef = graphdef_of(make)
    shapes = jax.eval_shape(lambda: init_params(make, jax.random.key(0)))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.15, leaf.shape), jnp.float32), shapes)
    return jax.jit(lambda params, *inputs: nnx.merge(graphdef, params)(*inputs), static_argnums=4), params


def video(frames=4, side=8, batch=2, seed=2):
    return jax.random.normal(jax.random.key(seed), (batch, frames, side, side, 3))
