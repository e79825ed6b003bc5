"""One process of several that compute features: python -m tests.evals.features.one_of_several OUT.

The other processes are found through the environment (parallel/processes.py). The features, their hash and how many
devices there are go to the file OUT.
"""

import sys

import jax
import numpy as np

from tests.evals.features.small_network import Colours
from vdm_jax.evals.features.extract import extract_features
from vdm_jax.parallel import processes
from vdm_jax.parallel.mesh import MeshConfig, make_mesh

CLIPS = np.random.default_rng(0).integers(0, 256, (11, 3, 4, 5, 3), np.uint8)


def compute():
    """The features of the clips, by batches that do not fit the devices."""
    network = Colours()
    params = network.init(jax.random.key(0))
    return extract_features(network, params, [CLIPS[:2], CLIPS[2:]], 3, with_probabilities=True)


if __name__ == '__main__':
    processes.start(detect=False)
    with jax.set_mesh(make_mesh(MeshConfig())):
        result = compute()
    np.savez(
        sys.argv[1],
        features=result.features,
        probabilities=result.probabilities,
        sha256=result.clips_sha256,
        devices=jax.device_count(),
        processes=jax.process_count(),
    )
