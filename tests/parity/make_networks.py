"""Makes fixtures/networks.npz: outputs and gradients of the official networks, in the cases that are kept.

Run as `python -m tests.parity.make_networks`, with PyTorch, diffusers and the checkouts that official.py names (make
parity sets up the rest). Weights and inputs are not in it, as networks.py draws them again. In the file, of each case:
every STRIDE-th number of its outputs, its loss, and of each tensor's gradient, in the order of their names, the norm
and the probes; and `about`, JSON: versions and commits.
"""

import json

import diffusers
import numpy as np
import torch

from tests.parity import networks, official
from tests.parity.networks_torch import Theirs


def reference_values(case: networks.Case) -> dict[str, np.ndarray]:
    """Return the arrays that are kept of a case, by name."""
    theirs = Theirs(case)
    inputs = networks.batch(case)
    outputs = theirs.forward(inputs).ravel()[:: networks.STRIDE]
    loss, grads = theirs.loss_and_gradients(inputs)
    norms = networks.norms(grads)
    return {
        'outputs': outputs,
        'loss': np.float64(loss),
        'norms': np.float32([norms[name] for name in sorted(grads)]),
        'probes': np.float32([networks.probe(name, grads[name]) for name in sorted(grads)]),
    }


def main() -> None:
    about = {'torch': torch.__version__, 'diffusers': diffusers.__version__, 'numpy': np.__version__}
    for variable, (repository, _) in official.CHECKOUTS.items():
        about[repository] = official.commit_of(official.checkout(variable))
    arrays = {'about': np.array(json.dumps(about))}
    for case in networks.CASES:
        if case.kept:
            arrays |= {f'{case.key}: {name}': array for name, array in reference_values(case).items()}
    networks.FIXTURES.parent.mkdir(exist_ok=True)
    np.savez_compressed(networks.FIXTURES, **arrays)
    print(f'{networks.FIXTURES}: {networks.FIXTURES.stat().st_size / 1000:.0f} kB, {about}')


if __name__ == '__main__':
    main()
