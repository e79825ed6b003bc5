"""From a whole video to one clip of it: which frames, which part of the picture, mirrored or not."""

import numpy as np

from vdm_jax.data import transforms


def cut(how, video, read, chance=None, shape=None):
    """(one clip uint8 (T, H, W, C), whether it had to be filled up).

    Args:
      how: the source, whose shape and fields frames, stride, fps, short, start, crop and flip say what is wanted.
      video: its frames, height, width; with fps, the times of its frames too.
      read: (frame numbers, height, width) -> frames uint8 (T, height, width, C).
      chance: four numbers in [0, 1) for a training clip's start, place (down, right) and mirroring, each used only
        where `how` asks for it, so that one option does not move another's; None for the clip of evaluations: from the
        first frame, the centre, not mirrored.
      shape: (T, H, W) of the clip; None: that of how.shape.
    """
    frames, *picture = shape or how.shape[:3]
    start = 0
    if chance is not None and how.start == 'random':
        start = int(chance[0] * clip_starts(video, frames, how.stride, how.fps))
    indices, have = clip_indices(video, start, frames, how.stride, how.fps)
    if have < frames:
        fill = np.arange(frames)
        indices = indices[fill % have if how.short == 'loop' else np.minimum(fill, have - 1)]
    clip = read(indices, *transforms.cover(video.height, video.width, *picture))
    clip = transforms.crop(clip, *picture, chance[1:3] if chance is not None and how.crop == 'random' else None)
    if chance is not None and how.flip and chance[3] < 0.5:
        clip = transforms.flip(clip)
    return np.ascontiguousarray(clip), have < frames


def clip_indices(video, start, count, stride=1, fps=None):
    """(frame numbers int64 (count,), how many of them the video has) of the clip that begins at frame `start`.

    With fps, frame k of the clip is the frame nearest to k * stride / fps seconds after `start`.
    """
    if fps is None:
        indices = start + stride * np.arange(count)
        return indices, int(np.sum(indices < video.frames))
    wanted = video.times[start] + np.arange(count) * (stride / fps)
    later = np.clip(np.searchsorted(video.times, wanted), 0, video.frames - 1)
    earlier = np.maximum(later - 1, 0)
    late = video.times[later] - wanted < wanted - video.times[earlier] - 1e-6  # of two equally near ones the earlier
    return np.where(late | (later == 0), later, earlier), int(np.sum(wanted < _end(video)))


def clip_starts(video, count, stride=1, fps=None):
    """The number of frames at which a whole clip may begin (at least 1: a short video begins at its first)."""
    if fps is None:
        return max(video.frames - stride * (count - 1), 1)
    return max(int(np.searchsorted(video.times, _end(video) - (count - 1) * (stride / fps))), 1)


def clip_length(video, stride=1, fps=None):
    """The number of frames of the longest clip that needs no filling up."""
    if fps is None:
        return -(-video.frames // stride)
    return int(np.ceil((_end(video) - video.times[0]) * fps / stride - 1e-6))


def _end(video):
    """Seconds at which the last frame is half over: what lies beyond is no longer nearest to a frame."""
    return (video.times[-1] + video.seconds) / 2
