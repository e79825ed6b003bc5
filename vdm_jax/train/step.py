"""One training step: where data, model and diffusion meet."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from vdm_jax.diffusion.loss import loss_per_example
from vdm_jax.diffusion.objective import Objective
from vdm_jax.diffusion.prediction import target
from vdm_jax.train import ema
from vdm_jax.train.state import TrainState


def example_keys(key, step, batch: int):
    """One key an example, fold_in(fold_in(key, step), global row): noise does not depend on hosts or meshes; (B,)."""
    step_key = jax.random.fold_in(key, step)
    return jax.vmap(lambda row: jax.random.fold_in(step_key, row))(jnp.arange(batch))


def losses(network: Callable, objective: Objective, params, x0, label_B, classes: int, keys):
    """The weighted squared error of each example.

    Args:
      network: (params, x_t, t in the process's model time, label) -> prediction.
      x0: clean latents (B, T, H, W, C) float32.
      label_B: classes as int32; `classes` is "no label".
      keys: one a row, (B,).

    Returns:
      loss_B and the times t_B in (0, 1] it was taken at.
    """
    process = objective.process

    def draw(key, label):
        t_key, noise_key, drop_key = jax.random.split(key, 3)
        dropped = jax.random.uniform(drop_key) < objective.label_dropout
        noise = jax.random.normal(noise_key, x0.shape[1:])
        return process.sample_t(t_key, ()), noise, jnp.where(dropped, classes, label)

    t_B, eps, label_B = jax.vmap(draw)(keys, label_B)
    x_t = process.corrupt(x0, eps, t_B)
    prediction = network(params, x_t, process.model_time(t_B), label_B)[..., : x0.shape[-1]]
    weight_B = objective.weighting.weight(objective.prediction, process, t_B)
    goal = target(objective.prediction, process, x0, eps, t_B)
    return loss_per_example(prediction, goal, weight_B), t_B


def make_train_step(network, objective, codec, optimizer, ema_config, classes: int, seed: int) -> Callable:
    """(state, batch) -> (state, scalars), pure, to be jitted with the state donated and its shardings pinned.

    batch is {'video': uint8 (B, T, H, W, C), 'label': int32 (B,)}; scalars are float32 averages over the global batch.
    """
    key = jax.random.fold_in(jax.random.key(seed), 1)

    def train_step(state: TrainState, batch):
        keys = example_keys(key, state.step, len(batch['label']))
        x0 = codec.encode(batch['video'])

        def mean_loss(params):
            return losses(network, objective, params, x0, batch['label'], classes, keys)[0].mean()

        loss, grads = jax.value_and_grad(mean_loss)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        scalars = {
            'loss': loss,
            'grad_norm': optax.tree.norm(grads),
            'update_norm': optax.tree.norm(updates),
            'param_norm': optax.tree.norm(params),
        }
        averages = ema.update(ema_config, state.ema, params, state.step)
        return TrainState(state.step + 1, params, averages, opt_state), scalars

    return train_step


def make_validation_step(network, objective, codec, classes: int, seed: int) -> Callable:
    """(params, batch, index) -> losses (B,) on noise and times that are the same every time; labels are kept."""
    key = jax.random.fold_in(jax.random.key(seed), 2)
    kept = dataclasses.replace(objective, label_dropout=0.0)

    def validation_step(params, batch, index):
        keys = example_keys(key, index, len(batch['label']))
        return losses(network, kept, params, codec.encode(batch['video']), batch['label'], classes, keys)[0]

    return validation_step
