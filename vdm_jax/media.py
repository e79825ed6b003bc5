"""Write videos and pictures as files: mp4, gif, webp, npy, PNG frames and contact sheets.

Videos are uint8 (T, H, W, 3), or (T, H, W, 1) where they are grey; an image is a video of one frame.

Files are made in memory or in a local temporary file, so that any path that etils.epath knows will do. They are written
beside the old ones and put in their place (files.write_atomically): never half a file.
"""

import io
import itertools
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.files import AnyPath, write_atomically

FPS = 8  # frames a second where nothing says how many
# Name of the text in a contact sheet's PNG that says how to cut it: JSON of what write_strip lays out.
STRIP = 'vdm_jax'
SEPARATOR = 128  # grey of the lines between clips
ROW_GAP = 2  # pixels between the clips of a contact sheet
COLUMN_GAP = 1  # pixels between its frames
_PALETTE_PIXELS = 2**11  # pixels of a frame that its palette is made from


def write_mp4(path: AnyPath, video: np.ndarray, fps: float = FPS) -> None:
    """Write H.264 (libx264, yuv420p, crf 18); odd sizes are padded by one row or column of the edge.

    Args:
      path: Of the file.
      video: uint8 (T, H, W, 3) or (T, H, W, 1).
      fps: Frames a second, whole or not; the file has the nearest fraction whose denominator is below 100,000.

    Raises:
      UserError: PyAV is not installed.
      OSError: The file cannot be written.
    """
    video = _to_rgb(video)
    try:
        import av
    except ImportError:
        raise UserError(f"writing {path} needs PyAV, which is not installed: pip install 'vdm_jax[video]'") from None

    # yuv420p halves the sides of its colours.
    padding = [(0, size % 2) for size in video.shape[1:3]]
    if padding != [(0, 0), (0, 0)]:
        video = np.pad(video, [(0, 0), *padding, (0, 0)], mode='edge')

    # The container goes back to write its header, which not every path can.
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, 'video.mp4')
        try:
            _encode_mp4(av, local, video, fps)
        except av.FFmpegError as error:  # such as a full disk
            raise OSError(error.errno, error.strerror, local) from None
        with open(local, 'rb') as file:
            write_atomically(path, file.read())


def _encode_mp4(av: Any, local: str, video: np.ndarray, fps: float) -> None:
    """Encode a video of even sides to a file on this machine."""
    # The header comes first, so that a browser shows the beginning before it has the end.
    with av.open(local, 'w', options={'movflags': 'faststart'}) as container:
        stream = container.add_stream('libx264', rate=Fraction(fps).limit_denominator(10**5))
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = 'yuv420p'
        stream.options = {'crf': '18', 'preset': 'veryfast'}
        for frame in video:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format='rgb24')
            container.mux(stream.encode(picture))
        container.mux(stream.encode())  # what the encoder still holds


def gif_bytes(video: np.ndarray, fps: float = FPS, upscale: int = 1) -> bytes:
    """Return an endlessly looping GIF with a palette of its own for each frame (256 colours, no dithering).

    A frame of no more colours keeps them; the palette of another one is made from 2,048 of its pixels.
    Times are rounded to hundredths of a second, and no frame is shorter than two of them: browsers slow those down.
    Frames that equal their forerunner are merged into it, so this is for looking at, not for keeping data.

    Args:
      video: uint8 (T, H, W, 3) or (T, H, W, 1).
      fps: Frames a second.
      upscale: How many times every pixel is repeated in each direction.
    """
    frames = map(_quantize, _to_images(video, upscale))
    hundredths = max(round(100 / fps), 2)
    return _encode_animation(frames, 'GIF', 10 * hundredths)


def _quantize(image: Any) -> Any:
    """Return a picture in 256 colours."""
    pixels = np.asarray(image).reshape(-1, 3)
    if len(pixels) <= _PALETTE_PIXELS or image.getcolors(256):
        return image.quantize(256, dither=0)

    # Median cut takes as long as there are colours, so it sees some of the pixels; the same ones in every process.
    rows = np.random.default_rng(0).integers(0, len(pixels), _PALETTE_PIXELS)
    pillow_image, _ = _import_pillow()
    palette = pillow_image.fromarray(pixels[rows][None]).quantize(256, dither=0)
    return image.quantize(palette=palette, dither=0)


def write_gif(path: AnyPath, video: np.ndarray, fps: float = FPS, upscale: int = 1) -> None:
    """Write a looping GIF; see gif_bytes."""
    write_atomically(path, gif_bytes(video, fps, upscale))


