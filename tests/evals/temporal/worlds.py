"""Clips whose motion is known: textures that are shifted by whole pixels."""

import numpy as np


def draw_shifted_texture(shifts, size=(24, 30), margin=24, seed=0):
    """A window (T, H, W, 3) on a fixed texture, seen from (dx, dy) px further left and up in each next frame."""
    texture = np.random.default_rng(seed).integers(0, 256, (size[0] + 2 * margin, size[1] + 2 * margin, 3), np.uint8)
    x = margin
    y = margin
    frames = []
    for dx, dy in [(0, 0), *shifts]:
        x -= dx
        y -= dy
        frames.append(texture[y : y + size[0], x : x + size[1]])
    return np.stack(frames)


def make_exact_flow(shifts, size=(24, 30)):
    """Forward and backward flow (T - 1, H, W, 2) of such a clip."""
    forward = np.broadcast_to(np.array(shifts, np.float32)[:, None, None], (len(shifts), *size, 2))
    return forward, -forward
