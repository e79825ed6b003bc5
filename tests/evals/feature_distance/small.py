"""Sets of small clips, and a network of features that compiles in no time in the place of the published ones."""

import jax
import numpy as np

from tests.evals.features.small_network import Colours, FrameColours
from vdm_jax.data.video_set import VideoSet
from vdm_jax.evals import runner
from vdm_jax.evals.features.opened import OpenNetwork
from vdm_jax.evals.protocol import EvaluateConfig

PARAMS = Colours().init(jax.random.key(0))
SHAPE = (9, 6, 8, 3)  # of a clip; I3D takes no fewer frames
CONFIG = EvaluateConfig(samples=12, real=10, batch_size=4)


def open_small(network, weights):
    """Open a small network in the place of any."""
    small = FrameColours() if network.takes_frames else Colours()
    return OpenNetwork(small, PARAMS, weights or 'small', '0' * 64)


def make_clips(count, seed=0, shape=SHAPE):
    """Clips of which each has a colour of its own and noise."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(40, 200, (count, 1, 1, 1, shape[-1]))
    return (colours + rng.integers(-40, 41, (count, *shape))).astype(np.uint8)


def open_clips(path, clips, **fields):
    """A reader of clips, written to a .npy file."""
    np.save(path, clips)
    fields = {'frames': clips.shape[1]} | fields
    return VideoSet(str(path), **fields).open()


def draw_array(videos, batch_size=5):
    """Return what draws an array, a batch at a time."""

    def draw(labels, conditions_of, first):
        assert len(labels) <= len(videos)
        for begin in range(first, len(labels), batch_size):
            yield videos[begin : min(begin + batch_size, len(labels))]

    return draw


def score(protocol, reader, videos, config=CONFIG, batch_size=5, about=None, **options):
    """Evaluate an array of videos beside real ones."""
    options = {'open_weights': open_small} | options
    return runner.evaluate(protocol, draw_array(videos, batch_size), reader, reader, config, about or {}, **options)
