"""BAIR robot pushing, small (64x64), 30 frames a video, in either of these layouts.

    ROOT/softmotion30_44k/{train,test}/*.tfrecords               the archive of its authors, unpacked
    ROOT/dataset_info.json, or DIR/bair_robot_pushing_small/2.0.0/   what TFDS prepared with file_format='array_record'

Both are read without TensorFlow. The main camera is taken, as in published numbers.
"""

import os
from collections.abc import Iterator

from data_pipelines.datasets import layout
from data_pipelines.datasets.bair.trajectory import Trajectory, find_examples
from data_pipelines.inputs.item import Item
from data_pipelines.inputs.stills import TfdsExample, open_tfds_split
from vdm_jax.data.video.broken import BrokenVideoError

SPLITS = ('train', 'test', 'all')
RAW = ('softmotion30_44k', '')
PREPARED = ('', 'bair_robot_pushing_small/2.0.0', '2.0.0')
CAMERA = 'image_main'
# Neither the archive nor TFDS says; it sets only how fast the videos play.
FPS = 10.0


def class_names(root: str) -> tuple[str, ...]:
    """Return no classes."""
    return ()


def list_items(root: str, split: str) -> list[Item]:
    """Return the Items of a split, one a trajectory; a file that is damaged is one with the problem.

    Raises:
      UserError: the layout is neither of the two.
    """
    layout.find_folder(root, '')
    parts = ('train', 'test') if split == 'all' else (split,)
    for name in PREPARED:
        folder = os.path.join(root, name)
        if os.path.isfile(os.path.join(folder, 'dataset_info.json')):
            return [item for part in parts for item in _list_prepared(folder, part)]
    return [item for part in parts for item in _list_raw(root, part)]


def _list_prepared(folder: str, part: str) -> Iterator[Item]:
    for number in range(len(open_tfds_split(folder, part))):
        example = TfdsExample(folder, part, number, CAMERA, FPS)
        yield Item(name=f'{part}/{number:05}', path=folder, split=part, stills=example)


def _list_raw(root: str, part: str) -> Iterator[Item]:
    where = layout.find_folder(root, *(os.path.join(name, part) for name in RAW))
    for name in layout.list_files(root, where):
        path = os.path.join(root, name)
        if not name.endswith('.tfrecords'):
            yield layout.make_item(root, name, split=part, problem=layout.no_video_problem(name))
            continue
        try:
            for number, (offset, size) in enumerate(find_examples(path)):
                trajectory = Trajectory(path, offset, size, CAMERA, FPS)
                yield Item(name=f'{name}:{number:03}', path=path, split=part, stills=trajectory)
        except BrokenVideoError as error:
            yield layout.make_item(root, name, split=part, problem=f'broken: {error}')
