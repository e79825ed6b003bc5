"""The image VAE of latent diffusion (Rombach et al. 2022): Stable Diffusion's network, and Stable Video Diffusion's."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.codecs.image_decoder import Decoder
from vdm_jax.codecs.image_encoder import Encoder
from vdm_jax.config.ranges import Above0, Between, NotEmpty, Side
from vdm_jax.errors import UserError
from vdm_jax.nn.config import NetworkConfig, Shape
from vdm_jax.nn.conv import Conv
from vdm_jax.nn.flop_count import count_flops


@dataclass(frozen=True)
class ImageVAEConfig(NetworkConfig, where='config.codec.model'):
    """Diffusers' AutoencoderKL, in its words; the defaults are Stable Diffusion's, 83,653,863 parameters.

    Attributes:
      in_channels: Channels of the pixels that are encoded.
      out_channels: Channels of the pixels that are decoded.
      latent_channels: Channels of the latents.
      block_out_channels: Channels of every level; each halves the sides of the one before.
      layers_per_block: Residual blocks of a level; the decoder has one more.
      norm_num_groups: Groups of every group norm.
      mid_block_add_attention: Whether there is attention between the blocks of the coarsest level.
      use_quant_conv: Whether a 1x1 convolution makes the moments.
      use_post_quant_conv: Whether a 1x1 convolution takes the latents.
      scaling_factor: What latents are multiplied by for other networks.
      temporal: Whether the decoder is that of diffusers' AutoencoderKLTemporalDecoder, which mixes frames and
        takes latents without a 1x1 convolution.
    """

    autoencodes: ClassVar[bool] = True
    takes_images: ClassVar[bool] = True

    in_channels: Side = 3
    out_channels: Side = 3
    latent_channels: Side = 4
    block_out_channels: Annotated[tuple[Side, ...], NotEmpty()] = (128, 256, 512, 512)
    layers_per_block: Annotated[int, Between(1, 1024)] = 2
    norm_num_groups: Side = 32
    mid_block_add_attention: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    scaling_factor: Annotated[float, Above0()] = 0.18215
    temporal: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                self.refuse('norm_num_groups', f'it does not divide {channels} of block_out_channels')
        if self.temporal and not self.mid_block_add_attention:
            self.refuse('mid_block_add_attention', 'the temporal decoder always has it')

    @property
    def factor(self) -> int:
        """Pixels along a side of one latent."""
        return 1 << (len(self.block_out_channels) - 1)

    def latent_shape(self, shape: Shape) -> Shape:
        """Return the shape of the latents of a video of shape (T, H, W, C).

        Raises:
          UserError: The frames are not what the network takes.
        """
        frames, height, width, channels = shape
        if height % self.factor or width % self.factor or channels != self.in_channels:
            raise UserError(
                f'config.codec: takes frames of {self.in_channels} channels whose sides {self.factor} divides, found '
                f'{height}x{width} and {channels} channels; change config.data.pixels'
            )
        return frames, height // self.factor, width // self.factor, self.latent_channels

    def build(self, rngs: nnx.Rngs) -> 'ImageVAE':
        return ImageVAE(self, rngs=rngs)

    def fit_to(self, shape: Shape, classes: int) -> Self:
        self.latent_shape(shape)
        return self

    def flops(
        self, shape: tuple[int, int, int], images: int = 0, per_frame: bool = False, text_tokens: int = 0
    ) -> float:
        """Count the operations of encoding and decoding."""
        frames, *sides = shape

        def reconstruct(x: jax.Array) -> jax.Array:
            network = self.build(nnx.Rngs(0))
            mean, _ = network.moments(x)
            return network.decode(mean)

        # XLA counts, as a formula for every option of diffusers' config would have to be kept true.
        x = jax.ShapeDtypeStruct((1, frames + images, *sides, self.in_channels), jnp.float32)
        return count_flops(reconstruct, x)


class ImageVAE(nnx.Module):
    """Encoder and decoder of frames, every frame by itself; the temporal decoder alone mixes them."""

    def __init__(self, config: ImageVAEConfig, *, rngs: nnx.Rngs):
        latents = config.latent_channels
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)
        self.quant = Conv(2 * latents, 2 * latents, (1, 1), rngs=rngs) if config.use_quant_conv else None
        # Diffusers' temporal autoencoder has none, whatever its config.
        has_post_quant = config.use_post_quant_conv and not config.temporal
        self.post_quant = Conv(latents, latents, (1, 1), rngs=rngs) if has_post_quant else None

    def moments(self, x_BTHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Encode pixels in [-1, 1] to the mean and the log variance of the posterior of their latents.

        Each is (B, T, H / f, W / f, latent_channels) float32, not scaled.
        """
        y = self.encoder(x_BTHWC)
        if self.quant is not None:
            y = self.quant(y)
        # float32, whatever the dtype of activations: the exponential of a rounded log variance is far off.
        mean, logvar = jnp.split(y.astype(jnp.float32), 2, -1)
        return mean, jnp.clip(logvar, -30, 20)

    def decode(self, z_BTHWC: jax.Array) -> jax.Array:
        """Decode latents that are not scaled to pixels, about [-1, 1], (B, T, h f, w f, C) float32."""
        if self.post_quant is not None:
            z_BTHWC = self.post_quant(z_BTHWC)
        return self.decoder(z_BTHWC).astype(jnp.float32)
