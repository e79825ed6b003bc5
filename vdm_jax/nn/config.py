"""Base of every network's config, with what holds for a network that has no such thing."""

from typing import ClassVar

from vdm_jax.ranges import Ranged


class NetworkConfig(Ranged, where='config.model'):
    """A frozen dataclass, the config group config.model. `fitted` fills in what data and codec decide."""

    autoencodes: ClassVar[bool] = False  # whether it learns to reproduce its input
    given_at_zero: ClassVar[bool] = False  # whether frames whose time is 0 are context frames, and no others
    remat_policies: ClassVar[tuple[str, ...]] = ()  # values of config.model.remat, from least recomputed to most

    # What is a field of some networks.
    layout: str | None = None  # of a transformer's blocks
    classes: int | None = 0  # of labels; None: the source's
    scalars: tuple[str, ...] = ()
    learn_variance: bool = False
    self_condition: bool = False
    text_width: int | None = None
    time_patch: int = 1
    position: str = 'none'
    dtype: str = 'float32'

    @property
    def split_width(self) -> int:
        """The width that config.mesh.fsdp splits weights along, and has to divide; 1: each device holds all of them."""
        return 1

    def fitted(self, shape: tuple[int, int, int, int], classes: int) -> 'NetworkConfig':
        """Return the config for latents of `shape` (T, H, W, C) with so many classes.

        Raises:
          UserError: the network does not take such clips.
        """
        raise NotImplementedError

    def flops(
        self, shape: tuple[int, int, int], images: int = 0, per_frame: bool = False, text_tokens: int = 0
    ) -> float:
        """Return the floating-point operations of one forward pass on one video of shape (T, H, W).

        images: how many stand behind the video. text_tokens: the length of the text, of a network that looks at one.
        """
        raise NotImplementedError
