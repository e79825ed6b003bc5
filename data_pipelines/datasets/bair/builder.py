"""BAIR robot pushing as a set of TFDS, `bair_videos`."""

from data_pipelines.datasets.tfds_builder import VideoBuilder


class Builder(VideoBuilder):
    """The frames of the main camera as they are, without loss."""

    name = 'bair_videos'
    dataset = 'bair'
    stored = 'frames'
