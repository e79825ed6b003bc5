"""Small videos with something to see in them."""

import numpy as np

from data_pipelines.build.encoder import Encoder


def moving(count, height=64, width=96, seed=0):
    """Smooth colours that move over the picture, with grain: uint8 (count, height, width, 3)."""
    rng = np.random.default_rng(seed)
    tile = rng.uniform(0, 255, (height // 16 + 2, width // 16 + 2, 3)).repeat(16, 0).repeat(16, 1)
    frames = np.stack([np.roll(tile, (i, 2 * i), (0, 1))[:height, :width] for i in range(count)])
    return (frames + rng.normal(0, 6, frames.shape)).clip(0, 255).astype(np.uint8)


def encode_frames(frames, times=None, crf=18, gop=12):
    """The bytes of an mp4; times: seconds of each frame and of the end, None: 25 a second."""
    times = np.arange(len(frames) + 1) / 25 if times is None else times
    encoder = Encoder(*frames.shape[1:3], crf, gop)
    for i, frame in enumerate(frames):
        encoder.add(frame, times[i], times[i + 1])
    return encoder.finish()
