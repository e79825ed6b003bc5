"""ImageNet as a set of TFDS, `imagenet_videos`."""

from data_pipelines.datasets.tfds_builder import VideoBuilder


class Builder(VideoBuilder):
    """The pictures as they are, with the class."""

    name = 'imagenet_videos'
    dataset = 'imagenet'
    splits = 'train', 'val', 'test'
    stored = 'picture'
