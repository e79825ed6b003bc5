"""SkyTimelapse as a set of TFDS, `skytimelapse_videos`."""

from data_pipelines.datasets.tfds_builder import VideoBuilder


class Builder(VideoBuilder):
    """An mp4 for every folder of pictures."""

    name = 'skytimelapse_videos'
    dataset = 'skytimelapse'
