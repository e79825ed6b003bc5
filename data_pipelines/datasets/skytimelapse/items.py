"""SkyTimelapse as it is unpacked: sky_train/ and sky_test/ with a folder of pictures for each clip, at any depth."""

from data_pipelines.datasets import layout

SPLITS = ('train', 'test', 'all')
FPS = 25.0  # the set says nothing; StyleGAN-V's config for it (configs/dataset/sky_timelapse.yaml)


def classes(root):
    return ()


def items(root, split):
    """Items of a split, one a folder of pictures. Raises UserError where its folder is missing."""
    found = []
    for part in ('train', 'test') if split == 'all' else (split,):
        where = layout.folder(root, f'sky_{part}', f'sky_timelapse/sky_{part}')
        found += layout.clips(root, where, part, FPS)
    return found
