"""What samples are given of held-out clips: frames to begin with, and texts where none are told."""

from collections.abc import Callable

import numpy as np

from vdm_jax.data.clip_batches import batch_of, captioned, labelled, videos_of
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
    labels = np.asarray(told['label'])

    def more(rows):
        return {name: np.asarray(value)[rows] for name, value in told.items() if name != 'label'}

    return asks_by_rows(run, labels, more)(np.arange(len(labels)))


def asks_by_rows(run, labels: np.ndarray, more: Callable) -> Callable:
    """rows (n,) -> `asks` of those rows of N videos, whose frames and texts are read when they are asked for.

    Args:
      labels: of all of them, (N,).
      more: rows -> what else they are told, arrays of those rows.

    Raises:
      UserError: see `asks`.
    """
    first, needed = more(np.arange(1)), given_frames(run)
    check_frames(first['frames'].shape[1] if 'frames' in first else 0, needed)
    reads_frames = needed > 0 and 'frames' not in first
    reads_text = bool(run.model.text_width) and 'text' not in first
    if run.has_images and not run.model.autoencodes and not has_classes(run):
        labels = np.full_like(labels, run.model.classes)
    clips = clips_for(run, labels, reads_text) if reads_frames or reads_text else None

    def rows_of(rows):
        found = {'label': labels[rows]} | more(rows)
        if clips is None:
            return found
        batch = batch_of(run.context_reader, clips[rows])
        if reads_text:
            found |= {name: batch[name] for name in ('text', 'text_mask')}
        return found | ({'frames': videos_of(batch)[:, :needed]} if reads_frames else {})

    return rows_of


def clips_for(run, labels: np.ndarray, with_text: bool) -> np.ndarray:
    """The number of a held-out clip for each video, (N,).

    Raises:
      UserError: none has a text, or one of the labels.
    """
    if with_text:
        return np.array(captioned(run.context_reader, len(labels)))
    if run.model.autoencodes:
        return np.arange(len(labels)) % len(run.context_reader)
    return np.array(labelled(run.context_reader, labels if has_classes(run) else [None] * len(labels)))


def has_classes(run) -> bool:
    """Whether the clips that samples are like have classes: not those without any beside images that have some."""
    return bool(run.model.classes and run.references[0].num_classes)


def check_frames(given: int, needed: int) -> None:
    """Whether as many frames are given as the network was trained with.

    Raises:
      UserError: they are others, not none.
    """
    if given and given != needed:
        raise UserError(
            f'config.evaluate.protocol.context={given}: the network was trained with config.diffusion.context={needed} '
            'given frames; set the same' + ('' if needed else ', which a network with a time for each frame can sample')
        )
