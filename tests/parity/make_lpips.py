"""Writes fixtures/lpips.npz: LPIPS of a narrow VGG in PyTorch. Needs torch; weights and pictures come
by seed and are not in it. Run as `python -m tests.parity.make_lpips`."""

import json
from pathlib import Path

import numpy as np
import torch

from tests.parity.lpips_cases import NARROW, SIZES, pictures, tensors
from tests.parity.lpips_torch import distances

FILE = Path(__file__).parent / 'fixtures' / 'lpips.npz'


def main():
    drawn = tensors(NARROW)
    arrays = {
        'versions': json.dumps({module.__name__: module.__version__ for module in (torch, np)}),
        'drawn': np.array([array.sum() for array in drawn.values()], np.float32),
    }
    for size in SIZES:
        distance, gradient = distances(drawn, *pictures(size), grad=True)
        arrays |= {f'{size[0]}x{size[1]}/distance': distance, f'{size[0]}x{size[1]}/gradient': gradient}
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, **arrays)
    print(FILE, FILE.stat().st_size, 'bytes', arrays['versions'])


if __name__ == '__main__':
    main()
