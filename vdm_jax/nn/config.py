"""What every network's config answers, and what it is where a network has no such thing."""

from typing import ClassVar

from vdm_jax.ranges import Ranged


class NetworkConfig(Ranged, where='config.model'):
    """A frozen dataclass, the config group config.model. `fitted` fills in what data and codec decide."""

    autoencodes: ClassVar = False  # whether it learns to give back what it is shown
    layout: ClassVar = None  # of a transformer's blocks
    classes: ClassVar = 0  # of labels; None: the source's
    scalars: ClassVar = ()
    learn_variance: ClassVar = False
    self_condition: ClassVar = False
    text_width: ClassVar = None
    time_patch: ClassVar = 1
    given_at_zero: ClassVar = False  # whether it takes frames for given where their time is 0, and nowhere else
    position: ClassVar = 'none'
    dtype: ClassVar = 'float32'
    remat_policies: ClassVar = ()  # values of config.model.remat, from least recomputed to most

    @property
    def split_width(self) -> int:
        """The width that config.mesh.fsdp splits weights along, and has to divide; 1: each device holds all of them."""
        return 1

    def fitted(self, shape: tuple[int, int, int, int], classes: int) -> 'NetworkConfig':
        """The config for latents of `shape` (T, H, W, C) with so many classes.

        Raises:
          UserError: the network does not take such clips.
        """
        raise NotImplementedError

    def flops(self, shape: tuple[int, int, int], images: int = 0, per_frame: bool = False, **text: int) -> float:
        """Floating-point operations of one forward pass on one video of shape (T, H, W), `images` behind it; of a
        network that looks at text, `text_tokens` are its length.
        """
        raise NotImplementedError
