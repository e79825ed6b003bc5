"""TaiChi-HD as a set of TFDS, `taichi_videos`."""

from data_pipelines.datasets.tfds_builder import VideoBuilder


class Builder(VideoBuilder):
    """The files as they are, or an mp4 for every folder of pictures."""

    name = 'taichi_videos'
    dataset = 'taichi'
