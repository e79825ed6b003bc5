"""Writes fixtures/image_vae.npz: outputs of diffusers' autoencoders. Needs torch and diffusers; weights and inputs are
not in it, as both come by seed. Run as `python -m tests.parity.make_image_vae`."""

import json
from pathlib import Path

import diffusers
import numpy as np
import torch

from tests.parity.image_vae_cases import CASES, STORED, inputs, tensors
from tests.parity.image_vae_torch import compute_outputs, network, shapes

FILE = Path(__file__).parent / 'fixtures' / 'image_vae.npz'


def main():
    torch.manual_seed(0)
    arrays = {'versions': json.dumps({module.__name__: module.__version__ for module in (torch, diffusers, np)})}
    for name in STORED:
        config, shape = CASES[name]
        net = network(config)
        drawn = tensors(shapes(net))
        arrays[f'{name}/shapes'] = json.dumps(shapes(net))
        arrays[f'{name}/drawn'] = np.array([array.sum() for array in drawn.values()], np.float32)
        outputs = compute_outputs(net, drawn, *inputs(config, shape))
        arrays |= {f'{name}/{what}': array for what, array in outputs.items()}
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, **arrays)
    print(FILE, FILE.stat().st_size, 'bytes', arrays['versions'])


if __name__ == '__main__':
    main()
