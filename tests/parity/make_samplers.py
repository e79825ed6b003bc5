"""Writes fixtures/samplers.npz: where the schedulers of diffusers lead from the noise that samplers.py starts with.

Run as `python tests/parity/make_samplers.py` where torch and diffusers are installed. All noise is drawn by seed
(numpy's RandomState, whose stream is frozen). The file holds the names of all walks, where they end, and the versions
of diffusers and torch.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.parity.samplers import CASES, FIXTURES
from tests.parity.samplers_torch import theirs


def main():
    names = [name for case in CASES for name in case.names]
    assert len(set(names)) == len(names), 'two walks of one name'
    ends = np.concatenate([theirs(case) for case in CASES])
    versions = {name: np.array(version(name)) for name in ('diffusers', 'torch')}
    FIXTURES.parent.mkdir(exist_ok=True)
    np.savez_compressed(FIXTURES, names=np.array(names), ends=ends, **versions)
    print(f'{FIXTURES}: {len(ends)} walks, {FIXTURES.stat().st_size / 1024:.0f} KB')


if __name__ == '__main__':
    main()
