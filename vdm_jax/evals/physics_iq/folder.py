"""Physics-IQ's score of the benchmark's own videos: a folder of real takes, and one of generated videos.

Real videos are called ID_testing-videos_30FPS_VIEW_take-1_SCENE.mp4, take-2 too, and generated ones ID_VIEW_SCENE.mp4
with the ID of take 1. The first 5 seconds count. Masks are made at each video's own size, then masks and frames are
brought to a quarter of the real video's.

What the benchmark's program does besides is not done: it stores masks as compressed videos, rounds figures to four
digits on the way, and can take the last seconds in place of the first. Decoders differ in the last digit of a colour.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vdm_jax.data.video import decode
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.errors import UserError
from vdm_jax.evals.physics_iq import score as iq
from vdm_jax.evals.physics_iq.masks import stream_changes
from vdm_jax.evals.score import Score
from vdm_jax.evals.temporal.warp import sample_bilinear

REAL = re.compile(
    r'(?P<id>[^_]+)_testing-videos_(?P<fps>\d+)FPS_(?P<view>[^_]+)_take-(?P<take>[12])_(?P<scene>.+\.mp4)'
)
QUARTER = 4


def score_folder(real: str | Path, generated: str | Path, fps: int = 30, seconds: int = 5) -> Score:
    """Score generated videos beside both takes of all scenes and views of a folder.

    Args:
      real: Folder of the real videos.
      generated: Folder of the generated ones.
      fps: Frames a second, of which there are real videos.
      seconds: From the start, that count.

    Returns:
      Rows 'samples' and 'take 2', both beside take 1: means over views, and the score.

    Raises:
      UserError: There are no real videos of this rate, or a video is missing or too short.
    """
    figures: dict[str, list[dict[str, float]]] = {'samples': [], 'take 2': []}
    for takes, sample in find_views(Path(real), Path(generated), fps):
        frames, masks = _read_quarter(takes[0], seconds * fps, None)
        size = frames.shape[1:3]
        for row, path in (('samples', sample), ('take 2', takes[1])):
            figures[row].append(iq.compare_clips(*_read_quarter(path, seconds * fps, size), frames, masks))

    means = {
        row: {name: float(np.mean([view[name] for view in views])) for name in views[0]}
        for row, views in figures.items()
    }
    for row in means:
        means[row]['score'] = iq.compute_score(means[row], means['take 2'])
    views = len(figures['samples'])
    return Score(
        name=f'{iq.VERSION}_{fps}fps_{views}',
        figures=means,
        verdict={},
        settings={'views': views, 'fps': fps, 'seconds': seconds, 'masks_compressed': False},
    )


def find_views(real: Path, generated: Path, fps: int) -> Iterator[tuple[tuple[Path, Path], Path]]:
    """Yield ((take 1, take 2), generated video) of every scene and view.

    Raises:
      UserError: There are no real videos of this rate, or a video is missing.
    """
    paths: dict[tuple[str, str, str], tuple[str, Path]] = {}
    for path in sorted(real.iterdir()) if real.is_dir() else []:
        match = REAL.fullmatch(path.name)
        if match and int(match['fps']) == fps:
            paths[match['scene'], match['view'], match['take']] = match['id'], path
    if not paths:
        raise UserError(f'{real}: no videos ID_testing-videos_{fps}FPS_VIEW_take-1_SCENE.mp4 are in it')

    views = sorted({(scene, view) for scene, view, _ in paths})
    wanted = [
        f'take-{take} of {scene} {view}' for scene, view in views for take in '12' if (scene, view, take) not in paths
    ]
    if wanted:
        raise UserError(f'{real}: {len(wanted)} videos are missing, the first is {wanted[0]}')

    samples = {(scene, view): generated / f'{paths[scene, view, "1"][0]}_{view}_{scene}' for scene, view in views}
    missing = [path.name for path in samples.values() if not path.is_file()]
    if missing:
        raise UserError(f'{generated}: {len(missing)} of {len(views)} videos are missing, the first is {missing[0]}')
    for scene, view in views:
        yield (paths[scene, view, '1'][1], paths[scene, view, '2'][1]), samples[scene, view]


def resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize bytes (H, W, C) bilinearly without a filter before it, as OpenCV does: uint8 (height, width, C)."""
    y = (np.arange(height) + 0.5) * frame.shape[0] / height - 0.5
    x = (np.arange(width) + 0.5) * frame.shape[1] / width - 0.5
    values = sample_bilinear(frame, *np.meshgrid(x, y))
    return np.floor(values + 0.5).astype(np.uint8)


def _read_quarter(path: Path, count: int, size: tuple[int, ...] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return frames and masks of a video's first `count` frames at a size, a quarter of its own where that is None."""
    try:
        return _decode_quarter(path, decode.probe(str(path)), count, size)
    except BrokenVideoError as error:
        raise UserError(f'{path}: {error}') from error


def _decode_quarter(
    path: Path, video: decode.Video, count: int, size: tuple[int, ...] | None
) -> tuple[np.ndarray, np.ndarray]:
    if video.frames < count:
        raise UserError(f'{path} has {video.frames} frames: want {count} or more')
    height, width = size or (video.height // QUARTER, video.width // QUARTER)
    if min(height, width) < 1:
        raise UserError(f'{path} has frames of {video.height}x{video.width}: want sides of {QUARTER} pixels or more')
    small = np.empty((count, height, width, 3), np.uint8)

    def stream() -> Iterator[np.ndarray]:
        for number, frame in decode.stream(video, 0, count):
            small[number] = resize(frame, height, width)
            yield frame

    masks = [resize(mask[..., None] * np.uint8(255), height, width)[..., 0] > 127 for mask in stream_changes(stream())]
    return small, np.stack(masks)
