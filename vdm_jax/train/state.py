"""What a run carries from step to step, and how it is created, sharded from the start."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from vdm_jax.parallel.rules import Rules, shardings_for
from vdm_jax.prng import stream_key
from vdm_jax.train import ema
from vdm_jax.train.types import Averages, Params

MakeModel = Callable[[nnx.Rngs], nnx.Module]


@jax.tree_util.register_dataclass
@dataclass
class TrainState:
    """Arrays alone: everything else is derived from the config.

    Attributes:
      step: How many updates were made, () int32.
      params: The parameters.
      ema: Their averages, by decay.
      opt_state: State of the optimizer.
    """

    step: jax.Array
    params: Params
    ema: Averages
    opt_state: optax.OptState


def graphdef_of(make_model: MakeModel) -> nnx.GraphDef[nnx.Module]:
    """Return the static half of a model, without allocating anything."""

    def make() -> nnx.Module:
        return make_model(nnx.Rngs(0))

    # Any key will do: the static half holds no numbers.
    return nnx.graphdef(nnx.eval_shape(make))


def init_params(make_model: MakeModel, key: jax.Array) -> Params:
    """Return fresh parameters as a plain dict, drawn from `key`."""
    model = make_model(nnx.Rngs(params=key))
    params: Params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    return params


def init_state(
    make_model: MakeModel, optimizer: optax.GradientTransformation, ema_config: ema.EmaConfig, key: jax.Array
) -> TrainState:
    """Return step 0 of a run; pure, to be traced or jitted."""
    params = init_params(make_model, key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=ema.init(ema_config, params),
        opt_state=optimizer.init(params),
    )


def abstract_state(
    make_model: MakeModel,
    optimizer: optax.GradientTransformation,
    ema_config: ema.EmaConfig,
    mesh: jax.sharding.Mesh,
    rules: Rules,
) -> TrainState:
    """Return shapes, dtypes and shardings of the state, for restoring and compiling; nothing is allocated.

    rules: How the network's parameters are split, NetworkConfig.sharding_rules.
    """

    def init() -> TrainState:
        return init_state(make_model, optimizer, ema_config, jax.random.key(0))

    def abstract(leaf: jax.ShapeDtypeStruct, sharding: jax.sharding.NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    # The key is any one: shapes depend on no number.
    shapes = jax.eval_shape(init)
    state: TrainState = jax.tree.map(abstract, shapes, shardings_for(shapes, mesh, rules))
    return state


def create_state(
    make_model: MakeModel,
    optimizer: optax.GradientTransformation,
    ema_config: ema.EmaConfig,
    abstract: TrainState,
    seed: int,
) -> TrainState:
    """Return step 0 of a run, every leaf created on the devices where `abstract` (abstract_state) has it."""
    # Created under jit with these, no device ever holds more than its own part.
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)

    def init() -> TrainState:
        return init_state(make_model, optimizer, ema_config, stream_key(seed, 'parameters'))

    state: TrainState = jax.jit(init, out_shardings=shardings)()
    return state
