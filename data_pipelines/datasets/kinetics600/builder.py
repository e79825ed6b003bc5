"""Kinetics-600 as a set of TFDS, `kinetics600_videos`."""

from data_pipelines.datasets.tfds_builder import VideoBuilder


class Builder(VideoBuilder):
    """The files as they are, with the class, -1 where the list has none."""

    name = 'kinetics600_videos'
    dataset = 'kinetics600'
    splits = 'train', 'val', 'test'
