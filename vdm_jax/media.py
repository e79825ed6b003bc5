"""Frames -> files: mp4, gif, webp and png strips. Videos are uint8 (T, H, W, 3), or (T, H, W, 1) where they are grey;
an image is a video of one frame.

Files are made in memory or in a local temporary file and handed over whole, so that any path etils.epath knows will do.
They are written beside the old ones and put in their place (files.write_atomically): never half a file.
"""

import io
import itertools
import math
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.files import write_atomically

FPS = 8  # frames a second where nothing says how many
_SEPARATOR = 128  # grey of the lines between clips
_LOOKED_AT = 2**11  # pixels of a frame that its palette is made from


def write_mp4(path, video, fps=FPS):
    """H.264 (libx264, yuv420p, crf 18); odd sizes are padded by one row or column of the edge.

    fps: frames a second, whole or not; the file has the nearest fraction whose denominator is below 100,000.
    """
    video = _checked(video)
    try:
        import av
    except ImportError:
        raise UserError(f"writing {path} needs PyAV, which is not installed: pip install 'vdm_jax[video]'") from None
    odd = [(0, size % 2) for size in video.shape[1:3]]
    if odd != [(0, 0), (0, 0)]:
        video = np.pad(video, [(0, 0), *odd, (0, 0)], mode='edge')
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, 'video.mp4')
        try:
            _encode(av, local, video, fps)
        except av.FFmpegError as error:  # such as a full disk
            raise OSError(error.errno, error.strerror, local) from None
        with open(local, 'rb') as file:
            write_atomically(path, file.read())


def _encode(av, local, video, fps):
    with av.open(local, 'w', options={'movflags': 'faststart'}) as container:
        stream = container.add_stream('libx264', rate=Fraction(fps).limit_denominator(10**5))
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = 'yuv420p'
        stream.options = {'crf': '18', 'preset': 'veryfast'}
        for frame in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format='rgb24')))
        container.mux(stream.encode())


def gif_bytes(video: np.ndarray, fps: float = FPS, upscale: int = 1) -> bytes:
    """An endlessly looping GIF with a palette of its own for each frame (256 colours, no dithering).

    A frame of no more colours keeps them; the palette of another one is made from 2,048 of its pixels.
    Times are rounded to hundredths of a second, and no frame is shorter than two of them: browsers slow those down.
    Frames that equal their forerunner are merged into it, so this is for looking at, not for keeping data.
    """
    frames = map(_quantized, _images(video, upscale))
    return _animated(frames, 'GIF', max(round(100 / fps), 2) * 10)


def _quantized(image):
    """The picture in 256 colours. Median cut takes as long as there are colours, so it looks at a few pixels alone."""
    pixels = np.asarray(image).reshape(-1, 3)
    if len(pixels) <= _LOOKED_AT or image.getcolors(256):
        return image.quantize(256, dither=0)
    chosen = pixels[np.random.default_rng(0).integers(0, len(pixels), _LOOKED_AT)]
    palette = _pillow()[0].fromarray(chosen[None]).quantize(256, dither=0)
    return image.quantize(palette=palette, dither=0)


def write_gif(path, video, fps=FPS, upscale=1):
    """See gif_bytes; upscale repeats every pixel that many times."""
    write_atomically(path, gif_bytes(video, fps, upscale))


def write_webp(path, video, fps=FPS, upscale=1):
    """A looping WebP, lossless."""
    duration = max(round(1000 / fps), 1)
    content = _animated(_images(video, upscale), 'WEBP', duration, lossless=True, exact=True, minimize_size=False)
    write_atomically(path, content)


def write_png(path, image_HWC):
    """One uint8 picture (H, W, 3) or (H, W, 1)."""
    (image,) = _images(image_HWC[None])
    buffer = io.BytesIO()
    image.save(buffer, 'PNG', compress_level=1)  # higher ones save a tenth and take twice as long
    write_atomically(path, buffer.getvalue())