def write_webp(path: AnyPath, video: np.ndarray, fps: float = FPS, upscale: int = 1) -> None:
    """Write a looping, lossless WebP; arguments as gif_bytes."""
    milliseconds = max(round(1000 / fps), 1)
    images = _to_images(video, upscale)
    content = _encode_animation(images, 'WEBP', milliseconds, lossless=True, exact=True, minimize_size=False)
    write_atomically(path, content)


def write_png(path: AnyPath, image_HWC: np.ndarray, texts: Mapping[str, str] | None = None) -> None:
    """Write one uint8 picture (H, W, 3) or (H, W, 1), with texts by name in its metadata."""
    (image,) = _to_images(image_HWC[None])
    # After the line above, which says how to install Pillow where it is missing.
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, text in (texts or {}).items():
        info.add_text(name, text)
    buffer = io.BytesIO()
    # Higher levels save a tenth and take twice as long.
    image.save(buffer, 'PNG', compress_level=1, pnginfo=info)
    write_atomically(path, buffer.getvalue())


def write_npy(path: AnyPath, video: np.ndarray) -> None:
    """Write a video as numpy.load reads it, without pickle: uint8 (T, H, W, C), grey ones too."""
    # Without pickle, so that whoever loads it runs none of its code.
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(video), allow_pickle=False)
    write_atomically(path, buffer.getvalue())


def write_frames(directory: AnyPath, video: np.ndarray) -> None:
    """Write a PNG for each frame: 000.png and so on."""
    # As many digits as the last number has, so that names sort as frames do.
    digits = max(3, len(str(len(video) - 1)))
    for number, frame in enumerate(video):
        write_png(f'{directory}/{number:0{digits}}.png', frame)


def write_strip(
    path: AnyPath,
    videos: np.ndarray | Sequence[np.ndarray],
    labels: Sequence[object] | None = None,
    scale: int | None = None,
    fps: float = FPS,
) -> None:
    """Write a contact sheet as PNG, one row a clip, one column a frame.

    The file says in its metadata, under the name STRIP, how many clips and frames there are and where, so that they can
    be cut out again.

    Args:
      path: Of the file.
      videos: uint8 (N, T, H, W, 3).
      labels: N texts, written in front of the rows.
      scale: How many times every pixel is repeated; None for as many as make a frame at least 64 pixels high.
      fps: Frames a second of the clips, for the metadata.
    """
    clips = [_to_rgb(video) for video in videos]
    t, h, w, _ = clips[0].shape
    scale = scale or _display_scale(h)

    # Lines between rows and between columns, none at the edges.
    row_height = h * scale + ROW_GAP
    column_width = w * scale + COLUMN_GAP
    size = (len(clips) * row_height - ROW_GAP, t * column_width - COLUMN_GAP, 3)
    sheet = np.full(size, SEPARATOR, np.uint8)
    for row, clip in enumerate(clips):
        for column, frame in enumerate(_upscale(clip, scale)):
            y = row * row_height
            x = column * column_width
            sheet[y : y + h * scale, x : x + w * scale] = frame
    if labels is not None:
        sheet = np.concatenate([_draw_labels(labels, sheet.shape[0], row_height), sheet], 1)

    layout = {
        'videos': len(clips),
        'frames': t,
        'scale': scale,
        'left': sheet.shape[1] - size[1],
        'fps': fps,
    }
    write_png(path, sheet, {STRIP: json.dumps(layout)})


def grid(videos: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Return videos uint8 (N, T, H, W, 3) side by side: (T, R*H, C*W, 3), rest black.

    Args:
      videos: N videos of one shape.
      columns: C; None for a grid that is as square as can be.
    """
    videos = np.asarray(videos)
    n, t, h, w, c = videos.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    if empty := rows * columns - n:
        videos = np.concatenate([videos, np.zeros((empty, t, h, w, c), videos.dtype)])
    tiles = videos.reshape(rows, columns, t, h, w, c).transpose(2, 0, 3, 1, 4, 5)
    return tiles.reshape(t, rows * h, columns * w, c)


def _to_rgb(video: np.ndarray) -> np.ndarray:
    """Return a video as uint8 (T, H, W, 3).

    Raises:
      ValueError: It is no video.
    """
    video = np.asarray(video)
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] not in (1, 3) or 0 in video.shape:
        raise ValueError(f'a video is uint8 (T, H, W, 3) or (T, H, W, 1); this is {video.dtype} {video.shape}')
    return video.repeat(3, -1) if video.shape[-1] == 1 else video


def _display_scale(height: int) -> int:
    """Return how many times pixels are repeated so that frames are at least 64 of them high."""
    return max(1, math.ceil(64 / height))


def _upscale(video: np.ndarray, scale: int) -> np.ndarray:
    return video if scale == 1 else video.repeat(scale, 1).repeat(scale, 2)


def _import_pillow() -> tuple[ModuleType, ModuleType]:
    """Return Pillow's Image and ImageDraw.

    Raises:
      UserError: It is not installed.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise UserError("writing pictures needs Pillow, which is not installed: pip install 'vdm_jax[video]'") from None
    return Image, ImageDraw


def _to_images(video: np.ndarray, upscale: int = 1) -> Iterator[Any]:
    """Return the frames as pictures of Pillow, made one after the other."""
    image, _ = _import_pillow()
    return (image.fromarray(frame) for frame in _upscale(_to_rgb(video), upscale))


def _encode_animation(images: Iterable[Any], kind: str, duration: int, **options: Any) -> bytes:
    """Return pictures as a looping file; `duration` of each in milliseconds."""
    # Pillow saves an animation from its first picture on.
    first, *others = images
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, duration=duration, loop=0, **options)
    return buffer.getvalue()


