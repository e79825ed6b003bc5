"""A source whose clips are of another size than its config says."""

import dataclasses

from vdm_jax.data.bucketed import Bucketed
from vdm_jax.data.joint_images import JointImages
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.source import Source
from vdm_jax.frame_size import height_width


def resized(source: Source, pixels: int | str) -> Source:
    """The same clips with frames of `pixels`, in every source within; of a source in buckets the first one alone.

    Raises:
      UserError: such clips cannot be made.
    """
    if isinstance(source, Bucketed):
        height, width = height_width(pixels)
        bucket = dataclasses.replace(source.kinds[source.only or 0], height=height, width=width)
        return dataclasses.replace(source, buckets=(str(bucket),), only=None)
    if isinstance(source, Mixture):
        return dataclasses.replace(source, sources=tuple(resized(each, pixels) for each in source.sources))
    if isinstance(source, JointImages):
        return dataclasses.replace(source, clips=resized(source.clips, pixels), images=resized(source.images, pixels))
    return dataclasses.replace(source, pixels=pixels)
