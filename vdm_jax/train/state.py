"""What a run carries from step to step, and how it is born sharded."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from vdm_jax.parallel.rules import shardings_for
from vdm_jax.streams import stream
from vdm_jax.train import ema


@jax.tree_util.register_dataclass
@dataclass
class TrainState:
    """Arrays only; everything else is derived from the config. `step` counts the updates made, int32."""

    step: jax.Array
    params: dict
    ema: dict
    opt_state: optax.OptState


def graphdef_of(make_model: Callable[[nnx.Rngs], nnx.Module]) -> nnx.GraphDef:
    """The static half of a model, without allocating anything."""
    return nnx.graphdef(nnx.eval_shape(lambda: make_model(nnx.Rngs(0))))


def init_params(make_model: Callable[[nnx.Rngs], nnx.Module], key) -> dict:
    """Fresh parameters as a plain dict, drawn from `key`."""
    return nnx.to_pure_dict(nnx.state(make_model(nnx.Rngs(params=key)), nnx.Param))


def init_state(make_model, optimizer: optax.GradientTransformation, ema_config: ema.EmaConfig, key) -> TrainState:
    """Step 0 of a run; pure, to be traced or jitted."""
    params = init_params(make_model, key)
    return TrainState(jnp.zeros((), jnp.int32), params, ema.start(ema_config, params), optimizer.init(params))


def abstract_state(make_model, optimizer, ema_config, mesh) -> TrainState:
    """Shapes, dtypes and shardings of the state, for restoring and for compiling; nothing is allocated."""
    shapes = jax.eval_shape(lambda: init_state(make_model, optimizer, ema_config, jax.random.key(0)))
    shardings = shardings_for(shapes, mesh)
    return jax.tree.map(lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s), shapes, shardings)


def create_state(make_model, optimizer, ema_config, mesh, seed: int) -> TrainState:
    """Step 0, every leaf born on the devices where it will live."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(make_model, optimizer, ema_config, mesh))

    def init():
        return init_state(make_model, optimizer, ema_config, stream(seed, 'parameters'))

    return jax.jit(init, out_shardings=shardings)()
