"""BAIR robot pushing, small (64x64), 30 frames a video, from either of

    ROOT/softmotion30_44k/{train,test}/*.tfrecords               the archive of its authors, unpacked
    ROOT/dataset_info.json, or DIR/bair_robot_pushing_small/2.0.0/   what TFDS prepared with file_format='array_record'

and either without TensorFlow. The main camera is taken, as in published numbers.
"""

import os

from data_pipelines.datasets import layout
from data_pipelines.datasets.bair.trajectory import Trajectory, examples
from data_pipelines.inputs import frame_sources
from data_pipelines.inputs.listing import Item

SPLITS = ('train', 'test', 'all')
RAW = ('softmotion30_44k', '')
CAMERA = 'image_main'
FPS = 10.0  # neither the archive nor TFDS says; it sets only how fast the videos play


def classes(root):
    return ()


def items(root, split):
    """Items of a split, one a trajectory; a file that is damaged is one with the problem.

    Raises: UserError where the layout is neither of the two.
    """
    layout.folder(root, '')
    parts = ('train', 'test') if split == 'all' else (split,)
    for name in ('', 'bair_robot_pushing_small/2.0.0', '2.0.0'):
        folder = os.path.join(root, name)
        if os.path.isfile(os.path.join(folder, 'dataset_info.json')):
            return [item for part in parts for item in _prepared(folder, part)]
    return [item for part in parts for item in _raw(root, part)]


def _prepared(folder, part):
    count = len(frame_sources.prepared(folder, part))
    for i in range(count):
        video = frame_sources.Example(folder, part, i, CAMERA, FPS)
        yield Item(name=f'{part}/{i:05}', path=folder, split=part, stills=video)


def _raw(root, part):
    where = layout.folder(root, *(os.path.join(name, part) for name in RAW))
    for name in layout.files(root, where):
        path = os.path.join(root, name)
        if not name.endswith('.tfrecords'):
            yield layout.item(root, name, split=part, problem=layout.no_video(name))
            continue
        try:
            for i, (offset, size) in enumerate(examples(path)):
                video = Trajectory(path, offset, size, CAMERA, FPS)
                yield Item(name=f'{name}:{i:03}', path=path, split=part, stills=video)
        except frame_sources.BrokenVideoError as error:
            yield layout.item(root, name, split=part, problem=f'broken: {error}')
