"""Memory does not grow with the number of samples: 2,048 clips of 16x224x224 are scored in that of 64."""

import json
import os
import pathlib
import subprocess
import sys
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
TIMES = 8
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


def score(count, times, directory):
    """Score `count` clips so many times; return the peak of this process's memory in bytes, and what was scored."""
    reader = Tinted().open()
    config = EvaluateConfig(batch_size=BATCH)
    protocol = ByMeanColour(count=count, controls=False, rounds=10)
    for i in range(times):
        # Another cache each time, so that the real clips are looked at again, too.
        os.environ['XDG_CACHE_HOME'] = f'{directory}/{i}'
        result = runner.evaluate(protocol, draw, reader, reader, config, {}, directory, open_stub)
    status = pathlib.Path('/proc/self/status').read_text()
    peak = int(status.split('VmHWM:')[1].split()[0]) * 1024  # ru_maxrss has the parent's, too
    return {'peak': peak, 'samples': result.settings['samples'], 'distance': result.figures['samples']['frechet']}


def score_apart(count, times, directory):
    """`score` in a process of its own."""
    command = [sys.executable, '-m', 'tests.evals.feature_distance.test_memory', str(count), str(times), str(directory)]
    # Steadier: no program runs beside what reads, and threads share what is freed.
    steady = {'JAX_CPU_ENABLE_ASYNC_DISPATCH': 'false', 'MALLOC_ARENA_MAX': '1'}
    environment = os.environ | steady | {'PYTHONPATH': str(ROOT)}
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='memory is read from /proc')
def test_many_clips_are_scored_in_the_memory_of_few(tmp_path):
    # What is allocated and freed by several threads meets by chance: of many batches the peak is nearer to the greatest
    # that there can be than of four. So few clips are scored several times.
    few = score_apart(FEW, TIMES, tmp_path / 'few')
    many = score_apart(MANY, 1, tmp_path / 'many')
    print(f'{few["peak"] / 2**20:.0f} MB for {FEW} clips, {many["peak"] / 2**20:.0f} MB for {MANY}')
    assert (few['samples'], many['samples']) == (FEW, MANY)
    assert many['peak'] < 1.05 * few['peak']
    # Which says something: the clips themselves would not fit in there.
    assert MANY * CLIP_BYTES > 4 * many['peak'] and many['distance'] > 0


if __name__ == '__main__':
    print(json.dumps(score(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
