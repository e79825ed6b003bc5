"""UCF-101 as a set of TFDS, `ucf101_videos`."""

from data_pipelines.datasets.tfds_builder import VideoBuilder


class Builder(VideoBuilder):
    """The files as they are, with the class."""

    name = 'ucf101_videos'
    dataset = 'ucf101'
