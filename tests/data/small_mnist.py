"""Files of digits in MNIST's format, of digits that are easily seen."""

import gzip
import struct

import numpy as np


def write_idx(path, images, magic=2051):
    content = struct.pack('>4I', magic, *images.shape) + images.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == '.gz' else content)


def digits(count, seed=0):
    """Images that are not black anywhere, so that one can see where they lie."""
    return np.random.default_rng(seed).integers(1, 256, (count, 28, 28), dtype=np.uint8)
