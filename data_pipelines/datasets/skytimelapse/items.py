"""SkyTimelapse as it is unpacked: sky_train/ and sky_test/ with a folder of pictures for each clip, at any depth."""

from data_pipelines.datasets import layout
from data_pipelines.inputs.item import Item

SPLITS = ('train', 'test', 'all')
# The set says nothing; StyleGAN-V's config for it (configs/dataset/sky_timelapse.yaml).
FPS = 25.0


def class_names(root: str) -> tuple[str, ...]:
    """Return no classes."""
    return ()


def list_items(root: str, split: str) -> list[Item]:
    """Return the Items of a split, one a folder of pictures.

    Raises:
      UserError: the split's folder is missing.
    """
    items: list[Item] = []
    for part in ('train', 'test') if split == 'all' else (split,):
        where = layout.find_folder(root, f'sky_{part}', f'sky_timelapse/sky_{part}')
        items += layout.list_clips(root, where, part, FPS)
    return items
