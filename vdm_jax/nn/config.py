"""Base of every network's config: what a run may ask of a network, with the defaults of one that overrides nothing."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import jax
from flax import nnx

from vdm_jax.config.ranges import Ranged
from vdm_jax.errors import UserError
from vdm_jax.parallel.rules import Rules, describe_replication, sharding_notes

Shape = tuple[int, int, int, int]  # (T, H, W, C) of a clip, or of its latents


@dataclass(frozen=True)
class NetworkInputs:
    """What a run calls its network with.

    Attributes:
      shapes: Of the clips, or of their latents, of each of the source's buckets.
      images: How many images stand behind a clip's frames in training.
      per_frame: Whether every frame has a time of its own (config.diffusion.per_frame).
      context: How many context frames a clip has, which have a time of their own too (config.diffusion.context).
    """

    shapes: tuple[Shape, ...]
    images: int = 0
    per_frame: bool = False
    context: int = 0

    @property
    def has_frame_times(self) -> bool:
        """Whether times are (B, T), one for each frame, and not (B,), one for each video."""
        return self.per_frame or self.context > 0


class NetworkConfig(Ranged, where='config.model'):
    """What a network is and can do: a frozen dataclass, the config group config.model.

    A network is one such class and the module that its `build` makes; the class is an entry of MODELS in
    experiment/registry.py. It overrides what differs from the defaults here. A module that denoises is called as
    VideoDiT is, (x, t, conditions, images) -> prediction; one that `autoencodes` has `moments` and `decode`, as
    VideoVAE.

    Attributes:
      autoencodes: Whether it learns to reproduce its input.
      takes_frame_times: Whether times may be (B, T), one for each frame.
      takes_images: Whether images may stand behind the frames of a clip.
      context_at_time_zero: Whether it takes the frames whose time is 0, and no others, for context frames.
      mesh_axes: Mesh axes that split it, of fsdp, sequence and tensor: those to which sharding_rules give its
        parameters, or it constrains its activations. slices and data split the batch of any network.
      sharding_rules: How its parameters are split, by their paths (parallel/rules.py); those that no rule matches are
        whole on every device.
      remat_policies: Values of config.model.remat, from the one that recomputes least to the one that recomputes most.
      classes: Of labels, which it is conditioned on where there are some; None: as many as the source has.
      scalars: Names of numbers that it is conditioned on.
      text_width: Dimensions of the text embeddings that it attends to; None: it takes no text.
      self_condition: Whether it is conditioned on its own estimate of x0.
      learn_variance: Whether its output has the variance's channels behind those of the prediction.
      remat: Which of remat_policies, '' for a network without any.
      dtype: Of its computation; parameters are float32.
    """

    autoencodes: ClassVar[bool] = False
    takes_frame_times: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False
    context_at_time_zero: ClassVar[bool] = False
    mesh_axes: ClassVar[tuple[str, ...]] = ()
    sharding_rules: ClassVar[Rules] = ()
    remat_policies: ClassVar[tuple[str, ...]] = ()

    # Fields of the networks that have such a thing.
    classes: int | None = 0
    scalars: tuple[str, ...] = ()
    text_width: int | None = None
    self_condition: bool = False
    learn_variance: bool = False
    remat: str = ''
    dtype: str = 'float32'

    def build(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the network, with fresh parameters; self is what `fit_to` returned."""
        raise NotImplementedError

    def abstract_params(self) -> Any:
        """Return the shapes and dtypes of the network's parameters, a tree; nothing is allocated."""

        def params() -> Any:
            return nnx.to_pure_dict(nnx.state(self.build(nnx.Rngs(0)), nnx.Param))

        return jax.eval_shape(params)

    def fit_to(self, shape: Shape, classes: int) -> Self:
        """Return the config with what data and codec decide filled in: clips of `shape`, so many classes of labels.

        Raises:
          UserError: the network does not take such clips.
        """
        raise NotImplementedError

    def field_values(self) -> dict[str, Any]:
        """Return the fields, nested, by name."""
        values: dict[str, Any] = asdict(self)  # type: ignore[call-overload]  # every config is a dataclass
        return values

    def with_explicit_sizes(self) -> Self:
        """Return a config of the same network with numbers for names of sizes, so that equal networks compare equal."""
        return self

    def flops(
        self, shape: tuple[int, int, int], images: int = 0, per_frame: bool = False, text_tokens: int = 0
    ) -> float:
        """Return the floating-point operations of one forward pass on one video of shape (T, H, W).

        images: how many stand behind the video. text_tokens: the length of the text, of a network that attends to one.
        """
        raise NotImplementedError

    @property
    def fsdp_width(self) -> int:
        """The width that config.mesh.fsdp splits weights along, and has to divide; 1: each device holds all of them."""
        return 1

    def check_inputs(self, inputs: NetworkInputs) -> None:
        """Check that the network takes what a run calls it with; `fit_to` has checked shapes by themselves.

        Raises:
          UserError: it takes no images, or one time a video alone; names the key that asks for it.
        """
        if inputs.images and not self.takes_images:
            raise UserError(
                f'config.data.count={inputs.images}: this network takes no images behind clips; set 0, or choose '
                'another config.model.name'
            )
        if inputs.has_frame_times and not self.takes_frame_times:
            key = 'per_frame=true' if inputs.per_frame else f'context={inputs.context}'
            off = 'false' if inputs.per_frame else '0'
            raise UserError(
                f'config.diffusion.{key}: this network takes one time a video, not one for each frame; set {off}, or '
                'choose another config.model.name'
            )

    def check_shapes(self, shapes: tuple[Shape, ...]) -> None:
        """Check that a trained network takes clips of other shapes than those of training.

        Raises:
          UserError: it does not.
        """

    def check_mesh(self, mesh: jax.sharding.Mesh, inputs: NetworkInputs) -> None:
        """Check that the mesh splits the network where it can be split, and that its devices can compute it.

        Raises:
          UserError: an axis does not split it, or does not divide its sizes; names a mesh that works.
        """
        for axis in ('sequence', 'tensor'):
            if mesh.shape[axis] > 1 and axis not in self.mesh_axes:
                raise UserError(f'config.mesh.{axis}={mesh.shape[axis]}: this network is not split on it; set 1')

    def sharding_notes(self, state: Any) -> list[str]:
        """List what a user should know of how a run's state lies on its mesh, a line each.

        state: the train state's shapes with shardings. Where fsdp splits the network, rules that match nothing and
        large arrays that are replicated; else, on a mesh with fsdp, that its parameters are.
        """
        if 'fsdp' in self.mesh_axes:
            return sharding_notes(state, self.sharding_rules)
        return describe_replication(state.params)
