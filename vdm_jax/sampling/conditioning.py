"""Conditions of samples, completed from held-out clips: context frames, and captions where none are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from vdm_jax.data.clip_batches import batch_of, find_captioned, find_labelled, videos_of
from vdm_jax.errors import UserError

if TYPE_CHECKING:
    from vdm_jax.experiment.data_plan import DataPlan
    from vdm_jax.experiment.network_plan import NetworkPlan

Conditions = dict[str, Any]  # arrays of one row a video, by name


def complete_conditions(data: DataPlan, network: NetworkPlan, conditions: Conditions) -> Conditions:
    """Add to conditions such as {'label': (N,)} what the network wants besides them.

    Context frames come from held-out clips, in a network with classes from those of the labels in turn. A network that
    takes text, where none is given, has that of held-out clips with captions.

    Raises:
      UserError: There are other context frames than the network was trained with, no held-out clip has a label, or
        there is no text for a network that wants one.
    """
    labels = np.asarray(conditions['label'])

    def others(rows: np.ndarray) -> Conditions:
        return {name: np.asarray(value)[rows] for name, value in conditions.items() if name != 'label'}

    return conditions_by_rows(data, network, labels, others)(np.arange(len(labels)))


def conditions_by_rows(
    data: DataPlan, network: NetworkPlan, labels: np.ndarray, others: Callable[[np.ndarray], Conditions]
) -> Callable[[np.ndarray], Conditions]:
    """Return rows (n,) -> `complete_conditions` of those rows of N videos; clips are read when rows are asked for.

    Args:
      data: The clips.
      network: What is conditioned.
      labels: Of all videos, (N,).
      others: rows -> the other conditions that are given, arrays of those rows.

    Raises:
      UserError: See `complete_conditions`.
    """
    # One row shows which conditions there are, without making those of all videos.
    first_row = others(np.arange(1))
    context_frames = network.context_frames
    check_context(first_row['frames'].shape[1] if 'frames' in first_row else 0, context_frames)
    reads_frames = context_frames > 0 and 'frames' not in first_row
    reads_text = bool(network.config.text_width) and 'text' not in first_row

    # Images behind the clips have classes and the clips have none: what has no label gets the one after them.
    if data.has_images and not network.config.autoencodes and not has_classes(data, network):
        labels = np.full_like(labels, network.config.classes)

    # Chosen for all videos at once, so that a video's clip does not depend on the batch that it is made in.
    clips = choose_clips(data, network, labels, reads_text) if reads_frames or reads_text else None

    def conditions_of(rows: np.ndarray) -> Conditions:
        conditions = {'label': labels[rows]} | others(rows)
        if clips is None:
            return conditions

        batch = batch_of(data.context_reader, clips[rows])
        if reads_text:
            conditions |= {name: batch[name] for name in ('text', 'text_mask')}
        if reads_frames:
            conditions['frames'] = videos_of(batch)[:, :context_frames]
        return conditions

    return conditions_of


def choose_clips(data: DataPlan, network: NetworkPlan, labels: np.ndarray, with_text: bool) -> np.ndarray:
    """Return the number of a held-out clip for each video, (N,).

    Raises:
      UserError: None has a text, or one of the labels.
    """
    reader = data.context_reader
    if with_text:
        return np.array(find_captioned(reader, len(labels)))
    if network.config.autoencodes:
        # An autoencoder's samples are reconstructions: the clips in their order, each as often as the others.
        return np.arange(len(labels)) % len(reader)
    return np.array(find_labelled(reader, labels if has_classes(data, network) else [None] * len(labels)))


def has_classes(data: DataPlan, network: NetworkPlan) -> bool:
    """Return whether the clips that samples are like have classes: clips beside images with classes may have none."""
    return bool(network.config.classes and data.reader.reference.num_classes)


def check_context(frames: int, trained: int) -> None:
    """Check that there are as many context frames as the network was trained with.

    Raises:
      UserError: There are others, not none.
    """
    if frames and frames != trained:
        raise UserError(
            f'config.evaluate.protocol.context={frames}: the network was trained with config.diffusion.context='
            f'{trained} context frames; set the same'
            + ('' if trained else ', which a network with a time for each frame can sample')
        )
