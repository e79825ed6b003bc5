"""Memory does not grow with the number of samples: 2,048 clips of 16x224x224 are scored in that of 64."""

import json
import os
import pathlib
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.imports import ROOT
from vdm_jax.data.source import StatelessSource
from vdm_jax.evals import runner
from vdm_jax.evals.feature_distance.protocol import FeatureProtocol
from vdm_jax.evals.feature_distance.settings import DistanceSettings
from vdm_jax.evals.features.network import FeatureNetwork, Outputs
from vdm_jax.evals.features.opened import OpenNetwork
from vdm_jax.evals.protocol import EvaluateConfig

SHAPE = (16, 224, 224, 3)
CLIP_BYTES = 16 * 224 * 224 * 3
FEW = 64
MANY = 2048
BATCH = 16
NOISE = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


def make_clip(number, seed):
    """A clip that is there only while it is looked at."""
    return NOISE + np.random.default_rng([seed, number]).integers(0, 256, 3, np.uint8)


@dataclass(frozen=True)
class Tinted(StatelessSource):
    """Noise with a colour over it.

    Attributes:
      size: How many clips.
    """

    size: int = MANY

    @property
    def shape(self):
        return SHAPE

    def __len__(self):
        return self.size

    def __getitem__(self, i):
        return {'video': make_clip(i, 0), 'label': np.int32(0)}

    def draw(self, i, rng):
        del rng
        return self[i]


@dataclass(frozen=True)
class MeanColour(FeatureNetwork):
    """The mean colour of a clip, and the cosines of its multiples: as many features as I3D has."""

    name: ClassVar[str] = 'mean_colour'
    weights: ClassVar[str] = 'mean_colour'

    @property
    def width(self):
        return 400

    @property
    def classes(self):
        return 400

    def abstract_params(self):
        return {'waves': jax.ShapeDtypeStruct((3, self.width), jnp.float32)}

    def compute(self, params, videos):
        features = jnp.cos(videos.mean((1, 2, 3)) @ params['waves'])
        return Outputs(features, features)


@dataclass(frozen=True)
class Settings(DistanceSettings):
    """Those of the network above."""

    @property
    def network(self):
        return MeanColour()


@dataclass(frozen=True)
class ByMeanColour(FeatureProtocol):
    """Frechet distance of as many clips as are real ones.

    Attributes:
      count: Clips.
    """

    count: int = FEW

    @property
    def settings(self):
        return Settings(videos=self.count, real=self.count, frames=16, split='train', clips='random')


def open_stub(network, weights):
    return OpenNetwork(network, {'waves': network.init(jax.random.key(0))['waves']}, weights, '')


def draw(labels, conditions_of, first):
    del conditions_of
    for begin in range(first, len(labels), BATCH):
        numbers = range(begin, min(begin + BATCH, len(labels)))
        yield np.stack([make_clip(number, 1) for number in numbers])


def score(count, directory):
    """Score `count` clips in this process, which has done nothing else.

    Returns:
      The greatest bytes of numpy and Python that lived at once, and of jax between batches, as they are counted; the
      peak of the process as the system sees it; and what was scored.
    """
    reader = Tinted().open()
    config = EvaluateConfig(batch_size=BATCH)
    protocol = ByMeanColour(count=count, controls=False, rounds=10)
    on_devices = []

    def draw_counted(labels, conditions_of, first):
        for videos in draw(labels, conditions_of, first):
            on_devices.append(sum(array.nbytes for array in jax.live_arrays()))
            yield videos

    tracemalloc.start()
    result = runner.evaluate(protocol, draw_counted, reader, reader, config, {}, directory, open_stub)
    _, counted = tracemalloc.get_traced_memory()
    status = pathlib.Path('/proc/self/status').read_text()
    peak = int(status.split('VmHWM:')[1].split()[0]) * 1024  # ru_maxrss has the parent's, too
    about = {'samples': result.settings['samples'], 'distance': result.figures['samples']['frechet']}
    return about | {'counted': counted, 'on_devices': max(on_devices), 'peak': peak}


def score_apart(count, directory):
    """`score` in a process of its own, with a cache of its own."""
    command = [sys.executable, '-m', 'tests.evals.feature_distance.test_memory', str(count), str(directory)]
    # No program runs beside what reads, so that what is counted does not hang on who is faster.
    environment = {'JAX_CPU_ENABLE_ASYNC_DISPATCH': 'false', 'XDG_CACHE_HOME': str(directory), 'PYTHONPATH': str(ROOT)}
    process = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='memory is read from /proc')
def test_many_clips_are_scored_in_the_memory_of_few(tmp_path):
    few = score_apart(FEW, tmp_path / 'few')
    many = score_apart(MANY, tmp_path / 'many')
    print(few, many)
    assert (few['samples'], many['samples']) == (FEW, MANY) and many['distance'] > 0
    # Features alone are held for every clip, real and sampled: a 1,500th of it.
    features = 2 * MANY * 4 * MeanColour().width
    assert many['counted'] - features < 1.05 * few['counted'] and many['on_devices'] < 1.05 * few['on_devices']
    # What is counted is batches of clips, and not something small beside them.
    assert few['counted'] > BATCH * CLIP_BYTES
    # What the system sees hangs on which threads free memory when, by up to a fifth from run to run; the clips
    # themselves would not fit in there.
    assert many['peak'] < MANY * CLIP_BYTES / 8


if __name__ == '__main__':
    print(json.dumps(score(int(sys.argv[1]), sys.argv[2])))
