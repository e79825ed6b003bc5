"""A painter of its own, so that the evaluation is not only tested with the world's renderer."""

import numpy as np
import pytest

from vdm_jax.data.worlds.bouncing_balls import GREY, PALETTE
from vdm_jax.evals import runner


def _paint(positions, colours, radius, pixels, bar=None):
    """uint8 (T, H, W, 3): discs at positions (T, N, 2) in pixels (nan: none), 16 x 16 samples a pixel."""
    fine = (np.arange(16 * pixels) + 0.5) / 16
    video = np.zeros((len(positions), 16 * pixels, 16 * pixels, 3), np.float32)
    for frame, balls in zip(video, positions, strict=True):
        for (x, y), colour in zip(balls, colours, strict=True):
            frame[(fine - x) ** 2 + (fine[:, None] - y) ** 2 < radius**2] = PALETTE[colour]
        if bar is not None:
            frame[:, (fine > bar[0]) & (fine < bar[1])] = GREY
    video = video.reshape(len(positions), pixels, 16, pixels, 16, 3).mean((2, 4))
    return np.round(video).astype(np.uint8)


@pytest.fixture(scope='session')
def paint():
    return _paint


@pytest.fixture(autouse=True)
def check_declared(monkeypatch):
    """Hold every score of every test to the figures and verdicts that its protocol declares."""
    evaluate = runner.evaluate

    def evaluate_as_declared(protocol, *args, **options):
        score = evaluate(protocol, *args, **options)
        assert {*score.figures[protocol.samples_row]} <= {*protocol.figures}
        assert {*score.verdict} == {*protocol.verdicts}
        return score

    monkeypatch.setattr(runner, 'evaluate', evaluate_as_declared)
