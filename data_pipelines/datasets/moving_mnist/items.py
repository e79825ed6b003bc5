"""Moving MNIST's published test set: mnist_test_seq.npy, uint8 (20 frames, 10,000 videos, 64, 64).

There is no published training set: `config.data.source=moving_mnist` draws one from MNIST's digits.
"""

from data_pipelines.datasets import layout
from data_pipelines.inputs import frame_sources
from data_pipelines.inputs.listing import Item
from vdm_jax.errors import UserError

SPLITS = ('test',)
FILE = 'mnist_test_seq.npy'
FPS = 10.0  # the set says nothing; ten known and ten frames to predict are then a second each


def classes(root):
    return ()


def items(root, split):
    """An Item a video. Raises UserError where the file is missing or is not that array."""
    path = layout.file(root, FILE)
    try:
        count = frame_sources.npy(path).shape[1]
    except frame_sources.BrokenVideoError as error:
        raise UserError(f'{path}: {error}') from None
    return [
        Item(name=f'{FILE}:{i:05}', path=path, split=split, stills=frame_sources.Column(path, i, FPS))
        for i in range(count)
    ]
