"""ConvLSTM (Shi et al. 2015): a recurrent regressor of frames, the deterministic baseline of networks that sample."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.config.ranges import Between, Side
from vdm_jax.errors import UserError
from vdm_jax.models.conditions import Conditions
from vdm_jax.nn.config import NetworkConfig, NetworkInputs, Shape
from vdm_jax.nn.conv import Conv
from vdm_jax.nn.embed import patchify, unpatchify
from vdm_jax.nn.linear import Linear, on_cpu
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.sharding import constrain

NEEDS_CONTEXT = 'config.model.name=conv_lstm: it continues context frames; set config.diffusion.context'
Memory = tuple[jax.Array, jax.Array]  # h and c of a cell, (B, H, W, D) each


@dataclass(frozen=True)
class ConvLSTMConfig(NetworkConfig):
    """Cells of a ConvLSTM, one above the other, over patches of the frames.

    The defaults are those of ConvLSTM-S in OpenSTL (Tan et al. 2023): 11.7 million weights that are used (the 15.0
    million that are published count convolutions that its code makes and never calls).

    Attributes:
      layers: Cells.
      hidden: Channels of a cell.
      kernel: Sides of its convolution.
      patch: Pixels of a patch's sides.
      channels: Of the frames, filled in from codec and source.
      dtype: Of the computation; parameters are float32.
    """

    takes_frame_times: ClassVar[bool] = True
    context_at_time_zero: ClassVar[bool] = True

    layers: Annotated[int, Between(1, 1024)] = 4
    hidden: Side = 128
    kernel: Annotated[int, Between(1, 1024)] = 5
    patch: Side = 4
    channels: Side | None = None
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    def build(self, rngs: nnx.Rngs) -> 'ConvLSTM':
        return ConvLSTM(self, rngs=rngs)

    def check_inputs(self, inputs: NetworkInputs) -> None:
        if inputs.images or not inputs.has_frame_times:
            raise UserError(NEEDS_CONTEXT)

    def fit_to(self, shape: Shape, classes: int) -> Self:
        _, height, width, channels = shape
        if height % self.patch or width % self.patch:
            raise UserError(
                f'config.model.patch={self.patch} does not divide frames of {height}x{width} (height, width); choose '
                'another patch, or another config.data.pixels'
            )
        return replace(self, channels=channels)

    def flops(
        self, shape: tuple[int, int, int], images: int = 0, per_frame: bool = False, text_tokens: int = 0
    ) -> float:
        assert self.channels is not None  # fit_to sets it
        frames, height, width = shape
        tokens = height * width // self.patch**2
        d = self.hidden
        widths = [self.patch**2 * self.channels] + [d] * (self.layers - 1)
        # Every cell convolves its input and its own h to four gates of `hidden` channels, a multiply-add counting as 2.
        cells = sum(2 * self.kernel**2 * (size + d) * 4 * d for size in widths)
        # The last frame is never an input: each is predicted from the one before.
        return float((frames - 1) * tokens * (cells + 2 * d * widths[0]))


class Cell(nnx.Module):
    """One step of a convolutional LSTM: x (B, H, W, I), memory (h, c) -> the memory after it."""

    def __init__(self, size_in: int, config: ConvLSTMConfig, *, rngs: nnx.Rngs):
        self.gates = Conv(size_in + config.hidden, 4 * config.hidden, (config.kernel,) * 2, rngs=rngs)

    def __call__(self, x: jax.Array, memory: Memory) -> Memory:
        h, c = memory
        # One large convolution makes all four gates of input and memory, in place of eight small ones.
        enter, forget, new, out = jnp.split(self.gates(jnp.concatenate([x, h], -1)), 4, -1)
        c = jax.nn.sigmoid(forget) * c + jax.nn.sigmoid(enter) * jnp.tanh(new)
        return jax.nn.sigmoid(out) * jnp.tanh(c), c


class ConvLSTM(nnx.Module):
    """Every frame from those before it. Called as VideoDiT is, so that it trains and predicts by the same code.

    Frames whose time t (B, T) is 0 are seen; in place of any other the network sees its own prediction of it, and not
    the noise that x holds there: with config.diffusion.prediction=x0 it is a regressor, whose sampler takes one step.
    Conditions are not looked at. The first frame, which has none before it, is predicted as 0.
    """

    def __init__(self, config: ConvLSTMConfig, *, rngs: nnx.Rngs):
        assert config.channels is not None  # fit_to sets it
        self.config = config
        size = config.patch**2 * config.channels
        self.cells = nnx.List(
            [Cell(size if i == 0 else config.hidden, config, rngs=rngs) for i in range(config.layers)]
        )
        self.out = Linear(config.hidden, size, rngs=rngs)

    def __call__(
        self, x_BTHWC: jax.Array, t_BT: jax.Array, conditions: Conditions | None = None, images: int = 0
    ) -> jax.Array:
        """Predict each frame of (B, T, H, W, C) from those before it, at t (B, T): float32 of x's shape.

        Raises:
          UserError: there are no context frames, or images stand behind the clip.
        """
        if t_BT.ndim < 2 or images:
            raise UserError(NEEDS_CONTEXT)
        config = self.config
        batch, frames, height, width, _ = x_BTHWC.shape
        rows = height // config.patch
        columns = width // config.patch
        tokens = patchify(x_BTHWC.astype(config.dtype), 1, config.patch).reshape(batch, frames, rows, columns, -1)

        def step(
            carry: tuple[tuple[Memory, ...], jax.Array], frame: tuple[jax.Array, jax.Array]
        ) -> tuple[tuple[tuple[Memory, ...], jax.Array], jax.Array]:
            memories, prediction = carry
            token, time = frame
            x = constrain(jnp.where(jnp.expand_dims(time == 0, (1, 2, 3)), token, prediction), BATCH)

            after = []
            for cell, memory in zip(self.cells, memories, strict=True):
                after.append(cell(x, memory))
                x = after[-1][0]

            # It is carried as well: where the next frame is not seen, it is what the cells are shown of it.
            prediction = self.out(x)
            return (tuple(after), prediction), prediction

        zeros = jnp.zeros((batch, rows, columns, config.hidden), config.dtype)
        start = ((zeros, zeros),) * config.layers, jnp.zeros_like(tokens[:, 0])
        # A scan runs along the leading dimension. The last frame has none after it to predict.
        seen = jnp.moveaxis(tokens[:, :-1], 1, 0), t_BT[:, :-1].T

        # XLA's CPU backend has no fast convolutions inside loops: 3 of 85 GFLOP/s, forward and back.
        _, predictions = jax.lax.scan(step, start, seen, unroll=on_cpu())
        # Nothing precedes the first frame, so that its place is filled with zeros.
        predictions = jnp.concatenate([jnp.zeros_like(predictions[:1]), predictions]).swapaxes(0, 1)

        patches = predictions.reshape(batch, frames, rows * columns, -1)
        return unpatchify(patches, (frames, height, width), 1, config.patch).astype(jnp.float32)
