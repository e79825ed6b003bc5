"""Frames -> files: mp4, gif, webp and png strips. Videos are uint8 (T, H, W, 3), or (T, H, W, 1) where they are grey;
an image is a video of one frame.

Files are made in memory or in a local temporary file and handed over whole, so that any path etils.epath knows will do.
"""

import io
import math
import os
import tempfile
from fractions import Fraction

import numpy as np

from vdm_jax.errors import UserError

_SEPARATOR = 128  # grey of the lines between clips


def write_mp4(path, video, fps=8):
    """H.264 (libx264, yuv420p, crf 18); odd sizes are padded by one row or column of the edge."""
    video = _checked(video)
    try:
        import av
    except ImportError:
        raise UserError(f"writing {path} needs PyAV, which is not installed: pip install 'vdm_jax[video]'") from None
    video = np.pad(video, [(0, 0), (0, video.shape[1] % 2), (0, video.shape[2] % 2), (0, 0)], mode='edge')
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, 'video.mp4')
        with av.open(local, 'w', options={'movflags': 'faststart'}) as container:
            stream = container.add_stream('libx264', rate=Fraction(fps).limit_denominator(10**5))
            stream.height, stream.width = video.shape[1:3]
            stream.pix_fmt = 'yuv420p'
            stream.options = {'crf': '18'}
            for frame in video:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format='rgb24')))
            container.mux(stream.encode())
        with open(local, 'rb') as file:
            _store(path, file.read())


def gif_bytes(video, fps=8, upscale=1):
    """An endlessly looping GIF with a palette of its own for each frame (256 colours, no dithering).

    Times are rounded to hundredths of a second, and no frame is shorter than two of them: browsers slow those down.
    Frames that equal their forerunner are merged into it, so this is for looking at, not for keeping data.
    """
    frames = [image.quantize(256, dither=0) for image in _images(video, upscale)]
    return _animated(frames, 'GIF', max(round(100 / fps), 2) * 10)


def write_gif(path, video, fps=8, upscale=1):
    """See gif_bytes; upscale repeats every pixel that many times."""
    _store(path, gif_bytes(video, fps, upscale))


def write_webp(path, video, fps=8, upscale=1):
    """A looping WebP, lossless."""
    duration = max(round(1000 / fps), 1)
    _store(path, _animated(_images(video, upscale), 'WEBP', duration, lossless=True, exact=True, minimize_size=False))


def write_png(path, image_HWC):
    """One uint8 picture (H, W, 3) or (H, W, 1)."""
    buffer = io.BytesIO()
    _images(image_HWC[None])[0].save(buffer, 'PNG')
    _store(path, buffer.getvalue())


def write_strip(path, videos, labels=None, scale=None):
    """A contact sheet as PNG: videos uint8 (N, T, H, W, 3), one row a clip, one column a frame.

    scale: how many times every pixel is repeated (None: as many as make a frame at least 64 pixels high).
    labels: N strings, written in front of the rows.
    """
    videos = np.stack([_checked(video) for video in videos])
    n, t, h, w, _ = videos.shape
    scale = scale or max(1, math.ceil(64 / h))
    sheet = np.full((n * (h * scale + 2) - 2, t * (w * scale + 1) - 1, 3), _SEPARATOR, np.uint8)
    for row, video in enumerate(videos):
        for column, frame in enumerate(_upscaled(video, scale)):
            y, x = row * (h * scale + 2), column * (w * scale + 1)
            sheet[y : y + h * scale, x : x + w * scale] = frame
    if labels is not None:
        sheet = np.concatenate([_captions(labels, sheet.shape[0], h * scale + 2), sheet], 1)
    write_png(path, sheet)


def grid(videos, columns=None):
    """Videos uint8 (N, T, H, W, 3) side by side: (T, R*H, C*W, 3), as square as can be, empty places black."""
    videos = np.asarray(videos)
    n, t, h, w, c = videos.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    videos = np.concatenate([videos, np.zeros((rows * columns - n, t, h, w, c), videos.dtype)])
    videos = videos.reshape(rows, columns, t, h, w, c).transpose(2, 0, 3, 1, 4, 5)
    return videos.reshape(t, rows * h, columns * w, c)


def _checked(video):
    video = np.asarray(video)
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] not in (1, 3) or 0 in video.shape:
        raise ValueError(f'a video is uint8 (T, H, W, 3) or (T, H, W, 1); this is {video.dtype} {video.shape}')
    return video.repeat(3, -1) if video.shape[-1] == 1 else video


def _upscaled(video, scale):
    return video.repeat(scale, 1).repeat(scale, 2)


def _pillow():
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise UserError("writing pictures needs Pillow, which is not installed: pip install 'vdm_jax[video]'") from None
    return Image, ImageDraw


def _images(video, upscale=1):
    image, _ = _pillow()
    return [image.fromarray(frame) for frame in _upscaled(_checked(video), upscale)]


def _animated(images, kind, duration, **options):
    buffer = io.BytesIO()
    images[0].save(buffer, kind, save_all=True, append_images=images[1:], duration=duration, loop=0, **options)
    return buffer.getvalue()


def _captions(labels, height, row_height):
    """The column of row names of a strip, uint8 (height, some width, 3)."""
    image, image_draw = _pillow()
    labels = [str(label) for label in labels]
    width = max(math.ceil(image_draw.Draw(image.new('RGB', (1, 1))).textlength(label)) for label in labels) + 6
    column = image.new('RGB', (width, height), 'white')
    draw = image_draw.Draw(column)
    for row, label in enumerate(labels):
        draw.text((3, row * row_height + 2), label, fill='black')
    return np.asarray(column)


def _store(path, content):
    from etils import epath

    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_samples(directory, stem, sets, labels=None, titles=None, fps=8):
    """What a person wants to see of videos: one mp4 and one gif of all, and a PNG strip.

    sets: one array of videos uint8 (N, T, H, W, 3), or several of equal shape to be shown side by side.
    labels: N strings, the rows of the strip. titles: one string a set, written above it.
    Small worlds are enlarged by whole pixels until a video is at least 64 pixels high. The mp4 is left out, with a
    note in its place, where PyAV is missing.

    Returns: the paths written, or notes.
    """
    from etils import epath

    directory = epath.Path(directory)
    scale = max(1, math.ceil(64 / sets[0].shape[2]))
    panels = [_upscaled(_checked(grid(videos)), scale) for videos in sets]
    if titles:
        panels = [_titled(panel, title) for panel, title in zip(panels, titles, strict=True)]
    tiled = np.concatenate(panels, axis=2)
    labels = [''] * len(sets[0]) if labels is None else labels
    rows = [f'{title} {label}'.strip() for title in titles or [''] for label in labels]
    files = [directory / f'{stem}{ending}' for ending in ('.mp4', '.gif', '.png')]
    try:
        write_mp4(files[0], tiled, fps)
    except UserError as error:
        files[0] = error
    write_gif(files[1], tiled, fps)
    write_strip(files[2], np.concatenate(sets), rows if any(rows) else None)
    return files


def _titled(video, title):
    """A video (T, H, W, 3) under a white line of text, with a white edge at its right."""
    image, image_draw = _pillow()
    line = image.new('RGB', (video.shape[2] + 8, 16), 'white')
    image_draw.Draw(line).text((4, 2), title, fill='black')
    edge = np.full((*video.shape[:2], 8, 3), 255, np.uint8)
    below = np.concatenate([video, edge], axis=2)
    return np.concatenate([np.broadcast_to(np.asarray(line), (len(video), *np.asarray(line).shape)), below], axis=1)
