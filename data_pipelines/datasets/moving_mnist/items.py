"""Moving MNIST's published test set: mnist_test_seq.npy, uint8 (20 frames, 10,000 videos, 64, 64).

There is no published training set: `config.data.source=moving_mnist` draws one from MNIST's digits.
"""

from data_pipelines.datasets import layout
from data_pipelines.inputs.item import Item
from data_pipelines.inputs.stills import NpyColumn, open_npy
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.errors import UserError

SPLITS = ('test',)
FILE = 'mnist_test_seq.npy'
# The set says nothing; ten known and ten frames to predict are then a second each.
FPS = 10.0


def class_names(root: str) -> tuple[str, ...]:
    """Return no classes."""
    return ()


def list_items(root: str, split: str) -> list[Item]:
    """Return an Item a video.

    Raises:
      UserError: the file is missing or is not that array.
    """
    path = layout.find_file(root, FILE)
    try:
        count = open_npy(path).shape[1]
    except BrokenVideoError as error:
        raise UserError(f'{path}: {error}') from None
    return [
        Item(name=f'{FILE}:{number:05}', path=path, split=split, stills=NpyColumn(path, number, FPS))
        for number in range(count)
    ]
