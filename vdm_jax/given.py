"""What samples are given of held-out clips: frames to begin with, and texts where none are told."""

import numpy as np

from vdm_jax.data.clips import captioned, first_frames, stack, videos_of
from vdm_jax.errors import UserError


def given_frames(run) -> int:
    """How many frames of a video the network is given: all of them where it is an autoencoder."""
    frames, *picture = run.source.shape
    if run.model.autoencodes:
        return frames
    context, codec = run.experiment.diffusion.context, run.experiment.codec

    def latents(count):
        try:
            return codec.latent_shape((count, *picture))[0]
        except UserError:  # a video's codec does not take every number of frames
            return 0

    return next((k for k in range(context, frames) if latents(k) == context), 0) if context else 0


def asks(run, told: dict) -> dict:
    """What to ask for videos that are told `told`, such as {'label': (N,)}: with the frames that have to be given.

    Where none are, they are those of held-out clips: of the asked labels, one after the other, in a network with
    classes. Where a network that looks at text is told none, it is told those of held-out clips that have one.

    Raises:
      UserError: other frames are given than the network was trained with, no held-out clip has a label, or there is
        no text for a network that wants one.
    """
    told, count = dict(told), given_frames(run)
    if run.model.text_width and 'text' not in told:
        clips = captioned(run.shown, len(told['label']))
        told |= {name: clips[name] for name in ('text', 'text_mask')}
        if count and 'frames' not in told:
            told['frames'] = videos_of(clips)[:, :count]
    given = told['frames'].shape[1] if 'frames' in told else 0
    if given and given != count:
        raise UserError(
            f'config.evaluate.context={given}: the network was trained with config.diffusion.context={count} given '
            'frames; set the same' + ('' if count else ', which a network with a time for each frame can sample')
        )
    if run.model.autoencodes:
        clips = np.arange(len(told['label'])) % len(run.shown)
        return told if given else told | {'frames': stack(run.shown, clips)}
    if not (run.has_images or count):
        return told
    classes = run.model.classes and run.scored[0].num_classes  # not of images beside clips without classes
    if count and not given:
        labels = told['label'] if classes else [None] * len(told['label'])
        told['frames'] = first_frames(run.shown, labels, count)
    if run.has_images and not classes:
        told['label'] = np.full_like(told['label'], run.model.classes)
    return told