def _draw_labels(labels: Sequence[object], height: int, row_height: int) -> np.ndarray:
    """Return the column of row names of a contact sheet, uint8 (height, some width, 3)."""
    image, image_draw = _import_pillow()
    texts = [str(label) for label in labels]
    # Text is measured on a picture of one pixel, as the column is as wide as the longest.
    ruler = image_draw.Draw(image.new('RGB', (1, 1)))
    width = max(math.ceil(ruler.textlength(text)) for text in texts) + 6
    column = image.new('RGB', (width, height), 'white')
    draw = image_draw.Draw(column)
    for row, text in enumerate(texts):
        draw.text((3, row * row_height + 2), text, fill='black')
    return np.asarray(column)


def write_samples(
    directory: AnyPath,
    stem: str,
    sets: Sequence[np.ndarray],
    labels: Sequence[object] | None = None,
    titles: Sequence[str] | None = None,
    fps: float = FPS,
) -> list[Any]:
    """Write videos for a person to look at: one mp4 and one gif of all, and a contact sheet as PNG.

    Small worlds are enlarged by whole pixels until a video is at least 64 pixels high. The mp4 is left out, with a
    note in its place, where PyAV is missing.

    Args:
      directory: Of the files.
      stem: Of their names.
      sets: One array of videos uint8 (N, T, H, W, 3), or several of equal shape to be shown side by side.
      labels: N texts, the rows of the contact sheet.
      titles: One text a set, written above it.
      fps: Frames a second.

    Returns:
      The paths written; in place of the mp4's the UserError that says why it is not there.
    """
    from etils import epath

    root = epath.Path(directory)
    mp4_path, gif_path, strip_path = (root / f'{stem}{suffix}' for suffix in ('.mp4', '.gif', '.png'))
    tiled = _tile_sets(sets, titles)
    labels = [''] * len(sets[0]) if labels is None else labels
    row_names = [f'{title} {label}'.strip() for title in titles or [''] for label in labels]

    # Side by side, as each takes long and most of the work is done outside of Python.
    with ThreadPoolExecutor(3) as threads:
        mp4 = threads.submit(write_mp4, mp4_path, tiled, fps)
        others = [
            threads.submit(write_gif, gif_path, tiled, fps),
            threads.submit(
                write_strip, strip_path, [*itertools.chain(*sets)], row_names if any(row_names) else None, fps=fps
            ),
        ]
    # PyAV is optional: whoever lacks it still sees the gif. A full disk fails all three.
    try:
        mp4.result()
    except UserError as error:
        mp4_path = error
    for other in others:
        other.result()
    return [mp4_path, gif_path, strip_path]


def _tile_sets(sets: Sequence[np.ndarray], titles: Sequence[str] | None) -> np.ndarray:
    """Return sets of videos as one video, each set as a grid below its title."""
    scale = _display_scale(sets[0].shape[2])
    panels = [_upscale(_to_rgb(grid(videos)), scale) for videos in sets]
    if titles:
        panels = [_add_title(panel, title) for panel, title in zip(panels, titles, strict=True)]
    return np.concatenate(panels, axis=2) if len(panels) > 1 else panels[0]


def _add_title(video: np.ndarray, title: str) -> np.ndarray:
    """Return a video (T, H, W, 3) under a white line of text, with a white edge at its right."""
    image, image_draw = _import_pillow()
    line = image.new('RGB', (video.shape[2] + 8, 16), 'white')
    image_draw.Draw(line).text((4, 2), title, fill='black')
    line_HWC = np.asarray(line)

    edge = np.full((*video.shape[:2], 8, 3), 255, np.uint8)
    panel = np.concatenate([video, edge], axis=2)
    return np.concatenate([np.broadcast_to(line_HWC, (len(video), *line_HWC.shape)), panel], axis=1)