def write_npy(path, video):
    """The bytes of a video as numpy.load reads them, without pickle: uint8 (T, H, W, C), grey ones too."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(video), allow_pickle=False)
    write_atomically(path, buffer.getvalue())


def write_frames(directory, video):
    """A PNG for each frame: 000.png and so on."""
    digits = max(3, len(str(len(video) - 1)))
    for number, frame in enumerate(video):
        write_png(f'{directory}/{number:0{digits}}.png', frame)


def write_strip(
    path: str | os.PathLike[str], videos: np.ndarray, labels: Sequence[str] | None = None, scale: int | None = None
) -> None:
    """A contact sheet as PNG: videos uint8 (N, T, H, W, 3), one row a clip, one column a frame.

    scale: how many times every pixel is repeated (None: as many as make a frame at least 64 pixels high).
    labels: N strings, written in front of the rows.
    """
    videos = [_checked(video) for video in videos]
    n, (t, h, w, _) = len(videos), videos[0].shape
    scale = scale or max(1, math.ceil(64 / h))
    sheet = np.full((n * (h * scale + 2) - 2, t * (w * scale + 1) - 1, 3), _SEPARATOR, np.uint8)
    for row, video in enumerate(videos):
        for column, frame in enumerate(_upscaled(video, scale)):
            y, x = row * (h * scale + 2), column * (w * scale + 1)
            sheet[y : y + h * scale, x : x + w * scale] = frame
    if labels is not None:
        sheet = np.concatenate([_captions(labels, sheet.shape[0], h * scale + 2), sheet], 1)
    write_png(path, sheet)


def grid(videos: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Videos uint8 (N, T, H, W, 3) side by side: (T, R*H, C*W, 3), as square as can be, empty places black."""
    videos = np.asarray(videos)
    n, t, h, w, c = videos.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    if empty := rows * columns - n:
        videos = np.concatenate([videos, np.zeros((empty, t, h, w, c), videos.dtype)])
    videos = videos.reshape(rows, columns, t, h, w, c).transpose(2, 0, 3, 1, 4, 5)
    return videos.reshape(t, rows * h, columns * w, c)


def _checked(video):
    video = np.asarray(video)
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] not in (1, 3) or 0 in video.shape:
        raise ValueError(f'a video is uint8 (T, H, W, 3) or (T, H, W, 1); this is {video.dtype} {video.shape}')
    return video.repeat(3, -1) if video.shape[-1] == 1 else video


def _upscaled(video, scale):
    return video if scale == 1 else video.repeat(scale, 1).repeat(scale, 2)


def _pillow():
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise UserError("writing pictures needs Pillow, which is not installed: pip install 'vdm_jax[video]'") from None
    return Image, ImageDraw


def _images(video, upscale=1):
    """The frames as pictures of Pillow, one after the other."""
    image, _ = _pillow()
    return (image.fromarray(frame) for frame in _upscaled(_checked(video), upscale))


def _animated(images, kind, duration, **options):
    first, *others = images
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, duration=duration, loop=0, **options)
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


def write_samples(directory, stem, sets, labels=None, titles=None, fps=FPS):
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
    tiled = np.concatenate(panels, axis=2) if len(panels) > 1 else panels[0]
    labels = [''] * len(sets[0]) if labels is None else labels
    rows = [f'{title} {label}'.strip() for title in titles or [''] for label in labels]
    files = [directory / f'{stem}{ending}' for ending in ('.mp4', '.gif', '.png')]
    with ThreadPoolExecutor(len(files)) as threads:
        mp4 = threads.submit(write_mp4, files[0], tiled, fps)
        others = [
            threads.submit(write_gif, files[1], tiled, fps),
            threads.submit(write_strip, files[2], [*itertools.chain(*sets)], rows if any(rows) else None),
        ]
    try:
        mp4.result()
    except UserError as error:
        files[0] = error
    for other in others:
        other.result()
    return files


def _titled(video, title):
    """A video (T, H, W, 3) under a white line of text, with a white edge at its right."""
    image, image_draw = _pillow()
    line = image.new('RGB', (video.shape[2] + 8, 16), 'white')
    image_draw.Draw(line).text((4, 2), title, fill='black')
    edge = np.full((*video.shape[:2], 8, 3), 255, np.uint8)
    below = np.concatenate([video, edge], axis=2)
    return np.concatenate([np.broadcast_to(np.asarray(line), (len(video), *np.asarray(line).shape)), below], axis=1)
